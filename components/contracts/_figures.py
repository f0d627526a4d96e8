"""Figures: an estimate with its interval, and metrics that cannot stand without baselines and the data they are of.

What is not covered: how a figure is measured. What is refused is a figure that leaves something out or contradicts
itself, not one that is consistently wrong; that is what `evaluation` is tested for.
"""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from ._base import Frozen
from ._episodes import AXES, Axis
from ._refs import Sha256

BASELINES = ("constant", "median-per-step", "median-per-step-and-scenario", "repeat-previous")
EXPERT: Final = "expert"
STRAIGHT_AHEAD: Final = "straight-ahead"
BLIND: Final = "median-per-step-and-scenario"
INCUMBENT: Final = "incumbent"
DRIVERS = (EXPERT, STRAIGHT_AHEAD, BLIND)
"""Who drives beside every policy in closed loop."""
UNSHIFTED: Final = "none"
"""The rooms as demonstrations were recorded in."""

FIRST_FRAME_WARNING = (
    "First frame only measures nothing: frame 0's action is always zero, so whoever does nothing scores a perfect 0. "
    "It is shown because results were published this way."
)

Protocol = Literal["all-frames", "middle-frame", "random-frame", "first-frame"]
"""Which frames of an episode count. All but the last leave out frame 0."""
Method = Literal[
    "bootstrap-by-episode",
    "paired-bootstrap-by-episode",
    "bootstrap-by-trial",
    "wilson",
    "newcombe-paired",
    "anytime",
    "anytime-paired",
]
"""`anytime`: valid whenever one stops, which the others are not."""
FrameMetric = Literal[
    "mae", "key-accuracy", "macro-f1", "within-0.3", "within-0.2", "within-0.15", "within-0.1", "r2", "correlation",
    "brier", "ece",
]  # fmt: skip
RoomMetric = Literal["success", "reached", "right-side", "collisions", "spl", "steps", "duration-s", "distance-m"]


class Estimate(Frozen):
    """A figure with its 95 % interval and the number of independent units behind it."""

    value: float
    low: float
    high: float
    n: Annotated[int, Field(ge=1)]
    """Episodes for a clustered bootstrap, rooms for what is driven."""
    method: Method

    @property
    def surely_positive(self) -> bool:
        """The whole interval lies above zero, and not by rounding."""
        return self.low > 1e-9

    @model_validator(mode="after")
    def _interval_holds_the_value(self) -> "Estimate":
        if not self.low - 1e-9 <= self.value <= self.high + 1e-9:
            raise ValueError(f"the interval [{self.low}, {self.high}] does not hold its value {self.value}")
        return self


class FrameSample(Frozen):
    """Recorded frames that a figure is of: open loop."""

    kind: Literal["frames"] = "frames"
    dataset: Sha256
    split: Literal["test"] = "test"
    simulated: bool
    """Some of the frames come from the simulation: the figure says nothing of reality."""
    protocol: Protocol = "all-frames"
    axes: Annotated[tuple[Axis, ...], Field(min_length=1)]
    """The axes that errors are over."""
    scenario: str | None = None
    """Episodes of this scenario alone."""
    frame: Annotated[int, Field(ge=0)] | None = None
    """This frame of each episode alone; frame 0 has the protocol `first-frame`."""

    @model_validator(mode="after")
    def _frame_zero_is_no_evidence(self) -> "FrameSample":
        if self.frame == 0:
            raise ValueError(
                "frame 0's action is always zero: it is in no figure but those of the first-frame protocol"
            )
        return self

    @model_validator(mode="after")
    def _names_each_axis_once(self) -> "FrameSample":
        if self.axes != tuple(axis for axis in AXES if axis in self.axes):
            raise ValueError(f"expected axes in the order of {', '.join(AXES)}, each once, got {', '.join(self.axes)}")
        return self


class RoomSample(Frozen):
    """Simulated rooms that a figure is of: closed loop. Equal samples are equal rooms."""

    kind: Literal["rooms"] = "rooms"
    simulator: str
    seed: Annotated[int, Field(ge=0)]
    rooms: Annotated[int, Field(ge=1)]
    shift: str = UNSHIFTED
    """Named change of the rooms or the robot."""
    scenario: str | None = None
    simulated: Literal[True] = True


class Metric(Frozen):
    """One quantity, measured on one sample for everybody: every policy, and always all baselines beside it.

    On frames the baselines are the four of `BASELINES`, in rooms those of `DRIVERS`; a figure without them, without its
    interval, its n or its data cannot be built.
    """

    name: FrameMetric | RoomMetric
    sample: Annotated[FrameSample | RoomSample, Field(discriminator="kind")]
    figures: dict[str, Estimate]
    """By policy, baseline or driver."""
    warning: str | None = None
    """Printed wherever the figures are."""

    @model_validator(mode="after")
    def _stands_beside_its_baselines(self) -> "Metric":
        needed = BASELINES if self.sample.kind == "frames" else DRIVERS
        missing = [name for name in needed if name not in self.figures]
        if missing:
            raise ValueError(f"{self.name} stands beside its baselines, without: {', '.join(missing)}")
        if not set(self.figures) - set(needed):
            raise ValueError(f"{self.name} has figures of baselines alone: there is no policy to read against them")
        return self

    @model_validator(mode="after")
    def _is_of_one_sample(self) -> "Metric":
        counts = {item.n for item in self.figures.values()}
        if len(counts) > 1:
            raise ValueError(f"{self.name}: everybody is measured on the same units, got n of {sorted(counts)}")
        if self.sample.kind == "rooms" and counts != {self.sample.rooms}:
            raise ValueError(f"{self.name} is of {self.sample.rooms} rooms, its figures of n={counts}")
        return self

    @model_validator(mode="after")
    def _kind_fits(self) -> "Metric":
        in_rooms = self.name in RoomMetric.__args__  # type: ignore[attr-defined]
        if in_rooms != (self.sample.kind == "rooms"):
            raise ValueError(f"{self.name} cannot be measured on {self.sample.kind}")
        if self.sample.kind == "frames" and self.sample.protocol == "first-frame" and self.warning is None:
            raise ValueError("a first-frame figure carries its warning; set `warning` to FIRST_FRAME_WARNING")
        return self
