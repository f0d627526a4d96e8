"""The embedded stack: everything Drover needs, on this machine, on loopback, in one folder.

    up(settings)       start it in the background and wait until it works; finds one that runs
    status(settings)   what runs, where, since when
    down(settings)     end it; nothing is left
    run(settings)      the same in the foreground, until Ctrl-C
    log_files(settings)     where each part's log is; `last_lines` and `Tail` read one
    environment(settings)   what a shell needs to use it, secrets included
    some_parts(settings, *names)  a context with parts of it, e.g. the store and the gateway
    store_alone(settings)   a context with the object store by itself

Parts: `store` (SeaweedFS or MinIO), `prefect` (server, SQLite), `worker` (process work pool `drover`), `ray` (one node
with its dashboard), `pages` (reports for a browser), `serving` (the Bento of the promoted policy, once
`<home>/serving/package` exists). A supervisor process watches them and starts again what dies. What they print is in
`<home>/logs`.

Every server asks for a credential of its own, made at the first start and kept in the home, mode 600; docs/security.md
says port by port what it is and what it gives.

What is not covered: other programs of the same user, who may read the home. No limit is set on what flows and trainings
use.
"""

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from rich.progress import Progress, SpinnerColumn, TaskID, TimeElapsedColumn

from components.contracts import Settings, plain_logs
from components.contracts.errors import DroverError, StackError
from components.contracts.settings import STACK_FILE
from components.terminal import Console, PlainColumn

from . import _home, _log_files, _meter, _parts, _prefect, _processes
from ._log_files import Tail, last_lines
from ._ray import ray_environment
from ._supervisor import STATE_FILE, Running, some_parts, store_alone, supervise

__all__ = [
    "PartStatus",
    "Running",
    "Store",
    "Tail",
    "down",
    "environment",
    "last_lines",
    "log_files",
    "processes",
    "run",
    "some_parts",
    "status",
    "store_alone",
    "up",
]

log = logging.getLogger(__name__)

Store = Literal["seaweedfs", "minio"]
_UP_S = 420.0
_spawned: list[subprocess.Popen[bytes]] = []
"""Supervisors that this process started: they outlive it, or `down` takes note of their end."""
_DOWN_S = 60.0


@dataclass(frozen=True)
class PartStatus:
    """One row of `drover status`. `memory_mib` counts pages that processes share once."""

    name: str
    where: str
    pid: int | None
    state: str
    since: datetime | None
    restarts: int
    memory_mib: float
    note: str = ""


def up(settings: Settings, *, store: Store = "seaweedfs", wait: bool = True) -> list[PartStatus]:
    """Start the stack in the background, or find the one that runs.

    With `DROVER_S3_ENDPOINT` set, that S3 is used and no store is started. Ctrl-C while it waits ends what was started.

    Raises:
        StackError: a port is taken, the disk is full, the folder belongs to another version, a part does not start.
    """
    home = _resolved(settings)
    _home.prepare_home(home)
    process = None
    if not _home.is_running(home):
        process = _spawn(home, _kind(settings, store))
    if wait:
        try:
            _wait_until_ready(home, process)
        except BaseException:
            if process is not None:
                down(settings)
            raise
    return status(settings)


def run(settings: Settings, *, store: Store = "seaweedfs") -> None:
    """The stack in the foreground, until Ctrl-C or `down`.

    Raises:
        StackError: as `up`; also when one runs already.
    """
    home = _resolved(settings)
    os.environ |= {_processes.MARK: str(home), _processes.PART: _processes.SUPERVISOR}
    os.umask(_processes.PRIVATE)
    supervise(_without_stack_file(settings, home), kind=_kind(settings, store))


def down(settings: Settings) -> int:
    """End the stack and whatever is left of an earlier one. Returns how many processes were ended.

    Raises:
        StackError: the supervisor does not let go.
    """
    home = _resolved(settings)
    if not home.exists():
        return 0
    count = len(list(_processes.marked(home)))
    if _home.is_running(home):
        for process in _processes.marked(home, _processes.SUPERVISOR):
            process.terminate()
        if not _processes.wait_until(lambda: not _home.is_running(home), _DOWN_S):
            _processes.end(_processes.marked(home, _processes.SUPERVISOR), grace=0.0)
        if not _processes.wait_until(lambda: not _home.is_running(home), 5.0):
            raise StackError(f"the stack in {home} does not end; see {home / 'logs' / 'supervisor.log'}")
    _processes.sweep(home)
    _spawned[:] = [process for process in _spawned if process.poll() is None]
    (home / STACK_FILE).unlink(missing_ok=True)
    (home / STATE_FILE).unlink(missing_ok=True)
    return count


def status(settings: Settings) -> list[PartStatus]:
    """A row for each part, the supervisor first. Empty when no stack runs and nothing is left of one."""
    home = _resolved(settings)
    families = _families(home)
    if not _home.is_running(home):
        return [
            PartStatus(name, "", pids[0], "left over", None, 0, _meter.resident_mib(pids), "`drover down` ends it")
            for name, pids in sorted(families.items())
        ]
    state = _state(home)
    since = _time_of(state.get("since"))
    pids = families.get(_processes.SUPERVISOR, [])
    memory = _meter.resident_mib(pids)
    rows = [PartStatus("supervisor", str(home), state.get("pid"), "running", since, 0, memory)]
    for row in state.get("parts", ()):
        memory = _meter.resident_mib(families.get(row["name"], []))
        rows.append(PartStatus(**{**row, "since": _time_of(row["since"]), "memory_mib": memory}))
    return rows


