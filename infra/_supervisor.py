"""The process that keeps the stack: starts it, watches it, says how it does, ends it."""

import contextlib
import json
import logging
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import SecretStr

from components.contracts import Settings
from components.contracts.errors import DroverError, StackError
from components.contracts.settings import STACK_FILE

from . import _home, _parts, _plan, _processes

log = logging.getLogger(__name__)

STATE_FILE = "state.json"
_START_S = 180.0
"""For a part that is started alone; a busy machine needs more than a minute for Prefect."""
_AGAIN_S = 5.0


def supervise(settings: Settings, *, kind: str) -> None:
    """Run the stack until SIGTERM or SIGINT. Holds the lock for all that time.

    Raises:
        StackError: another one runs; a port is taken; the store is refused.
    """
    home = settings.home
    _home.prepare_home(home)
    with _home.lock(home) as mine:
        if not mine:
            raise StackError(f"the stack in {home} runs already; see `drover status`")
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _setter(stop))
        try:
            _run(settings, kind, stop)
        except (DroverError, OSError) as error:
            _write(home / STATE_FILE, {"pid": os.getpid(), "error": str(error)})
            raise
        finally:
            (home / STACK_FILE).unlink(missing_ok=True)
            _processes.sweep(home)


def _setter(event: threading.Event) -> Any:
    def handle(_number: int, _frame: FrameType | None) -> None:
        event.set()

    return handle


def _run(settings: Settings, kind: str, stop: threading.Event) -> None:
    home = settings.home
    (home / STACK_FILE).unlink(missing_ok=True)
    if leftovers := _processes.sweep(home):
        log.warning("ended %d processes that an earlier stack had left", leftovers)
    ports = _home.choose_ports(settings)
    settings = _plan.running_settings(settings, ports, external=kind == "external")
    if kind == "external":
        _plan.make_ready(settings)
    plan = _plan.parts(settings, ports, kind=kind)
    board = _parts.Board()
    try:
        with _kept(plan, home, board):
            _watch(settings, kind, plan, board, stop)
            log.info("ending the stack")
    finally:
        _write(home / STATE_FILE, {"pid": os.getpid(), "ready": False, "parts": _rows(plan, board)})


@contextlib.contextmanager
def _kept(plan: list[_parts.Part], home: Path, board: _parts.Board) -> Iterator[None]:
    """Keepers at work for as long as it is open."""
    stops = {part.name: threading.Event() for part in plan}
    keepers = [_parts.Keeper(part, home, board, stops[part.name]) for part in plan]
    for keeper in keepers:
        keeper.start()
    try:
        yield
    finally:
        _stop_all(plan, keepers, stops)


@dataclass(frozen=True)
class Running:
    """Parts of the stack that run without the rest."""

    settings: Settings
    """To connect with."""
    board: _parts.Board

    def pid(self, part: str) -> int | None:
        """Of a part's process; None while it is down."""
        return self.board.pids[part]


@contextlib.contextmanager
def some_parts(settings: Settings, *names: str, kind: str = "seaweedfs") -> Iterator[Running]:
    """Parts of the stack in `settings.home` while it is open, kept alive as `drover up` keeps them.

    Args:
        kind: of store: `seaweedfs` or `minio`.

    Raises:
        StackError: something runs in that folder already, or a part does not start.
    """
    home = settings.home
    _home.prepare_home(home)
    with _home.lock(home) as mine:
        if not mine:
            raise StackError(f"a stack runs in {home} already")
        ports = _home.choose_ports(settings)
        settings = _plan.running_settings(settings, ports, external=False)
        plan = [part for part in _plan.parts(settings, ports, kind=kind) if part.name in names]
        board = _parts.Board()
        with _kept(plan, home, board):
            for name in names:
                _processes.wait_until(lambda name=name: board.states[name] in {"running", "failed"}, _START_S)  # type: ignore[misc]
                if board.states[name] != "running":
                    log_file = home / "logs" / f"{name}.log"
                    raise StackError(f"{name} does not start: {board.notes[name]}; see {log_file}")
            yield Running(settings, board)


@contextlib.contextmanager
def store_alone(settings: Settings) -> Iterator[Settings]:
    """SeaweedFS by itself in `settings.home` while it is open; yields the settings to connect with.

    Raises:
        StackError: something runs in that folder already, or the store does not start.
    """
    with some_parts(settings, "store") as running:
        yield running.settings


def _watch(settings: Settings, kind: str, plan: list[_parts.Part], board: _parts.Board, stop: threading.Event) -> None:
    since = datetime.now(UTC).isoformat()
    ready, path = False, settings.home / STATE_FILE
    while not stop.is_set():
        if board.changed.wait(0.25) or not path.exists():
            board.changed.clear()
            try:
                if not ready and all(_is_settled(part, board) for part in plan):
                    write_stack_file(settings, kind)
                    ready = True
                state = {"pid": os.getpid(), "since": since, "ready": ready, "parts": _rows(plan, board)}
                _write(path, state)
            except OSError:  # a full disk must not end what runs; it is written once there is room
                log.exception("%s cannot be written; tried again", path)
                board.changed.set()
                stop.wait(_AGAIN_S)


def _is_settled(part: _parts.Part, board: _parts.Board) -> bool:
    state = board.states[part.name]
    return state == "running" or (state == "waiting" and bool(part.without) and not part.wanted())


def _stop_all(plan: list[_parts.Part], keepers: list[_parts.Keeper], stops: dict[str, threading.Event]) -> None:
    """Flows end before what they use: first the worker, then the rest together, then the store."""
    for wave in (("worker", "serving"), ("prefect", "ray", "ray-page", "pages", "gateway"), ("store",)):
        for name in wave:
            if name in stops:
                stops[name].set()
        for part, keeper in zip(plan, keepers, strict=True):
            if part.name in wave:
                keeper.join(part.grace + 10.0)


def _rows(plan: list[_parts.Part], board: _parts.Board) -> list[dict[str, Any]]:
    return [
        {
            "name": part.name,
            "where": part.where,
            "pid": board.pids[part.name],
            "state": board.states[part.name],
            "since": board.since[part.name].isoformat(),
            "restarts": board.restarts[part.name],
            "note": board.notes[part.name],
        }
        for part in plan
    ]


def write_stack_file(settings: Settings, kind: str) -> None:
    """For everyone else's `Settings`: where things are, and the keys to them."""
    fields = settings.model_dump(mode="json", exclude={"home"}, exclude_none=True)
    fields = {name: value for name, value in fields.items() if not name.endswith("_port")}
    for name, value in settings:
        if isinstance(value, SecretStr):
            fields[name] = value.get_secret_value()
    document = {
        "version": _home.LAYOUT,
        "store": kind,
        "pid": os.getpid(),
        "since": datetime.now(UTC).isoformat(),
        "settings": fields,
    }
    _home.write_private(settings.home / STACK_FILE, json.dumps(document, indent=2))


def _write(path: Path, document: dict[str, Any]) -> None:
    """A full disk must not end the supervisor: the parts run on, and the next change is written again."""
    try:
        _home.write_private(path, json.dumps(document))
    except OSError as error:
        log.warning("%s cannot be written: %s", path, error.strerror)
