"""Two ways to do the same, in turn, so that a machine that slows down slows both."""

import statistics
import time
from collections.abc import Callable
from typing import TypedDict


class Row(TypedDict):
    """One line of bench.json."""

    name: str
    value: float
    unit: str
    peer: str
    ratio: float
    """Ours over the peer's, in time: less is better."""
    goal: float
    """The largest ratio that is good enough."""


def paired(ours: Callable[[], object], peer: Callable[[], object], *, rounds: int = 7) -> tuple[float, float]:
    """Median seconds of ours, and the median ratio ours / peer over `rounds` pairs, after one of each that does not
    count."""
    _seconds(ours), _seconds(peer)
    pairs = [(_seconds(ours), _seconds(peer)) for _ in range(rounds)]
    return statistics.median(own for own, _ in pairs), statistics.median(own / other for own, other in pairs)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