def environment(settings: Settings) -> dict[str, str]:
    """Variables for a shell or a flow that is to use the running stack: its home, and what the commands `prefect` and
    `ray` need to reach theirs, credentials included.

    Raises:
        StackError: no stack runs in this home.
    """
    if not settings.prefect_api_url:
        raise StackError(f"expected a running stack in {settings.home}, found none: start it with `drover up`")
    return {"DROVER_HOME": str(_resolved(settings))} | _prefect.client_environment(settings) | ray_environment(settings)


def log_files(settings: Settings) -> dict[str, Path]:
    """Part -> its log, running or not; the agents of a demo's robots too."""
    return _log_files.log_files(_resolved(settings))


def processes(settings: Settings) -> list[int]:
    """The pids of everything the stack has started, flow runs and Ray's workers too: for measuring."""
    return [pid for pids in _families(_resolved(settings)).values() for pid in pids]


def _resolved(settings: Settings) -> Path:
    return settings.home.expanduser().absolute()


def _kind(settings: Settings, store: Store) -> str:
    """Whether the endpoint in the settings is the user's or what an earlier stack left behind."""
    if settings.s3_endpoint is None:
        return store
    try:
        left = json.loads((_resolved(settings) / STACK_FILE).read_text())
        ours = left["store"] != "external" and left["settings"]["s3_endpoint"] == settings.s3_endpoint
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    return store if ours else "external"


def _without_stack_file(settings: Settings, home: Path) -> Settings:
    """The user's own settings: what an earlier stack left in `stack.json` is not one of them."""
    if (home / STACK_FILE).exists() and not _home.is_running(home):
        (home / STACK_FILE).unlink()
        return Settings(home=home)
    return settings.model_copy(update={"home": home})


def _spawn(home: Path, kind: str) -> subprocess.Popen[bytes]:
    (home / STATE_FILE).unlink(missing_ok=True)
    env = dict(os.environ) | {
        "DROVER_HOME": str(home), _processes.MARK: str(home), _processes.PART: _processes.SUPERVISOR
    }  # fmt: skip
    command = [sys.executable, "-m", "infra.local", "supervise", kind]
    process = _processes.start(command, cwd=home, env=env, log=home / "logs" / "supervisor.log")
    _spawned.append(process)
    return process


def _wait_until_ready(home: Path, process: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + _UP_S
    tasks: dict[str, TaskID] = {}
    columns = (
        SpinnerColumn(finished_text="✓"),
        PlainColumn("{task.description:<11}"),
        PlainColumn("{task.fields[state]}"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=Console(), transient=True) as bars:
        while True:
            state = _state(home)
            for row in state.get("parts", ()):
                if row["name"] not in tasks:
                    tasks[row["name"]] = bars.add_task(row["name"], total=1, state="")
                done = row["state"] in {"running", "failed"}
                bars.update(tasks[row["name"]], completed=int(done), state=f"{row['state']} {row['note']}"[:80])
            if state.get("ready"):
                return
            _raise_if_hopeless(home, state, process)
            if time.monotonic() > deadline:
                slow = ", ".join(r["name"] for r in state.get("parts", ()) if r["state"] not in {"running", "waiting"})
                raise StackError(f"not everything answered within {_UP_S:.0f} s ({slow}); see {home / 'logs'}")
            time.sleep(0.2)


def _raise_if_hopeless(home: Path, state: dict[str, Any], process: subprocess.Popen[bytes] | None) -> None:
    if error := state.get("error"):
        raise StackError(error)
    if (process is None or process.poll() is not None) and not _home.is_running(home):
        raise StackError(f"the supervisor ended: {_parts.last_words(home / 'logs' / 'supervisor.log')}")
    for row in state.get("parts", ()):
        if row["state"] == "failed" or row["restarts"] >= 3:
            raise StackError(f"{row['name']} does not start: {row['note']}; see {home / 'logs' / row['name']}.log")


def _state(home: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((home / STATE_FILE).read_text()))
    except (OSError, ValueError):
        return {}


def _families(home: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for process in _processes.marked(home):
        try:
            found.setdefault(process.environ().get(_processes.PART, "?"), []).append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def _time_of(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _main(arguments: list[str]) -> int:
    plain_logs()
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if len(arguments) != 2 or arguments[0] != "supervise" or arguments[1] not in {"seaweedfs", "minio", "external"}:
        log.error("usage: python -m infra.local supervise seaweedfs|minio|external (what `drover up` starts)")
        return 2
    settings = Settings()
    try:
        supervise(_without_stack_file(settings, _resolved(settings)), kind=arguments[1])
    except DroverError as error:
        log.error("%s", error)  # noqa: TRY400  # a user's mistake needs no traceback
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
