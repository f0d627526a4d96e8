"""Keepers with small parts of their own: real processes, no stack."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra import _home, _parts, _processes
from infra._parts import Board, Keeper, Part

SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(0)); time.sleep(600)"
STUBBORN = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "subprocess.Popen([sys.executable, '-c', 'import signal, time;"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)'], start_new_session=True); time.sleep(600)"
)


class Kept:
    """A board and a keeper, and what the test waits for."""

    def __init__(self, home: Path) -> None:
        _home.prepare_home(home, min_free=0)
        self.home, self.board, self.stop = home, Board(), threading.Event()
        self._keeper: Keeper | None = None

    def keep(self, code: str = SLEEPER, **changes: object) -> None:
        def command() -> tuple[list[str], Path]:
            return [sys.executable, "-c", code], self.home

        fields: dict[str, object] = {"name": "part", "where": "", "command": command, "healthy": lambda: True} | changes
        self._keeper = Keeper(Part(**fields), self.home, self.board, self.stop)  # type: ignore[arg-type]
        self._keeper.start()

    def until(self, condition: Callable[[], bool]) -> None:
        assert _processes.wait_until(condition, 30.0), (self.board.states, self.board.notes)

    def until_state(self, state: str) -> None:
        self.until(lambda: self.board.states["part"] == state)

    @property
    def pid(self) -> int:
        pid = self.board.pids["part"]
        assert pid is not None
        return pid

    def end(self) -> None:
        self.stop.set()
        if self._keeper is not None:
            self._keeper.join(30)
            assert not self._keeper.is_alive()


@pytest.fixture
def kept(home: Path) -> Iterator[Kept]:
    kept = Kept(home)
    yield kept
    kept.end()


def test_part_killed_is_started_again(kept: Kept) -> None:
    kept.keep()
    kept.until_state("running")
    first = kept.pid
    os.kill(first, signal.SIGKILL)
    kept.until(lambda: kept.board.restarts["part"] == 1 and kept.board.states["part"] == "running")

    assert kept.pid != first


def test_part_that_answered_is_started_again_however_often_it_is_killed(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_parts, "_TRIES", 2)
    kept.keep()
    for kills in range(1, 4):
        kept.until_state("running")
        os.kill(kept.pid, signal.SIGKILL)
        kept.until(lambda kills=kills: kept.board.restarts["part"] == kills)  # type: ignore[misc]
    kept.until_state("running")


def test_part_that_never_lasts_is_given_up_with_its_last_words(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parts, "_TRIES", 2)
    kept.keep("raise SystemExit('no such licence')", healthy=lambda: False)
    kept.until_state("failed")

    assert "exit status 1" in kept.board.notes["part"]
    assert "no such licence" in kept.board.notes["part"]


def test_part_whose_preparation_fails_is_ended_and_says_why(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise OSError("the store ignores conditions")

    monkeypatch.setattr(_parts, "_TRIES", 1)
    kept.keep(prepare=refuse)
    kept.until_state("failed")

    assert kept.board.notes["part"] == "the store ignores conditions"
    assert list(_processes.marked(kept.home)) == []


def test_deaf_part_is_started_again(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parts, "_CHECK_S", 0.1)
    hears = threading.Event()
    hears.set()
    kept.keep(healthy=hears.is_set, patience=0.5)
    kept.until_state("running")
    first = kept.pid
    hears.clear()
    kept.until(lambda: kept.board.restarts["part"] >= 1)
    hears.set()
    kept.until_state("running")

    assert kept.pid != first
    assert not psutil.pid_exists(first)


def test_part_deaf_because_what_it_needs_is_away_is_left_alone(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parts, "_CHECK_S", 0.1)
    asked, hears = threading.Event(), threading.Event()
    hears.set()

    def healthy() -> bool:
        asked.set()
        return hears.is_set()

    kept.board.tell("other", "running")
    kept.keep(healthy=healthy, patience=0.0, after=("other",))
    kept.until_state("running")
    first = kept.pid
    kept.board.tell("other", "restarting")
    hears.clear()
    again = threading.Timer(2.0, hears.set)
    again.start()
    again.join()
    asked.clear()
    kept.board.tell("other", "running")
    kept.until(asked.is_set)

    assert (kept.pid, kept.board.restarts["part"]) == (first, 0)


def test_part_waits_for_what_it_needs(kept: Kept) -> None:
    kept.keep(after=("other",))
    kept.until(lambda: kept.board.notes["part"] == "for other")
    kept.board.tell("other", "running")

    kept.until_state("running")


def test_part_is_started_and_ended_as_it_is_wanted(kept: Kept) -> None:
    wanted = threading.Event()
    kept.keep(wanted=wanted.is_set, without="for a policy")
    kept.until(lambda: kept.board.notes["part"] == "for a policy")
    wanted.set()
    kept.until_state("running")
    wanted.clear()
    kept.until_state("waiting")

    assert kept.board.restarts["part"] == 0
    assert list(_processes.marked(kept.home)) == []


def test_part_and_its_children_that_ignore_the_request_are_killed(kept: Kept) -> None:
    kept.keep(STUBBORN, grace=0.5)
    kept.until(lambda: len(list(_processes.marked(kept.home))) == 2)
    kept.until_state("running")

    kept.end()

    assert list(_processes.marked(kept.home)) == []
    assert kept.board.states["part"] == "stopped"


def test_sweep_spares_other_stacks_and_strangers(home: Path, tmp_path: Path) -> None:
    logs = tmp_path / "log"
    command = [sys.executable, "-c", SLEEPER]
    homes = (home, tmp_path / "other")
    mine, other = (
        _processes.start(command, cwd=tmp_path, env=_processes.environment(h, "part", {}), log=logs) for h in homes
    )
    stranger = _processes.start(command, cwd=tmp_path, env=dict(os.environ), log=logs)
    try:
        _processes.wait_until(lambda: len(list(_processes.marked(home))) == 1, 10)
        assert _processes.sweep(home) == 1
        assert mine.wait(10) is not None
        assert (other.poll(), stranger.poll()) == (None, None)
    finally:
        for process in (other, stranger):
            process.kill()
            process.wait()


def test_long_log_is_turned_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processes, "_LOG_BYTES", 10)
    path = tmp_path / "part.log"
    path.write_bytes(b"x" * 11)
    with _processes.open_log(path) as log:
        log.write(b"new")

    assert path.read_bytes() == b"new"
    assert (tmp_path / "part.log.1").read_bytes() == b"x" * 11
