"""The update agent as a process: its home, its lock, its loop."""

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from components.contracts import AgentState, Settings
from components.contracts.errors import ConfigurationError
from components.storage import ObjectStore, connect, read_plain

from ._agent import UpdateAgent
from ._agent_home import ROOT_FILE, agent_home_fault
from ._bench import Bench, ChildTrials, OnnxBench, TrialDriver
from ._clock import utc_now
from ._driving import VERIFY_S
from ._fingerprint import Fingerprint, read_fingerprint
from ._identity import RobotIdentity
from ._journal_repair import is_damage, open_journal
from ._loop import keep_running, wait_after
from ._reporting import PinnedReports, ReportSink
from ._tuf import ReleaseClient
from ._tuf_folder import MAX_METADATA_BYTES

log = logging.getLogger(__name__)

MOVING_FILE = "moving"
"""In a robot's home while it moves or is not docked: nothing is activated then."""
STORE_PATIENCE_S = 5.0


@contextmanager
def open_agent(
    robot: str,
    home: Path,
    store: ObjectStore,
    *,
    trials: TrialDriver,
    reports: ReportSink | None = None,
    bench: Bench | None = None,
    fingerprint: Fingerprint | Callable[[], Fingerprint] | None = None,
    is_safe: Callable[[], bool] | None = None,
    clock: Callable[[], datetime] = utc_now,
    activated: Callable[[Path | None], None] = lambda _folder: None,
    on_state: Callable[[AgentState], None] = lambda _state: None,
    verify_s: float = VERIFY_S,
) -> Iterator[UpdateAgent]:
    """An agent on an enrolled robot's home; one at a time. `reports`: None sends them to the gateway that is pinned.

    Raises:
        ConfigurationError: the home lacks its key or its root of trust, is closed to this user, or another agent has
            it.
    """
    device = (lambda: fingerprint) if isinstance(fingerprint, Fingerprint) else fingerprint or read_fingerprint
    if fault := agent_home_fault(robot, home):
        raise ConfigurationError(fault)
    root = home / ROOT_FILE
    with _locked(robot, home):
        journal = open_journal(home)
        try:
            yield UpdateAgent(
                robot=robot,
                home=home,
                offers=ReleaseClient(
                    store,
                    home,
                    robot=robot,
                    bootstrap=read_plain(root, MAX_METADATA_BYTES),
                    floors=journal,
                    clock=clock,
                ),
                bench=bench or OnnxBench(),
                trials=trials,
                reports=reports or PinnedReports(home, patience=STORE_PATIENCE_S),
                identity=RobotIdentity(home, make=False),
                fingerprint=device,
                is_safe=is_safe or (lambda: not (home / MOVING_FILE).exists()),
                journal=journal,
                clock=clock,
                activated=activated,
                on_state=on_state,
                verify_s=verify_s,
            )
        finally:
            journal.close()


@contextmanager
def _locked(robot: str, home: Path) -> Iterator[None]:
    """Hold the folder itself: no file in it can be removed, or put in the lock's place, to let a second agent in."""
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"{robot}: another agent runs on {home}; stop it first") from None
        yield
    finally:
        os.close(folder)


def run_agent(
    settings: Settings,
    robot: str,
    home: Path,
    *,
    trial_driver: str,
    hardware: str | None = None,
    provider: str | None = None,
    once: bool = False,
    poll_s: float = 2.0,
    stop: threading.Event | None = None,
) -> AgentState:
    """Run a robot's update agent until `stop` is set; `once`: one tick.

    Args:
        settings: the store, with the robots' identity, which reads releases.
        robot: its id; enrolled, so that `home` holds its root of trust and the pin of its gateway. Without the pin the
            agent works, and its reports wait.
        home: its folder. A file `moving` in it holds activation back.
        trial_driver: "module:function", a `TrialDriver`.
        hardware: hardware id of a robot that cannot tell, e.g. "simulated".
        provider: onnxruntime's execution provider; None: the CPU's.
        poll_s: seconds between ticks.

    Raises:
        ConfigurationError: no store, not enrolled, another agent on this home, or no such trial driver.
    """
    stop = stop or threading.Event()
    store = connect(settings, identity="robot", patience=STORE_PATIENCE_S)
    driver = ChildTrials(trial_driver)
    state: AgentState = "IDLE"

    def run() -> None:
        """Until `stop`; an error that keeps the agent from being opened comes through."""
        nonlocal state
        with open_agent(
            robot, home, store, trials=driver, bench=OnnxBench(provider) if provider else OnnxBench(),
            fingerprint=lambda: read_fingerprint(hardware), verify_s=settings.slot_verify_s,
        ) as agent:  # fmt: skip
            if once:
                state = agent.tick()
                return
            keep_running(
                agent.tick,
                stop=stop,
                poll_s=poll_s,
                failed=lambda error: agent.alarm("tick", f"{agent.state}: {type(error).__name__}: {error}"),
                worked=lambda: agent.over("tick"),
                # Opened again, a damaged journal is set aside.
                ends=lambda error: isinstance(error, sqlite3.Error) and is_damage(error),
            )
            state = agent.state

    failures = 0
    while True:
        try:
            run()
        except ConfigurationError:
            raise
        except Exception:  # e.g. a disk that cannot be read now; what the journal holds must not be thrown away
            if once:
                raise
            failures += 1
            log.exception("%s: the agent could not be opened, %d times; it is tried again", robot, failures)
            if stop.wait(wait_after(failures, poll_s)):
                return state
        else:
            return state
