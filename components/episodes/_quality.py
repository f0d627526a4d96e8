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
_EDGES = 12
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
    """How far the driven path bulges to the left (+) or right (-) of the line from its start to its end, as mean
    distance over the line's length; None where the actions do not tell.

    The line, not the first heading: a robot that starts beside the box, or ends beside the cup's axis, still passes
    the box on one side. Turns come twice, at face value and not at all, since what a press turns is the floor's
    affair: where the two disagree, nothing is said.
    """
    finite = actions[np.isfinite(actions).all(axis=1)].astype(np.float64) * PRESS_S
    told = [value for turning in (1.0, 0.0) if (value := _bulge(finite, turning)) is not None]
    if not told or min(told) < 0 < max(told):
        return None
    return min(told, key=abs)


def _bulge(moves: NDArray[np.float64], turning: float) -> float | None:
    yaw = np.concatenate([[0.0], np.cumsum(moves[:-1, 2] * turning)]) if len(moves) else np.zeros(0)
    x = np.concatenate([[0.0], np.cumsum(np.cos(yaw) * moves[:, 0] - np.sin(yaw) * moves[:, 1])])
    y = np.concatenate([[0.0], np.cumsum(np.sin(yaw) * moves[:, 0] + np.cos(yaw) * moves[:, 1])])
    chord = float(np.hypot(x[-1], y[-1]))
    if chord < 2 * PRESS_S:  # two presses: it came back, or hardly moved
        return None
    area = 0.5 * float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())
    return -area / chord**2
