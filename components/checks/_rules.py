"""What an episode must keep to: every rule, its severity and its threshold, in one table."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from components.contracts import ACTION_LIMIT, EpisodeSource, Frozen

_DRIVEN_BY_KEYS: tuple[EpisodeSource, ...] = ("robot", "simulated")
_VIDEO: tuple[EpisodeSource, ...] = ("donkey", "ros", "lerobot", "recon")

_Share = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0)]


def _ordered(values: tuple[float, float]) -> tuple[float, float]:
    if not values[0] < values[1]:
        raise ValueError(f"expected a lower and a higher figure, got {values[0]:g} and {values[1]:g}")
    return values


_Range = Annotated[tuple[float, float], AfterValidator(_ordered)]


class Thresholds(Frozen):
    """The figures in the rules. `checks.toml` beside this file says what each is for, and holds the same values."""

    action_limit: _Positive = ACTION_LIMIT
    action_tolerance: Annotated[float, Field(ge=0)] = 1e-3
    frames: Annotated[int, Field(ge=1)] = 2
    unknown_keys: _Share = 0.0
    blank: _Share = 0.2
    frozen: _Share = 0.5
    some_frozen: _Share = 0.1
    press_s: _Range = (0.25, 30.0)
    video_s: _Range = (0.02, 1.0)
    brightness: _Range = (8.0, 247.0)
    sharpness: _Share = 0.25
    edgeless: _Share = 0.8
    under_exposed: _Share = 0.2
    over_exposed: _Share = 0.2
    colour_confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.99
    colour_episodes: Annotated[int, Field(ge=8)] = 12
    side: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    idle: _Share = 0.6
    longest_pause: Annotated[int, Field(ge=0)] = 4
    slow_press_s: _Positive = 10.0
    near_duplicate_bits: Annotated[int, Field(ge=0, le=60)] = 10
    width: Annotated[int, Field(ge=1)] = 80
    height: Annotated[int, Field(ge=1)] = 45
    year: Annotated[int, Field(ge=1970, le=2100)] = 2015
    ahead_days: Annotated[float, Field(ge=0)] = 2.0


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
    return (*_errors(limits), *_on_files(limits), *_on_frames(limits), *_on_driving(limits))


def _errors(limits: Thresholds) -> tuple[Rule, ...]:
    error = _with("error")
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
        error("side", "side_agreement", "a robot that goes to the side that its scenario or instruction names",
              minimum=-limits.side, sources=_DRIVEN_BY_KEYS, shown="side_words"),
        error("duplicate", "duplicate_of", "frames and actions that no other episode holds", present=False,
              phrase="those of {}"),
    )  # fmt: skip


def _on_files(limits: Thresholds) -> tuple[Rule, ...]:
    warning, bits = _with("warning"), limits.near_duplicate_bits
    return (
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
        warning("near-duplicate", "nearest_bits",
                f"frames that differ in more than {bits} of 192 bits from any other episode's",
                minimum=bits + 1, shown="nearest"),
        warning("mirrored-duplicate", "mirrored_bits",
                f"frames that differ in more than {bits} of 192 bits from any other episode's mirror image",
                minimum=bits + 1, shown="mirrored"),
    )  # fmt: skip


def _on_frames(limits: Thresholds) -> tuple[Rule, ...]:
    warning = _with("warning")
    return (
        warning("some-blank", "blank_frames", "no blank frame", maximum=0),
        warning("some-frozen", "frozen_fraction", f"at most {limits.some_frozen:.0%} of frames that do not change",
                maximum=limits.some_frozen, phrase="{:.0%}"),
        warning("exposure", "brightness_mean", f"a mean brightness of {_range(limits.brightness)}",
                minimum=limits.brightness[0], maximum=limits.brightness[1], phrase="{:.0f}"),
        warning("under-exposed", "dark_share",
                f"at most {limits.under_exposed:.0%} of pixels clipped to black in nine frames of ten",
                maximum=limits.under_exposed, phrase="{:.0%}"),
        warning("over-exposed", "bright_share",
                f"at most {limits.over_exposed:.0%} of pixels clipped to white in nine frames of ten",
                maximum=limits.over_exposed, phrase="{:.0%}"),
        warning("blurred", "sharpness_median", f"a sharpness of at least {limits.sharpness:g} in half of the frames",
                minimum=limits.sharpness, phrase="{:.2f}"),
        warning("blurred", "edgeless_fraction", f"at most {limits.edgeless:.0%} of frames without an edge",
                maximum=limits.edgeless, phrase="{:.0%}"),
        warning("some-blurred", "sharpness_low", f"a sharpness of at least {limits.sharpness:g} in nine frames of ten",
                minimum=limits.sharpness, phrase="{:.2f}"),
        warning("colour-order", "colour_confidence", "red and blue as in the robot's other episodes",
                minimum=1 - limits.colour_confidence, shown="colour_words"),
        warning("small-frames", "width", f"frames at least {limits.width} pixels wide", minimum=limits.width,
                phrase="{} pixels"),
        warning("small-frames", "height", f"frames at least {limits.height} pixels high", minimum=limits.height,
                phrase="{} pixels"),
    )  # fmt: skip


def _on_driving(limits: Thresholds) -> tuple[Rule, ...]:
    warning = _with("warning")
    return (
        warning("idling", "idle_fraction", f"at most {limits.idle:.0%} of presses that stand still",
                maximum=limits.idle, sources=_DRIVEN_BY_KEYS, phrase="{:.0%}"),
        warning("idling", "longest_pause",
                f"at most {limits.longest_pause} presses in a row that stand still on the way",
                maximum=limits.longest_pause, sources=_DRIVEN_BY_KEYS, phrase="{} presses"),
        warning("idling", "seconds_per_frame", f"an operator who takes at most {limits.slow_press_s:g} s a press",
                maximum=limits.slow_press_s, sources=_DRIVEN_BY_KEYS, shown="clock"),
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
