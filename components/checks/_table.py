"""Summaries -> the table that the suite judges: one row an episode, one column a thing to judge."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.contracts import EpisodeSummary

Row = dict[str, Any]


def rows(summaries: Sequence[EpisodeSummary], known: Sequence[EpisodeSummary], now: datetime) -> list[Row]:
    """One row a summary, in their order. `known` episodes and earlier rows are what a duplicate is one of."""
    duplicates = _duplicates(summaries, known)
    nearest = _nearest(summaries, known)
    table = []
    for summary, duplicate, (bits, other) in zip(summaries, duplicates, nearest, strict=True):
        near = bits if duplicate is None else None  # an exact one is said once
        table.append(
            _row(summary, now) | {"duplicate_of": duplicate, "nearest_bits": near, "nearest": _words(near, other)}
        )
    return table


def _row(summary: EpisodeSummary, now: datetime) -> Row:
    extremes = [*(summary.action_min or ()), *(summary.action_max or ())]
    stated_s, stated_frames, collected_at = summary.stated_duration_s, summary.stated_frames, summary.collected_at
    pace = stated_s / (summary.frames - 1) if stated_s is not None and summary.frames > 1 else None
    ahead = (collected_at - now).total_seconds() / 86400 if collected_at else None
    return {
        "episode": _name(summary),
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
    words = set(summary.instruction.lower().replace(".", " ").replace(",", " ").split())
    if not words:
        return "no instruction"
    if summary.scenario is None:
        return None
    side = summary.scenario.rsplit("_", 1)[-1]
    other = {"left": "right", "right": "left"}[side]
    if other in words and side not in words:
        return f"{other!r} in the instruction, scenario {summary.scenario}"
    return None


def _duplicates(summaries: Sequence[EpisodeSummary], known: Sequence[EpisodeSummary]) -> list[str | None]:
    """For each the episode that already holds the same frames and actions: a known one, or an earlier row."""
    first = {summary.content_sha256: _name(summary) for summary in reversed(known)}
    found: list[str | None] = []
    for summary in summaries:
        found.append(first.get(summary.content_sha256))
        first.setdefault(summary.content_sha256, _name(summary))
    return found


def _nearest(summaries: Sequence[EpisodeSummary], known: Sequence[EpisodeSummary]) -> list[tuple[int | None, str]]:
    """For each the least Hamming distance to a known episode's or an earlier row's frames, and whose they are."""
    everyone = [*known, *summaries]
    if not everyone:
        return []
    hashes: NDArray[np.uint8] = np.array([_bits(summary) for summary in everyone], dtype=np.uint8)
    found: list[tuple[int | None, str]] = []
    for index in range(len(known), len(everyone)):
        if index == 0:
            found.append((None, ""))
            continue
        distances = np.bitwise_count(hashes[:index] ^ hashes[index]).sum(axis=1)
        other = int(distances.argmin())
        found.append((int(distances[other]), _name(everyone[other])))
    return found


def _bits(summary: EpisodeSummary) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(summary.perceptual_hash), dtype=np.uint8)


def _words(bits: int | None, other: str) -> str | None:
    return None if bits is None else f"{bits} bits from {other}"


def _name(summary: EpisodeSummary) -> str:
    return f"{summary.robot}/{summary.name}"


def utc_now() -> datetime:
    return datetime.now(UTC)
