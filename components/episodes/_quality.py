"""How good an episode's frames are to learn from, and how it was driven: sharpness, clipped pixels, colours, idling,
and the side on which the robot went. Functions over one frame at a time or over the actions; nothing here is decoded
twice, and a frame costs about half a millisecond at 1280x720.

What is not covered: vignetting, dirt on the lens, rolling shutter, and noise; a frame without a strong edge (a plain
wall close by) has no sharpness.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_LINES = 24
"""Full-resolution lines of a frame that are looked at, along each side."""
_EDGE = 40
"""Levels of 255 within a stretch that make it an edge: shading and noise stay below."""
_EDGES = 8
"""Stretches with an edge that a judgement needs."""
_DARK, _BRIGHT = 2, 253
"""A pixel is clipped where all its channels are at most, or at least, as much."""
_LEVELS = (0.0, 0.1, 0.5, 0.9, 1.0)
PRESS_S = 0.3
"""Seconds that a key press moves the base."""


class FrameQuality(NamedTuple):
    """One frame."""

    sharpness: float | None
    """0..1: of the change across an edge, the part that happens from one pixel to the next; None without edges."""
    dark: float
    """Share of pixels clipped to black."""
    bright: float
    """Share of pixels clipped to white."""
    warmth: tuple[float, float, float]
    """Mean red minus mean blue of the upper, middle and lower third, in levels of 255."""


def frame_quality(frame: NDArray[np.uint8]) -> FrameQuality:
    """Measure one frame: (H, W, 3) uint8 RGB.

    Whole rows and columns are read, never every n-th pixel of one: a subsample would be sharp whatever the frame is.
    """
    height, width = frame.shape[:2]
    # A plane each: numpy is an order of magnitude faster on these than along an axis of three.
    rows = np.ascontiguousarray(frame[_spaced(height)].transpose(2, 0, 1))
    along, across = _sharpness(rows[1]), _sharpness(frame[:, _spaced(width), 1].T)
    known = [value for value in (along, across) if value is not None]
    red, green, blue = rows
    lowest, highest = np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)
    return FrameQuality(
        sharpness=min(known) if known else None,  # shaken sideways, upright edges alone are soft
        dark=float(np.count_nonzero(highest <= _DARK)) / highest.size,
        bright=float(np.count_nonzero(lowest >= _BRIGHT)) / lowest.size,
        warmth=_warmth(red, blue),
    )


def _spaced(length: int) -> slice:
    step = max(1, length // _LINES)
    return slice(step // 2, None, step)


def _warmth(red: NDArray[np.uint8], blue: NDArray[np.uint8]) -> tuple[float, float, float]:
    lines = (red.sum(axis=1, dtype=np.int64) - blue.sum(axis=1, dtype=np.int64)) / red.shape[1]
    upper, middle, lower = np.array_split(np.resize(lines, max(3, len(lines))), 3)
    return float(upper.mean()), float(middle.mean()), float(lower.mean())


def _sharpness(lines: NDArray[np.uint8]) -> float | None:
    """Of lines (N, L): cut into stretches; in each with an edge, the largest step over the whole range; of those the
    upper quartile, because a frame is blurred when even its best edges are soft."""
    length = lines.shape[1]
    stretch = min(32, max(8, length // 40))
    usable = length // stretch * stretch
    if usable == 0:
        return None
    # (stretch, parts): least and most over the first axis go through memory in one sweep
    parts = np.ascontiguousarray(lines[:, :usable].reshape(-1, stretch).T)
    spans = parts.max(axis=0) - parts.min(axis=0)
    edges = np.flatnonzero(spans >= _EDGE)
    if len(edges) < _EDGES:
        return None
    found = parts[:, edges]
    steps = (np.maximum(found[1:], found[:-1]) - np.minimum(found[1:], found[:-1])).max(axis=0)
    ratios = np.sort(steps / spans[edges])
    return float(ratios[int(0.75 * (len(ratios) - 1))])


def frames_summary(measured: Iterable[FrameQuality]) -> dict[str, Any]:
    """Fields of EpisodeSummary, from any sample of an episode's frames."""
    frames = list(measured)
    sharp = [frame.sharpness for frame in frames if frame.sharpness is not None]
    return {
        "sharpness": _spread(sharp),
        "edgeless_fraction": (len(frames) - len(sharp)) / len(frames) if frames else None,
        "dark_share": _spread([frame.dark for frame in frames]),
        "bright_share": _spread([frame.bright for frame in frames]),
        "warmth": tuple(np.mean([frame.warmth for frame in frames], axis=0).round(3).tolist()) if frames else None,
    }


def _spread(values: list[float]) -> tuple[float, ...] | None:
    return tuple(np.quantile(values, _LEVELS).round(5).tolist()) if values else None


def driving_summary(actions: NDArray[np.float32]) -> dict[str, Any]:
    """Fields of EpisodeSummary, from the actions (T, 3): what was driven, not what was meant."""
    later = actions[1:]
    still = [bool(alike) for alike in (later == 0).all(axis=1)]
    moved = [index for index, alike in enumerate(still) if not alike]
    between = still[moved[0] : moved[-1]] if moved else []
    return {
        "idle_fraction": sum(still) / len(still) if still else 0.0,
        "longest_pause": max((len(list(run)) for idle, run in groupby(between) if idle), default=0),
        "side": _side(later),
    }


def _side(actions: NDArray[np.float32]) -> float | None:
    """How far to the left (+) or right (-) of straight on the driven path runs, over its length; None where the actions
    do not tell.

    Straight on is two lines, and the mean distances from both are added: the first heading, and the way from start to
    end. Who starts beside the box and comes back to the cup's axis passes it on one side of the second alone, who ends
    where he passed on one side of the first alone. A base that goes sideways turns only to look ahead again, by an
    angle that is the floor's affair: its turns are left out. One that never does steers by them.
    """
    moves = actions[np.isfinite(actions).all(axis=1)].astype(np.float64) * PRESS_S
    yaw = np.zeros(len(moves)) if moves[:, 1].any() else np.concatenate([[0.0], np.cumsum(moves[:, 2])])[:-1]
    x = np.concatenate([[0.0], np.cumsum(np.cos(yaw) * moves[:, 0] - np.sin(yaw) * moves[:, 1])])
    y = np.concatenate([[0.0], np.cumsum(np.sin(yaw) * moves[:, 0] + np.cos(yaw) * moves[:, 1])])
    way = float(np.hypot(x[-1], y[-1]))
    if way < 2 * PRESS_S:  # not two presses away: it came back, or hardly moved
        return None
    area = 0.5 * float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())
    return float(y.mean()) / way - area / way**2
