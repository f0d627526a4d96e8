"""Epochs, told to whoever watches while Ray works."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from components.contracts import EpochMetrics

Progress = Callable[[str, EpochMetrics], None]
"""Called with a member's name and each epoch that it finished. Epochs left are `spec.training.epochs`'s, less an early
stop. After a restart some epochs may come twice."""

Result = TypeVar("Result")
_POLL_S = 0.2


class ProgressLog:
    """A file of JSON lines. Ray's callbacks append to it, in this process or in one beside it on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0

    def append(self, name: str, metrics: EpochMetrics) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps([name, metrics.model_dump(mode="json")]) + "\n")

    def drain(self, progress: Progress) -> None:
        """Tell what came since the last time; a line that is still being written waits."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                name, metrics = json.loads(line)
                progress(name, EpochMetrics.model_validate(metrics))


def watch(work: Callable[[], Result], log: ProgressLog, progress: Progress) -> Result:
    """Do `work` in a thread (so that Ray leaves this one's signal handlers alone) and tell its progress in this one."""
    with ThreadPoolExecutor(1, thread_name_prefix="ray") as pool:
        future = pool.submit(work)
        while not wait([future], timeout=_POLL_S).done:
            log.drain(progress)
        log.drain(progress)
        return future.result()
