"""Is red red? Decided by the robot's other episodes, where they tell.

No rule about the world says what a frame's red is: floors, walls and boxes come in all colours. What can be known is
whether an episode agrees with the others of its robot: their mean red-minus-blue of the upper, middle and lower third
of the picture spreads around some point, and swapping red and blue moves an episode to the opposite point. Both
hypotheses are compared under the others' spread (Student's t, since it is estimated from few episodes): the odds that
the episode was read the right way round. Where the rooms differ so much that the point is nothing, or where neither
side fits, nothing is said.

What is not covered: a robot whose episodes are all swapped alike agrees with itself.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.contracts import EpisodeSummary

from ._rules import Thresholds

_LEVELS = 4.0
"""Spread of a mean colour, of 255, that is taken for granted: light changes from day to day."""
_FITS = 30.0
"""Squared distance, in spreads, beyond which an episode belongs to neither side."""


def decide_colours(
    summaries: Sequence[EpisodeSummary], known: Sequence[EpisodeSummary], limits: Thresholds | None = None
) -> list[EpisodeSummary]:
    """The summaries, in their order, with `colour_confidence`: the probability that their frames were read in the right
    order, where the robot's other episodes tell; and `colour_basis` `decided` where the file states no order and they
    agree with the one that was taken.

    Args:
        known: episodes that were admitted before. Those of the batch count too.
    """
    limits = limits or Thresholds()
    rows: dict[tuple[str, str], dict[str, NDArray[np.float64]]] = defaultdict(dict)
    for item in (*known, *summaries):
        if item.warmth is not None:
            rows[item.robot, item.source][item.content_sha256] = np.array(item.warmth)
    groups = {key: np.array(list(found.values())) for key, found in rows.items()}
    return [_decided(item, groups.get((item.robot, item.source)), limits) for item in summaries]


def _decided(summary: EpisodeSummary, group: NDArray[np.float64] | None, limits: Thresholds) -> EpisodeSummary:
    if summary.warmth is None or group is None or len(group) - 1 < limits.colour_episodes:
        return summary
    own = np.array(summary.warmth)
    others = group[(group != own).any(axis=1)]
    confidence = _confidence(own, others) if len(others) >= limits.colour_episodes else None
    if confidence is None:
        return summary
    decided = summary.colour_basis == "unknown" and confidence >= limits.colour_confidence
    return summary.model_copy(
        update={
            "colour_confidence": round(confidence, 6),
            "colour_basis": "decided" if decided else summary.colour_basis,
        }
    )


def _confidence(own: NDArray[np.float64], others: NDArray[np.float64]) -> float | None:
    count, axes = others.shape
    mean = others.mean(axis=0)
    spread = np.cov(others.T) + np.eye(axes) * _LEVELS**2
    freedom = count - axes
    as_read, swapped = (float((side - mean) @ np.linalg.solve(spread, side - mean)) for side in (own, -own))
    if min(as_read, swapped) > _FITS:
        return None
    scale = freedom * (1 + 1 / count)
    log_odds = 0.5 * (freedom + axes) * (np.log1p(swapped / scale) - np.log1p(as_read / scale))
    return float(1 / (1 + np.exp(-np.clip(log_odds, -30, 30))))
