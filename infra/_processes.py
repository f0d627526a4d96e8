"""The stack's processes: each carries a mark in its environment, which its children inherit, wherever they go.

A process group is not enough: Ray and Prefect start sessions of their own. Nor is a pid: after a crash it may be
another's.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import psutil

MARK = "DROVER_STACK"
PART = "DROVER_STACK_PART"
SUPERVISOR = "supervisor"
_FOREIGN = ("AWS_", "WEED_", "MINIO_", "PREFECT_", "RAY_", "BENTOML_")
"""Settings of the user's for other servers than ours; weed would even make an administrator of AWS_ACCESS_KEY_ID."""
_SECRET = re.compile(r"DROVER_\w*(SECRET|TOKEN|AUTH)")
_FLOWS = "worker"
_LOG_BYTES = 16 * 2**20
PRIVATE = 0o077
"""The umask of every process of the stack: what they write is for its owner alone."""


def environment(home: Path, part: str, extra: dict[str, str]) -> dict[str, str]:
    """Environment of a part of the stack in `home`. Secrets in the user's environment reach flows alone."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN) and (part == _FLOWS or not _SECRET.fullmatch(name))
    }
    return own | {MARK: str(home), PART: part, "DROVER_HOME": str(home), "PYTHONUNBUFFERED": "1"} | extra


def start(command: list[str], *, cwd: Path, env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, so that a Ctrl-C in the terminal reaches the supervisor alone."""
    with open_log(log) as output:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=PRIVATE,
        )


def open_log(path: Path) -> IO[bytes]:
    """To append to; a long one becomes `<name>.1` first."""
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def marked(home: Path, part: str | None = None) -> Iterator[psutil.Process]:
    """Every process of the stack in `home`, this one and its ancestors excepted."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        if process.pid in spared:
            continue
        with contextlib.suppress(psutil.Error, OSError):
            found = process.environ()
            ours = found.get(MARK) == str(home) and part in {None, found.get(PART)}
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def sweep(home: Path, part: str | None = None, *, grace: float = 5.0) -> int:
    """End every process of the stack, or of one part. Returns how many there were."""
    found = list(marked(home, part))
    end(found, grace=grace)
    end(marked(home, part), grace=0.0)  # started while the first ones ended
    return len(found)


def end(processes: Iterable[psutil.Process], *, grace: float) -> None:
    """SIGTERM, then SIGKILL for those that are still there after `grace` seconds."""
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate() if grace else process.kill()
    for process in psutil.wait_procs(processes, timeout=grace or 3.0)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def stop(process: subprocess.Popen[bytes], home: Path, part: str, *, grace: float) -> None:
    """End a part: first its leader, which knows how to end its own, then whatever is left of it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    sweep(home, part, grace=1.0)
    if process.poll() is None:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], timeout: float, *, every: float = 0.1) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
