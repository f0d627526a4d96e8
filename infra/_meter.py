"""How much memory a family of processes takes together, at most."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

_EVERY_S = 1.0


def resident_mib(pids: Iterable[int]) -> float:
    """Resident memory of these processes in MiB, a page that several share counted once.

    That is Linux's proportional set size; plain resident size where the kernel does not tell.
    """
    total = 0
    for pid in pids:
        try:
            total += _proportional_bytes(pid)
        except (OSError, psutil.Error):
            continue  # it ended meanwhile
    return total / 2**20


def _proportional_bytes(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if rollup.exists():
        for line in rollup.read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return int(psutil.Process(pid).memory_info().rss)


def family(*roots: int) -> set[int]:
    """These processes and all that descend from them."""
    pids: set[int] = set()
    for root in roots:
        try:
            pids |= {root, *(child.pid for child in psutil.Process(root).children(recursive=True))}
        except psutil.Error:
            continue
    return pids


class MemoryMeter:
    """Samples once a second in a thread while it is open; `peak_mib` is the largest sum seen."""

    def __init__(self, roots: Callable[[], Iterable[int]]) -> None:
        self.peak_mib = 0.0
        self._roots = roots
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            self.peak_mib = max(self.peak_mib, resident_mib(family(*self._roots())))
            if self._stop.wait(_EVERY_S):
                return
