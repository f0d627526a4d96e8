"""Anytime-valid statistics of closed loop: intervals and evidence that hold whenever a run stops, and when it may.

One instrument serves all. To doubt that a quantity in [0, 1] has mean m, bet on every room that it comes out higher: a
stake c of the wealth multiplies it by 1 - c + c * outcome / m. If the mean is no higher than m the wealth is not
expected to grow, so that it ever reaches 1/alpha has probability alpha at most (Ville's inequality), however often one
looks and for whatever reason one stops. Nobody knows the best stake: the wealth is the mean over a fixed grid of them,
which is as good as a bet of its own. For pairs with m = 1/2 this is the mixture of likelihood ratios, uniform over the
probability from 1/2 to 1 that the subject wins a discordant pair.

The eight scenarios are unequally hard. Within a round of them the wealth may grow even if the mean over scenarios is m;
over a whole round it does not, because a product of factors whose mean is 1 is 1 at most. So only whole rounds are
looked at. That scenarios alternate, instead of being drawn, makes everything here a little too careful.

What is not covered: quantities without bounds, such as metres driven; other rooms than those that are drawn alike.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from components.contracts import BLIND, INCUMBENT, STRAIGHT_AHEAD, Estimate, PairedTrials

from ._intervals import CONFIDENCE

Array = NDArray[np.float64]

DECIDES = 20.0
"""Wealth that decides: wrongly with probability 1/20 at most."""
NEEDED = (STRAIGHT_AHEAD, BLIND, INCUMBENT)
"""Whom the gate reads the subject against, room by room."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(128)
_STAKES: Array = (_NODES + 1) / 2  # of (0, 1): all but a little of the wealth may be staked, never all
_LOG_SHARES: Array = np.log(_WEIGHTS / 2)
_LEAST = 1e-12


def log_wealth(outcomes: ArrayLike, counts: ArrayLike, mean: float) -> Array:
    """Logarithm of what betting against "the mean is at most `mean`" has made of 1.

    Args:
        outcomes: (k,) values in [0, 1] that a room can have.
        counts: (..., k) how many rooms had each; whole rounds of the scenarios.
        mean: in (0, 1).

    Returns:
        (...)
    """
    ratio = np.asarray(outcomes, dtype=np.float64)[:, None] / mean
    each = np.log1p(_STAKES * (ratio - 1.0))
    found: Array = special.logsumexp(np.asarray(counts, dtype=np.float64) @ each + _LOG_SHARES, axis=-1)
    return found


def evidence(gained: ArrayLike, lost: ArrayLike) -> Array:
    """e-values that the subject is better, from the rooms that it alone and that the reference alone succeeded in.

    Rooms in which both did the same change nothing. Swap the two for the evidence that it is worse.

    Args:
        gained: (...) rooms so far in which only the subject succeeded, after whole rounds.
        lost: (...) only the reference.

    Returns:
        (...) 20 and more decides at 5 %; never above 1e12, beyond which nobody needs to tell them apart.
    """
    grown = log_wealth([0.0, 1.0], np.stack([np.asarray(lost), np.asarray(gained)], axis=-1), 0.5)
    e_values: Array = np.exp(np.minimum(grown, math.log(1e12)))
    return e_values


def anytime_rate(successes: int, n: int) -> Estimate:
    """A success rate whose 95 % interval holds whenever the run stops.

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n with at least one trial, got {successes} of {n}")
    low, high = _interval([0.0, 1.0], [n - successes, successes])
    return Estimate(value=successes / n, low=low, high=high, n=n, method="anytime")


def anytime_mean(values: Sequence[float]) -> Estimate:
    """The mean of values in [0, 1], one a room, whose 95 % interval holds whenever the run stops.

    Raises:
        ValueError: no values, or some outside [0, 1].
    """
    if not len(values) or min(values) < 0 or max(values) > 1:
        raise ValueError(f"expected values in [0, 1], at least one, got {list(values)}")
    low, high = _interval(values, np.ones(len(values)))
    return Estimate(value=float(np.mean(values)), low=low, high=high, n=len(values), method="anytime")


def anytime_difference(gained: int, lost: int, n: int) -> Estimate:
    """The difference of two success rates in the same n rooms, whose 95 % interval holds whenever the run stops.

    Args:
        gained: rooms in which only the first succeeded.
        lost: rooms in which only the second did.
        n: all rooms.

    Raises:
        ValueError: counts that are not of n rooms.
    """
    if n < 1 or min(gained, lost, n - gained - lost) < 0:
        raise ValueError(f"expected counts of at least one room, got {gained} gained and {lost} lost of {n}")
    low, high = _interval([0.0, 0.5, 1.0], [lost, n - gained - lost, gained])
    return Estimate(value=(gained - lost) / n, low=2 * low - 1, high=2 * high - 1, n=n, method="anytime-paired")


def _interval(outcomes: ArrayLike, counts: ArrayLike) -> tuple[float, float]:
    """The means that neither the bet on more nor the bet on less has refuted, at half of alpha each."""
    values, numbers = np.asarray(outcomes, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    low, high = _lowest(values, numbers), 1 - _lowest(1 - values, numbers)
    mean = float(values @ numbers / numbers.sum())
    return min(low, mean), max(high, mean)


def _lowest(values: Array, numbers: Array) -> float:
    """Wealth falls as the mean that is doubted rises: one root."""
    mean = float(values @ numbers / numbers.sum())
    needed = math.log(2 / (1 - CONFIDENCE))

    def missing(doubted: float) -> float:
        return float(log_wealth(values, numbers, doubted)) - needed

    if mean <= _LEAST or missing(_LEAST) <= 0:
        return 0.0
    return float(optimize.brentq(missing, _LEAST, mean))


def may_stop(pairs: Iterable[PairedTrials]) -> bool:
    """Whether every decision that the gate needs is clear: better or worse than straight ahead, than the blind
    baseline, and than the incumbent where there is one. What stays open drives all planned rooms.

    Clear is what the interval says, because the gate reads it: it lies on one side of 0, which takes evidence of 40.
    From evidence of 20 on one could say it as well, and the gate would refuse for want of rooms that were not driven.
    """
    needed = [pair.difference for pair in pairs if pair.reference in NEEDED]
    return bool(needed) and all(gain.low > 0 or gain.high < 0 for gain in needed)
