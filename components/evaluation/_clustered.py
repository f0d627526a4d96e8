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
        weights: (N,) at least 0; frames of weight 0 are not in it.
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
    frames = int(inside.sum())
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
        None where one class is empty, or is in most draws.
    """
    if positive.all() or not positive.any():
        return None
    units, owner = np.unique(owner, return_inverse=True)
    wins, positives, negatives = _wins_by_unit(scores, positive, owner, len(units))

    def figure(sums: Table) -> Array:
        drawn = sums["drawn"]
        pairs = (drawn @ positives) * (drawn @ negatives)
        return np.asarray(np.einsum("...i,ij,...j->...", drawn, wins, drawn, optimize=True) / pairs)

    # Pairs are of two units each, so a draw is no weighted sum of rows; how often it drew each unit is one.
    return Bootstrap(len(units), seed=seed).estimate(
        {"drawn": np.eye(len(units))}, figure, RATE, "bootstrap-by-episode"
    )


def _wins_by_unit(
    scores: Array, positive: NDArray[np.bool_], owner: NDArray[np.int64], units: int
) -> tuple[Array, Array, Array]:
    """(units, units): over pairs of a positive frame of i and a negative one of j, how many the positive wins; and how
    many positive and negative frames each unit has."""
    wins = np.zeros((units, units))
    ranked = [np.sort(scores[(owner == unit) & ~positive]) for unit in range(units)]
    for mine in range(units):
        high = scores[(owner == mine) & positive]
        if len(high):
            wins[mine] = [
                (np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")).sum() / 2 for low in ranked
            ]
    counts = [_sums(chosen.astype(float), owner, units)[:, 0] for chosen in (positive, ~positive)]
    return wins, counts[0], counts[1]


def _sums(values: Array, owner: NDArray[np.int64], units: int) -> Array:
    """(N,) -> (units, 1)."""
    return np.asarray(np.bincount(owner, weights=values, minlength=units)[:, None], dtype=float)


def lay_out(episodes: Sequence[Array]) -> tuple[Array, NDArray[np.int64]]:
    """(T, ...) an episode -> frames 1.. end to end, and the episode of each."""
    frames = np.concatenate([np.asarray(item[1:], dtype=float) for item in episodes])
    return frames, np.repeat(np.arange(len(episodes)), [len(item) - 1 for item in episodes])
