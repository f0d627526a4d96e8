"""Figures over single frames, with intervals by the episodes or rooms that the frames belong to."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.contracts import Estimate, Method

from ._intervals import RATE, Array, Bootstrap, Table, wilson


def rate_of_frames(hits: Array, weights: Array, owner: NDArray[np.int64], *, seed: int) -> Estimate | None:
    """Share of the weight that lies on hits.

    The interval is the wider, side by side, of the bootstrap over episodes and Wilson's on the frames: where every
    frame is a hit, there is no spread between episodes to resample, and yet the rate is not known to be 1.

    Args:
        hits: (N,) 0 or 1.
        weights: (N,) 0 to 1: how far a frame is in it.
        owner: (N,) the episode of each frame.

    Returns:
        None where no frame has weight. `n` counts the episodes that have some.
    """
    inside = weights > 0
    if not inside.any():
        return None
    episodes, owner = np.unique(owner[inside], return_inverse=True)
    table: Table = {
        "hit": _sums((hits * weights)[inside], owner, len(episodes)),
        "weight": _sums(weights[inside], owner, len(episodes)),
    }
    found = Bootstrap(len(episodes), seed=seed).estimate(
        table, lambda sums: (sums["hit"] / sums["weight"])[..., 0], RATE, "bootstrap-by-episode"
    )
    assert found is not None  # every episode that is drawn has weight
    frames = max(1, round(float(weights.sum())))
    plain = wilson(min(frames, round(found.value * frames)), frames)
    return found.model_copy(update={"low": min(found.low, plain.low), "high": max(found.high, plain.high)})


def auroc(
    scores: Array,
    positive: NDArray[np.bool_],
    owner: NDArray[np.int64],
    *,
    seed: int,
    method: Method = "bootstrap-by-episode",
) -> Estimate | None:
    """Probability that a positive frame scores higher than a negative one, ties counting half.

    Args:
        scores: (N,) finite.
        positive: (N,).
        owner: (N,) the episode or room of each frame: the unit that the bootstrap draws, with both classes in it.

    Returns:
        None where one class is empty, or is so in most draws.
    """
    if positive.all() or not positive.any():
        return None
    units, owner = np.unique(owner, return_inverse=True)
    wins = _wins(scores, positive, owner, len(units))
    positives, negatives = (_sums(mine.astype(float), owner, len(units))[:, 0] for mine in (positive, ~positive))

    def figure(sums: Table) -> Array:
        drawn = sums["drawn"]
        return np.asarray(((drawn @ wins) * drawn).sum(axis=-1) / ((drawn @ positives) * (drawn @ negatives)))

    # Pairs are of two units each, so a draw is no weighted sum of rows; how often it drew each unit is one.
    return Bootstrap(len(units), seed=seed).estimate({"drawn": np.eye(len(units))}, figure, RATE, method)


def _wins(scores: Array, positive: NDArray[np.bool_], owner: NDArray[np.int64], units: int) -> Array:
    """(units, units): of the pairs of a positive frame of i and a negative one of j, how many the positive wins."""
    low, whose, wins = scores[~positive], owner[~positive], np.zeros((units, units))
    for mine in range(units):
        high = scores[(owner == mine) & positive][:, None]
        won = (high > low).sum(axis=0) + (high == low).sum(axis=0) / 2
        wins[mine] = np.bincount(whose, weights=won, minlength=units)
    return wins


def _sums(values: Array, owner: NDArray[np.int64], units: int) -> Array:
    """(N,) -> (units, 1)."""
    return np.asarray(np.bincount(owner, weights=values, minlength=units)[:, None], dtype=float)


def lay_out(episodes: Sequence[Array]) -> tuple[Array, NDArray[np.int64]]:
    """(T, ...) an episode -> frames 1.. end to end, and the episode of each."""
    frames = np.concatenate([np.asarray(item[1:], dtype=float) for item in episodes])
    return frames, np.repeat(np.arange(len(episodes)), [len(item) - 1 for item in episodes])
