"""What an episode must keep to: every rule, its severity and its threshold, in one table."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from components.contracts import ACTION_LIMIT, EpisodeSource, Frozen

_DRIVEN_BY_KEYS: tuple[EpisodeSource, ...] = ("robot", "simulated")
_VIDEO: tuple[EpisodeSource, ...] = ("donkey", "ros", "lerobot", "recon")


class Thresholds(Frozen):
    """The figures in the rules."""

    action_limit: Annotated[float, Field(gt=0)] = ACTION_LIMIT
    action_tolerance: Annotated[float, Field(ge=0)] = 1e-3
    frames: Annotated[int, Field(ge=1)] = 2
    """Frame 0 teaches nothing."""
    unknown_keys: Annotated[float, Field(ge=0, le=1)] = 0.0
    blank: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of an episode's frames; fewer are a warning."""
    frozen: Annotated[float, Field(ge=0, le=1)] = 0.5
    some_frozen: Annotated[float, Field(ge=0, le=1)] = 0.1
    press_s: tuple[float, float] = (0.25, 30.0)
    """Seconds a frame of a robot driven by keys: a press moves it for 0.3 s, then the operator looks."""
    video_s: tuple[float, float] = (0.02, 1.0)
    """Seconds a frame of a recording at a camera's rate."""
    brightness: tuple[float, float] = (8.0, 247.0)
    near_duplicate_bits: Annotated[int, Field(ge=0, le=192)] = 6
    """Of the 192 bits of three frames' hashes: as few or fewer differ. The nearest two of 96 simulated episodes: 46."""
    width: Annotated[int, Field(ge=1)] = 80
    height: Annotated[int, Field(ge=1)] = 45
    year: Annotated[int, Field(ge=1970)] = 2015
    ahead_days: Annotated[float, Field(ge=0)] = 2.0
    """How far a robot's clock may be ahead of this machine's."""


class Rule(Frozen):
    """One rule: one expectation on one column of the table of summaries."""

    rule: str
    severity: Literal["error", "warning"]
    column: str
    expected: str
    minimum: float | None = None
    maximum: float | None = None
    present: bool | None = None
    """True: never null. False: always null. None: within minimum and maximum, null passes."""
    sources: tuple[EpisodeSource, ...] | None = None
    """The sources that it holds for; None: all."""
    shown: str | None = None
    """Column whose value tells what was observed; None: `column` itself."""
    phrase: str = "{}"
    """Puts that value into words."""


def rules(limits: Thresholds) -> tuple[Rule, ...]:
    """The table. Of several errors the first is the one that an episode is quarantined for."""
    error, warning = _with("error"), _with("warning")
    return (
        error("finite", "non_finite_actions", "only finite actions", maximum=0, phrase="{} values that are none"),
        error("range", "action_extreme", f"actions within +-{limits.action_limit:g}",
              maximum=limits.action_limit + limits.action_tolerance, shown="action_extremes"),
        error("too-short", "frames", f"at least {limits.frames} frames", minimum=limits.frames, phrase="{} frames"),
        error("frame-zero", "frame_zero_faults", "frame 0 to be an episode_start with a zero action", maximum=0,
              phrase="another event or another action"),
        error("key-vocabulary", "unknown_key_fraction",
              f"at most {limits.unknown_keys:.0%} of actions that are no key press", maximum=limits.unknown_keys,
              sources=_DRIVEN_BY_KEYS, phrase="{:.0%}"),
        error("blank", "blank_fraction", f"at most {limits.blank:.0%} of blank frames", maximum=limits.blank,
              phrase="{:.0%}"),
        error("frozen", "frozen_fraction", f"at most {limits.frozen:.0%} of frames that do not change under way",
              maximum=limits.frozen, phrase="{:.0%}"),
        error("duplicate", "duplicate_of", "frames and actions that no other episode holds", present=False,
              phrase="those of {}"),
        warning("clock-implausible", "seconds_per_frame", f"{_range(limits.press_s)} s a frame: a press takes 0.3 s",
                minimum=limits.press_s[0], maximum=limits.press_s[1], sources=_DRIVEN_BY_KEYS, shown="clock"),
        warning("clock-implausible", "seconds_per_frame", f"{_range(limits.video_s)} s a frame: a camera's rate",
                minimum=limits.video_s[0], maximum=limits.video_s[1], sources=_VIDEO, shown="clock"),
        warning("date-implausible", "collected_year", f"a date from {limits.year} on", minimum=limits.year,
                shown="collected_at"),
        warning("date-in-future", "days_ahead", f"a date at most {limits.ahead_days:g} days ahead",
                maximum=limits.ahead_days, shown="collected_at"),
        warning("frame-count", "frames_beyond_stated", "as many frames as the file states", minimum=0, maximum=0,
                shown="frame_counts"),
        warning("some-blank", "blank_frames", "no blank frame", maximum=0),
        warning("some-frozen", "frozen_fraction", f"at most {limits.some_frozen:.0%} of frames that do not change",
                maximum=limits.some_frozen, phrase="{:.0%}"),
        warning("exposure", "brightness_mean", f"a mean brightness of {_range(limits.brightness)}",
                minimum=limits.brightness[0], maximum=limits.brightness[1], phrase="{:.0f}"),
        warning("small-frames", "width", f"frames at least {limits.width} pixels wide", minimum=limits.width,
                phrase="{} pixels"),
        warning("small-frames", "height", f"frames at least {limits.height} pixels high", minimum=limits.height,
                phrase="{} pixels"),
        warning("near-duplicate", "nearest_bits",
                f"frames that differ in more than {limits.near_duplicate_bits} of 192 bits from any other episode's",
                minimum=limits.near_duplicate_bits + 1, shown="nearest"),
        warning("unknown-scenario", "scenario", "a name that tells one of the eight scenarios", present=True,
                sources=_DRIVEN_BY_KEYS),
        warning("instruction", "instruction_fault", "an instruction that agrees with the scenario", present=False,
                sources=_DRIVEN_BY_KEYS),
    )  # fmt: skip


def _with(severity: Literal["error", "warning"]) -> Callable[..., Rule]:
    def rule(name: str, column: str, expected: str, **fields: object) -> Rule:
        return Rule.model_validate(
            {"rule": name, "severity": severity, "column": column, "expected": expected, **fields}
        )

    return rule


def _range(limits: tuple[float, float]) -> str:
    return f"{limits[0]:g} to {limits[1]:g}"
