"""One part of the stack: kept running, and said how it does."""

import logging
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from . import _processes

log = logging.getLogger(__name__)

State = Literal["waiting", "starting", "running", "unresponsive", "restarting", "failed", "stopped"]
_POLL_S = 0.5
_CHECK_S = 5.0
_START_S = 180.0
_STEADY_S = 60.0
_TRIES = 8


@dataclass(frozen=True)
class Part:
    """What to start, and how to tell that it works.

    Attributes:
        command: asked anew at each start; its first run may write configuration.
        healthy: whether it answers; called until it does, then every few seconds. Bounded in time.
        prepare: run each time it has become healthy, before anyone is told; returns what people should know, "" for
            nothing; an exception is a failed start.
        after: parts that must be running before this one is started.
        wanted: whether it should run now; asked all the time.
        without: why nothing runs when nothing is wanted.
        where: for people.
        grace: seconds between SIGTERM and SIGKILL.
        patience: seconds without an answer, while all that it needs runs, after which it is started again.
    """

    name: str
    where: str
    command: Callable[[], tuple[list[str], Path]]
    healthy: Callable[[], bool]
    env: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[], str] = lambda: ""
    after: tuple[str, ...] = ()
    wanted: Callable[[], bool] = lambda: True
    without: str = ""
    grace: float = 10.0
    patience: float = 120.0


@dataclass
class Board:
    """How each part does; keepers write, the supervisor reads."""

    states: dict[str, State] = field(default_factory=dict)
    since: dict[str, datetime] = field(default_factory=dict)
    pids: dict[str, int | None] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    changed: threading.Event = field(default_factory=threading.Event)

    def tell(self, part: str, state: State, note: str = "") -> None:
        if self.states.get(part) != state:
            self.since[part] = datetime.now(UTC)
            log.info("%s: %s %s", part, state, note)
        self.states[part], self.notes[part] = state, note
        self.changed.set()


class Keeper(threading.Thread):
    """Starts a part, watches it, starts it again when it ends or goes deaf, ends it when told to.

    Backs off from 1 to 30 s while it does not last a minute; after eight starts in a row that never answered it is
    `failed` for good. What has answered once is started again for ever: robots wait for it.
    """

    def __init__(self, part: Part, home: Path, board: Board, stop: threading.Event) -> None:
        super().__init__(name=f"keeper-{part.name}", daemon=True)
        self._part, self._home, self._board, self._stop_all = part, home, board, stop
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = self._barren = 0
        self._note = ""
        board.restarts[part.name] = 0
        board.pids[part.name] = None
        board.tell(part.name, "waiting")

    def run(self) -> None:
        try:
            while not self._stop_all.is_set() and self._barren < _TRIES:
                if self._may_start_now():
                    self._live()
                else:
                    self._stop_all.wait(_POLL_S)
        finally:
            self._end()
            if self._stop_all.is_set():
                self._board.tell(self._part.name, "stopped")

    @property
    def log_file(self) -> Path:
        return self._home / "logs" / f"{self._part.name}.log"

    def _may_start_now(self) -> bool:
        """`_may_start`; what cannot be asked now, e.g. of a store that is away, is asked again."""
        try:
            return self._may_start()
        except Exception as error:
            if str(error) != self._note:
                log.exception("%s: nothing tells whether it is wanted; asked again", self._part.name)
            self._note = str(error)
            return False

    def _may_start(self) -> bool:
        missing = self._missing()
        if missing or not self._part.wanted():
            self._board.tell(self._part.name, "waiting", f"for {', '.join(missing)}" if missing else self._part.without)
            return False
        return True

    def _missing(self) -> list[str]:
        return [name for name in self._part.after if self._board.states.get(name) != "running"]

    def _live(self) -> None:
        """From one start to its end."""
        name = self._part.name
        self._board.tell(name, "starting" if not self._failures else "restarting")
        began, answered = time.monotonic(), False
        try:
            self._start()
            ended = self._until_healthy()
            answered = ended is None
            ended = ended or self._while_healthy()
        except Exception as error:  # a part must not take the supervisor down with it
            log.exception("%s could not be started", name)
            ended = str(error) or type(error).__name__
        self._end()
        if self._stop_all.is_set() or ended is None:  # ended on purpose: at once, and not counted
            return
        self._failures = 1 if time.monotonic() - began > _STEADY_S else self._failures + 1
        self._barren = 0 if answered else self._barren + 1
        self._board.restarts[name] += 1
        if self._barren >= _TRIES:
            self._board.tell(name, "failed", ended)
            return
        self._board.tell(name, "restarting", ended)
        self._stop_all.wait(min(2.0 ** (self._failures - 1), 30.0))

    def _start(self) -> None:
        _processes.sweep(self._home, self._part.name, grace=2.0)
        command, cwd = self._part.command()
        env = _processes.environment(self._home, self._part.name, self._part.env)
        self._process = _processes.start(command, cwd=cwd, env=env, log=self.log_file)
        self._board.pids[self._part.name] = self._process.pid

    def _until_healthy(self) -> str | None:
        """None once it is; else why it never was."""
        deadline = time.monotonic() + _START_S
        while not self._stop_all.wait(0.2):
            if (ended := self._ended()) is not None:
                return ended
            if self._part.healthy():
                self._note = self._part.prepare()
                self._board.tell(self._part.name, "running", self._note)
                return None
            if time.monotonic() > deadline:
                return f"it did not answer within {_START_S:.0f} s; see {self.log_file}"
        return None

    def _while_healthy(self) -> str | None:
        """None if it is to end (stop, or no longer wanted); else why it ended."""
        heard = checked = time.monotonic()
        while not self._stop_all.wait(_POLL_S):
            if (ended := self._ended()) is not None:
                return ended
            if not self._part.wanted():
                return None
            if time.monotonic() - checked < _CHECK_S:
                continue
            checked = time.monotonic()
            if self._missing():
                heard = checked  # not its fault
            elif self._part.healthy():
                heard = time.monotonic()
                self._board.tell(self._part.name, "running", self._note)
            elif checked - heard > self._part.patience:
                return f"it has not answered for {self._part.patience:.0f} s"
            else:
                self._board.tell(self._part.name, "unresponsive")
        return None

    def _ended(self) -> str | None:
        assert self._process is not None
        code = self._process.poll()
        if code is None:
            return None
        how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
        return f"{how}; {last_words(self.log_file)}"

    def _end(self) -> None:
        if self._process is not None:
            _processes.stop(self._process, self._home, self._part.name, grace=self._part.grace)
        self._process = None
        self._board.pids[self._part.name] = None


def last_words(path: Path, *, lines: int = 3) -> str:
    """The end of a log, for a message."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            tail = file.read().decode(errors="replace").strip().splitlines()[-lines:]
    except OSError:
        return f"see {path}"
    return " | ".join(line.strip()[:300] for line in tail if line.strip()) + f" (see {path})"
