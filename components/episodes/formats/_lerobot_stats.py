"""Statistics that LeRobot normalises by: exact, over every value, per episode and over the whole dataset."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

Stats = dict[str, list[Any]]
"""min, max, mean, std, count and quantiles of one feature, as JSON has them."""


def number_stats(values: NDArray[Any]) -> Stats:
    """Of (T, D). Values that are not finite are left out; count is T."""
    whole = values.dtype.kind == "i"
    columns = [column[np.isfinite(column)] for column in values.T]
    columns = [column if column.size else np.zeros(1, values.dtype) for column in columns]
    kept = int if whole else float
    exact = [column.astype(np.float64) for column in columns]
    stats: Stats = {
        "min": [kept(column.min()) for column in columns],
        "max": [kept(column.max()) for column in columns],
        "mean": [float(column.mean()) for column in exact],
        "std": [float(column.std()) for column in exact],
        "count": [len(values)],
    }
    return stats | {name: [float(np.quantile(column, q)) for column in exact] for name, q in _QUANTILES.items()}


@dataclass
class ImageStats:
    """Of RGB frames, per channel in [0, 1]. A histogram of the 256 levels holds all that is asked for, exactly."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    frames: int = 0

    def add(self, image: NDArray[np.uint8]) -> None:
        """(H, W, 3) uint8."""
        for channel in range(3):
            self.counts[channel] += np.bincount(image[..., channel].ravel(), minlength=256)
        self.frames += 1

    def merge(self, other: "ImageStats") -> None:
        self.counts += other.counts
        self.frames += other.frames

    def stats(self) -> Stats:
        """Each figure as (3, 1, 1); count is of frames."""
        levels = np.arange(256) / 255
        total = self.counts.sum(axis=1)
        mean = self.counts @ levels / total
        std = np.sqrt((self.counts * (levels - mean[:, None]) ** 2).sum(axis=1) / total)
        cumulative = self.counts.cumsum(axis=1)
        figures = {
            "min": [levels[np.flatnonzero(row)[0]] for row in self.counts],
            "max": [levels[np.flatnonzero(row)[-1]] for row in self.counts],
            "mean": mean,
            "std": std,
        } | {
            name: [levels[int(np.searchsorted(row, q * row[-1]))] for row in cumulative]
            for name, q in _QUANTILES.items()
        }  # fmt: skip
        stats: Stats = {name: [[[float(value)]] for value in values] for name, values in figures.items()}
        return stats | {"count": [self.frames]}
