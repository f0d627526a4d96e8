"""Progress on a terminal, and the same in words in the log of a worker that has none."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from components.contracts import EpochMetrics
from components.terminal import Console, PlainColumn

from ._log import run_log

_LOG_EVERY_S = 10.0


class Progress:
    """One stage's bars. `count` for things that are counted, `epoch` for members that are trained."""

    def __init__(self, stage: str, *, epochs: Mapping[str, int] | None = None) -> None:
        self._stage = stage
        self._epochs = epochs or {}
        self._tasks: dict[str, TaskID] = {}
        self._logged = float("-inf")
        self._bars = Bars(
            SpinnerColumn(),
            PlainColumn("{task.description:<24}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            PlainColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None) -> None:
        self._bars.stop()

    def count(self, done: int, total: int) -> None:
        """`done` of `total` episodes, trials or files."""
        self._show(self._stage, done, total, "")

    def epoch(self, member: str, epoch: EpochMetrics) -> None:
        """One member's newest epoch; it may stop before its last."""
        note = (
            f"loss {epoch.training_loss:.3f}  validation {epoch.validation_loss:.3f}  "
            f"MAE {epoch.validation_mae:.3f}  {epoch.frames_per_s:,.0f} frames/s"
        )
        self._show(member, epoch.epoch + 1, self._epochs.get(member, epoch.epoch + 1), note)

    def _show(self, name: str, done: int, total: int, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, note="")
        self._bars.update(self._tasks[name], completed=done, total=total, note=note)
        now = time.monotonic()
        if self._bars.disable and (done >= total or now - self._logged > _LOG_EVERY_S):
            self._logged = now
            run_log().info("%s: %d of %d %s", name, done, total, note)
