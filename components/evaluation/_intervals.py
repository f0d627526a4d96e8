"""Intervals: a bootstrap over whole episodes, and Wilson's for rates.

What is not covered: dependence between episodes (one robot, one room, one session). The intervals speak of other
episodes that are collected in the same way, not of other robots or rooms. Nor do they cover what training would give
with other seeds: the policy is taken as it is.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from components.contracts import Estimate, Method

Array = NDArray[np.float64]
Table = Mapping[str, Array]
"""Sums by name: (n, k), a row an episode; summed (k,); resampled (draws, k). Every figure is a function of such sums,
so that a draw of the bootstrap is a weighted sum of rows, and all draws are one matrix product."""
Figure = Callable[[Table], Array]

DRAWS = 2_000
CONFIDENCE = 0.95
_Z = float(special.ndtri((1 + CONFIDENCE) / 2))
_AT_A_BOUND = 1e-9
_MOST_BENT = 6.0
"""Exponent on a bent scale beyond which an interval says the same: next to nothing."""


@dataclass(frozen=True)
class Bounds:
    """The values that a figure can take by its definition; an interval never leaves them. A probability or a rate ends
    at 1. What data happen to hold is no bound: other data hold more."""

    low: float = -math.inf
    high: float = math.inf
    scale: float = 1.0
    """By which an interval reaches away from a single bound that every unit lies at."""


RATE = Bounds(0.0, 1.0)


class Bootstrap:
    """Draws of n units with replacement; equal n and seed draw the same units, which pairs figures of two policies."""

    def __init__(self, n: int, *, seed: int) -> None:
        if n < 1:
            raise ValueError(f"expected at least one unit to draw from, got {n}")
        self.n = n
        self._counts = _draw(n, seed)

    def of(self, table: Table) -> "Resampled":
        """All draws of a table at once: as many figures as are wanted follow from them."""
        totals = {name: rows.sum(axis=0) for name, rows in table.items()}
        return Resampled(self.n, totals, {name: self._counts @ rows for name, rows in table.items()})

    def estimate(self, table: Table, figure: Figure, bounds: Bounds, method: Method) -> Estimate | None:
        """One figure with its interval; see `Resampled.estimate`."""
        return self.of(table).estimate(figure, bounds, method)


@cache
def _draw(n: int, seed: int) -> Array:
    """(draws, n): how often each unit is in each draw."""
    return np.random.default_rng([seed, n]).multinomial(n, np.full(n, 1 / n), DRAWS).astype(float)


@dataclass(frozen=True)
class Resampled:
    """A table's totals, and those of every draw."""

    n: int
    totals: Table
    draws: Table

    def estimate(self, figure: Figure, bounds: Bounds, method: Method) -> Estimate | None:
        """The figure of all rows with its interval.

        Returns:
            None where the figure is undefined (NaN) for the rows or for most draws, or where one single unit leaves an
            unbounded figure without any interval.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            value, draws = float(figure(self.totals)), figure(self.draws)
        draws = draws[np.isfinite(draws)]
        if not math.isfinite(value) or len(draws) * 2 < DRAWS:
            return None
        low, high = _interval(value, draws, self.n, bounds)
        if not (math.isfinite(low) and math.isfinite(high)):
            return None
        return Estimate(value=value, low=low, high=high, n=self.n, method=method)


def _interval(value: float, draws: Array, n: int, bounds: Bounds) -> tuple[float, float]:
    """The wider, side by side, of the expanded percentile interval and a t interval on a scale without bounds.

    Few clusters make the plain percentile interval too short three times over. The resampled variance is (n - 1) / n of
    the true one and the quantiles are the normal's: expanded percentiles (Hesterberg 2015) mend both as far as draws
    reach, and t goes on where they do not. Errors are skewed, many episodes being right throughout and few wrong: t is
    taken on the logit scale, which leans away from the near bound. And a figure that is no mean, such as macro-F1, is
    biased with few episodes: the side that it leans from is moved by twice the bootstrap's bias, because what the
    sample lacks is in no draw. tests/evaluation/test_interval_calibration.py measures what this holds.

    One unit says nothing of the spread between units: its interval is all that is possible, and where that has no end
    there is none. Units that all lie at a
    bound say no more than as many coin tosses that came out alike.
    """
    if n == 1:
        return bounds.low, bounds.high
    spread = math.sqrt(n / (n - 1))
    t = float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    tail = float(special.ndtr(-t * spread))
    low, high = np.quantile(draws, [tail, 1 - tail])
    bent = _bent(value, t * spread * float(draws.std()), n, bounds)
    bias = 2 * (float(draws.mean()) - value)
    low, high = min(float(low), bent[0]) - max(0.0, bias), max(float(high), bent[1]) - min(0.0, bias)
    return max(low, bounds.low), min(high, bounds.high)


def _bent(value: float, margin: float, n: int, bounds: Bounds) -> tuple[float, float]:
    """`value` plus and minus `margin` where there are no bounds; else the same on the logit scale between two, on the
    logarithmic one beside a single one."""
    to_low, to_high = value - bounds.low, bounds.high - value
    if min(to_low, to_high) <= _AT_A_BOUND:
        scale = to_low + to_high if math.isfinite(to_low + to_high) else bounds.scale
        reach = scale * _Z**2 / (n + _Z**2)  # Wilson's
        return (value, value + reach) if to_low <= _AT_A_BOUND else (value - reach, value)
    near = min(to_low, to_high)
    if math.isinf(near):
        return value - margin, value + margin
    if math.isinf(to_low + to_high):
        factor = math.exp(min(margin / near, _MOST_BENT))
        sides = bounds.high - near * factor, bounds.high - near / factor
        return sides if math.isinf(to_low) else (bounds.low + near / factor, bounds.low + near * factor)
    factor = math.exp(min(margin * (to_low + to_high) / (to_low * to_high), _MOST_BENT))
    low = bounds.low + (to_low + to_high) * to_low / (to_low + to_high * factor)
    return low, bounds.low + (to_low + to_high) * to_low / (to_low + to_high / factor)


def wilson(successes: int, n: int) -> Estimate:
    """A rate with Wilson's score interval.

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n with at least one trial, got {successes} of {n}")
    rate, z = successes / n, _Z
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return Estimate(
        value=rate,
        low=max(0.0, min(rate, middle - half)),
        high=min(1.0, max(rate, middle + half)),
        n=n,
        method="wilson",
    )
