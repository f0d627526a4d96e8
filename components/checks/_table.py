"""Summaries -> the table that the suite judges: one row an episode, one column a thing to judge."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from components.contracts import EpisodeSummary
from components.episodes import words

from ._duplicates import Likeness, likenesses, name_of

_FEW, _MEDIAN, _MOST = 1, 2, 3
"""Places of a Spread: a tenth of the frames is under the first, a tenth over the last."""
_BOXES = {"1box": {"single", "one"}, "2box": {"two", "both", "double"}}

Row = dict[str, Any]


def rows(summaries: Sequence[EpisodeSummary], known: Sequence[EpisodeSummary], now: datetime) -> list[Row]:
    """One row a summary, in their order. `known` episodes and earlier rows are what a duplicate is one of."""
    return [
        _row(item, now) | _copies(alike) for item, alike in zip(summaries, likenesses(summaries, known), strict=True)
    ]


def _copies(alike: Likeness) -> Row:
    nearest = alike.nearest if alike.duplicate_of is None else None  # an exact one is said once
    return {
        "duplicate_of": alike.duplicate_of,
        "nearest_bits": nearest[0] if nearest else None,
        "nearest": f"{nearest[0]} bits from {nearest[1]}" if nearest else None,
        "mirrored_bits": alike.mirrored[0] if alike.mirrored else None,
        "mirrored": f"{alike.mirrored[0]} bits from a mirrored {alike.mirrored[1]}" if alike.mirrored else None,
    }


def _row(summary: EpisodeSummary, now: datetime) -> Row:
    extremes = [*(summary.action_min or ()), *(summary.action_max or ())]
    stated_s, stated_frames, collected_at = summary.stated_duration_s, summary.stated_frames, summary.collected_at
    pace = stated_s / (summary.frames - 1) if stated_s is not None and summary.frames > 1 else None
    ahead = (collected_at - now).total_seconds() / 86400 if collected_at else None
    return {
        "episode": name_of(summary),
        "sha256": summary.sha256,
        "source": summary.source,
        "frames": summary.frames,
        "width": summary.width,
        "height": summary.height,
        "non_finite_actions": summary.non_finite_actions,
        "action_extreme": max(map(abs, extremes), default=None),
        "action_extremes": f"{min(extremes):.4g} to {max(extremes):.4g}" if extremes else None,
        "frame_zero_faults": int(not summary.frame_zero_is_start),
        "unknown_key_fraction": summary.unknown_key_fraction,
        "blank_frames": summary.blank_frames,
        "blank_fraction": summary.blank_frames / summary.frames if summary.frames else 0.0,
        "frozen_fraction": summary.frozen_frames / max(1, summary.frames - 1),
        "brightness_mean": summary.brightness_mean,
        "dark_share": summary.dark_share[_MOST] if summary.dark_share else None,
        "bright_share": summary.bright_share[_MOST] if summary.bright_share else None,
        "sharpness_median": summary.sharpness[_MEDIAN] if summary.sharpness else None,
        "sharpness_low": summary.sharpness[_FEW] if summary.sharpness else None,
        "edgeless_fraction": summary.edgeless_fraction,
        "colour_confidence": summary.colour_confidence,
        "colour_words": _colour_words(summary),
        "side_agreement": _agreement(summary),
        "side_words": f"it went {_side_of(summary)}" if summary.side else None,
        "idle_fraction": summary.idle_fraction,
        "longest_pause": summary.longest_pause,
        "seconds_per_frame": pace,
        "clock": f"{pace:.3g} s a frame: {stated_s:.4g} s stated for {summary.frames} frames"
        if pace is not None
        else None,
        "collected_year": collected_at.year if collected_at else None,
        "days_ahead": ahead,
        "collected_at": collected_at.isoformat() if collected_at else None,
        "frames_beyond_stated": summary.frames - stated_frames if stated_frames is not None else None,
        "frame_counts": f"{summary.frames} frames, {stated_frames} stated",
        "scenario": summary.scenario,
        "instruction_fault": _instruction_fault(summary),
    }


def _instruction_fault(summary: EpisodeSummary) -> str | None:
    """What the instruction says against the scenario; wording is free. Not in its own words: this is shown as HTML."""
    told = words(summary.instruction)
    if not told:
        return "no instruction"
    if summary.scenario is None:
        return None
    boxes, _, side = summary.scenario.split("_")
    other = {"left": "right", "right": "left"}[side]
    if other in told and side not in told:
        return f"{other!r} in the instruction, scenario {summary.scenario}"
    counts = [count for count, said in _BOXES.items() if said & set(told)]
    if counts and boxes not in counts:
        return f"another number of boxes in the instruction, scenario {summary.scenario}"
    return None


def _agreement(summary: EpisodeSummary) -> float | None:
    """The side that was driven, positive where it is the one that was meant: by the scenario, or else in words."""
    named = set(summary.scenario.split("_") if summary.scenario else words(summary.instruction)) & {"left", "right"}
    if len(named) != 1 or summary.side is None:
        return None
    return summary.side if named == {"left"} else -summary.side


def _side_of(summary: EpisodeSummary) -> str:
    return "left" if (summary.side or 0) > 0 else "right"


def _colour_words(summary: EpisodeSummary) -> str | None:
    if summary.colour_confidence is None:
        return None
    said = "as the file states" if summary.colour_basis == "stated" else "which the file does not state"
    return (
        f"red and blue look swapped: read as {summary.colour_order}, {said}; {1 - summary.colour_confidence:.1%} sure"
    )


def utc_now() -> datetime:
    return datetime.now(UTC)
