"""Closed loop: what is driven, what came of it, and what follows from pairs of drives in one room."""

import math
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ._base import Frozen
from ._figures import UNSHIFTED, Estimate

_Z = NormalDist().inv_cdf(0.975)
_SCENARIOS = 8


class TrialPlan(Frozen):
    """How many rooms are driven, fixed before the first."""

    margin: Annotated[float, Field(gt=0.01, lt=0.5)] = 0.15
    """Half the width that a success rate's 95 % interval may have at most."""
    stop_early: bool = False
    """Stop as soon as every paired decision is clear. Rates then come with intervals that hold whenever one stops, and
    are wider than `margin` if it was soon."""
    shift_rooms: Annotated[int, Field(ge=0, le=10_000)] = 16
    """Rooms that each shift suite is driven in, the first of the plan's; 0 for no shift suites."""

    @property
    def rooms(self) -> int:
        """Least number, in whole rounds of the eight scenarios, for which no Wilson interval is wider."""
        least = _Z**2 * (1 / (4 * self.margin**2) - 1)
        return _SCENARIOS * max(1, math.ceil(least / _SCENARIOS))


class TrialOutcome(Frozen):
    """One closed-loop trial in simulation."""

    policy: str
    scenario: str
    seed: int
    success: bool
    """Reached the cup, passed on the right side, touched nothing."""
    reached: bool
    right_side: bool
    collided: bool
    spl: Annotated[float, Field(ge=0, le=1)]
    """Success weighted by path length: success x shortest / max(shortest, driven)."""
    steps: int
    duration_s: float
    """Simulated seconds."""
    distance_m: Annotated[float, Field(ge=0)]
    """Driven."""
    path: tuple[tuple[float, float, float], ...]
    """(x, y) in metres and yaw in radians after each step."""
    shift: str = UNSHIFTED

    @property
    def room(self) -> tuple[str, int]:
        return self.scenario, self.seed


class PairedTrials(Frozen):
    """Two drivers in the same rooms, room by room. Simulated."""

    subject: str
    reference: str
    rooms: Annotated[int, Field(ge=1)]
    both: Annotated[int, Field(ge=0)]
    subject_only: Annotated[int, Field(ge=0)]
    """Rooms in which the subject succeeded and the reference did not."""
    reference_only: Annotated[int, Field(ge=0)]
    neither: Annotated[int, Field(ge=0)]
    difference: Estimate
    """The subject's success rate minus the reference's."""
    p_value: Annotated[float, Field(ge=0, le=1)] | None
    """McNemar's exact test, two-sided; None where the run may have stopped early, which it does not allow."""
    e_better: Annotated[float, Field(ge=0)]
    """Evidence that the subject is better, anytime-valid: 20 and more decides at 5 %. The largest over the run."""
    e_worse: Annotated[float, Field(ge=0)]
    decided: Literal["better", "worse", "open"]
    """By the e-values."""
    decided_after: Annotated[int, Field(ge=1)] | None
    """Rooms after which it was."""

    @model_validator(mode="after")
    def _adds_up(self) -> "PairedTrials":
        if self.both + self.subject_only + self.reference_only + self.neither != self.rooms:
            raise ValueError(f"{self.subject} against {self.reference}: the four counts are not {self.rooms} rooms")
        gain = (self.subject_only - self.reference_only) / self.rooms
        if abs(self.difference.value - gain) > 1e-9:
            raise ValueError(f"the difference is {self.difference.value}, the counts say {gain}")
        if (self.decided == "open") != (self.decided_after is None):
            raise ValueError(f"decided is {self.decided}, but decided_after is {self.decided_after}")
        return self


class ShiftEffect(Frozen):
    """What one named change of room or robot does to the subject. Simulated."""

    shift: str
    family: str
    """Light, textures, camera, ..."""
    what: str
    """In words, with the numbers."""
    loss: Estimate
    """Paired: success in the same rooms unchanged, minus success under the shift."""
