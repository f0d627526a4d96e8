"""Releases, rollouts, and what robots report."""

import math
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ._base import Frozen
from ._episodes import RobotId
from ._figures import Estimate
from ._refs import Count, Positive, Sha256
from ._robots import DeploymentName, KnownHardware, ReleaseName


class RuleOutcome(Frozen):
    """One rule of the gate: what it looked at, what it had to find, what it found."""

    rule: str
    passed: bool
    figure: str
    """Where the evidence stands, e.g. `comparisons.constant.mae_gain`; the package's begins with `package`."""
    estimate: Estimate | None = None
    """The evidence itself; None where it is no estimate, or missing."""
    needs: str
    """Of the figure, with the margin, e.g. `low > 0`."""
    evidence: str
    """What was found, in words."""
    helps: str = ""
    """What would help; empty where it passed."""

    @model_validator(mode="after")
    def _failure_says_what_helps(self) -> "RuleOutcome":
        if self.passed == bool(self.helps):
            raise ValueError(f"{self.rule}: expected what helps if and only if it failed, got {self.helps!r}")
        return self


class PromotionDecision(Frozen):
    """The gate's word on one package."""

    package: Sha256
    evaluation: Sha256
    incumbent: str | None
    """Release that it would replace."""
    promote: bool
    rules: Annotated[tuple[RuleOutcome, ...], Field(min_length=1)]
    notes: tuple[str, ...] = ()
    """What informs and does not decide."""

    @model_validator(mode="after")
    def _every_rule_decides(self) -> "PromotionDecision":
        if self.promote != all(rule.passed for rule in self.rules):
            raise ValueError("a package is promoted if and only if every rule passed")
        return self


class Release(Frozen):
    """A signed package: TUF target releases/<name>/manifest.json and the files beside it."""

    name: ReleaseName
    number: Positive
    """Rises with every release; the security floor is one of these."""
    package: Sha256
    hardware: tuple[KnownHardware, ...]
    """Hardware ids it may run on, e.g. "simulated", "jetson-orin-nx-16gb"."""
    l4t: tuple[str, ...] = ()
    """Jetson Linux releases it may run on, e.g. "36.4"; empty: any."""
    created_at: datetime
    demo_keys: bool = False
    """Signed with keys that were made for a demo and lie beside each other: it proves nothing to a stranger."""


class SecurityFloor(Frozen):
    """floor.json, signed offline by the targets role: whoever steals the online keys cannot go below it."""

    floor: Count = 0
    """Releases below this number are refused."""


class Assignment(Frozen):
    """assign/<robot>.json, signed by the director: what one robot is to run."""

    robot: RobotId
    deployment: DeploymentName
    release: ReleaseName | None
    """None: no policy; the robot's built-in safe stop."""
    number: Count
    """The release's; 0 for none."""
    seq: Positive
    """Rises with every assignment of this robot, a rollback included."""
    floor: Count
    """Releases below this number are refused."""
    trials: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Operating trials before the robot commits; 0 for a release that it has proven before."""
    min_success: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of those trials that has to succeed."""


class Phase(Frozen):
    """One step of a rollout. Exactly one of `share` and `robots` is given."""

    name: str
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the fleet, cumulative."""
    robots: Annotated[int, Field(ge=1)] | None = None
    """Or a number of robots, cumulative."""
    soak_trials: Annotated[int, Field(ge=1)]
    """Operating trials that each robot has to report before it counts."""
    min_success: Annotated[float, Field(ge=0, le=1)]
    """A robot whose share of successful trials is lower has failed."""
    max_failures: Annotated[int, Field(ge=0)]
    """Failed robots that are still borne, all phases counted together; a canary's is 0."""
    max_failure_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    """Failed robots over attempted ones that are still borne; None: the absolute count alone decides."""
    timeout_s: Annotated[float, Field(gt=0)]
    """A robot that was online and has not finished by then has failed."""

    @model_validator(mode="after")
    def _one_size(self) -> "Phase":
        if (self.share is None) == (self.robots is None):
            raise ValueError(f"phase {self.name}: expected either share or robots, got {self.share} and {self.robots}")
        return self


class RolloutPlan(Frozen):
    """What to do, decided before the first robot is touched. A plan that cannot work cannot be built."""

    deployment: DeploymentName
    release: ReleaseName
    number: Positive
    previous: ReleaseName | None
    """What a rollback assigns; None: the robots' built-in safe stop."""
    previous_number: int | None
    robots: Annotated[tuple[RobotId, ...], Field(min_length=1)]
    """In the order in which they are reached; the first is the canary."""
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]

    def reach(self, phase: int, without: Collection[RobotId] = ()) -> tuple[RobotId, ...]:
        """The robots that are reached by the end of that phase, those in `without` passed over."""
        step, robots = self.phases[phase], tuple(robot for robot in self.robots if robot not in without)
        count = step.robots if step.robots is not None else math.ceil(round((step.share or 0) * len(robots), 9))
        return robots[:count]

    @model_validator(mode="after")
    def _can_work(self) -> "RolloutPlan":
        if len(set(self.robots)) < len(self.robots):
            raise ValueError("a robot is named twice")
        if (self.previous is None) != (self.previous_number is None):
            raise ValueError("expected previous and previous_number, or neither")
        sizes = [len(self.reach(index)) for index in range(len(self.phases))]
        if sizes != sorted(set(sizes)) or sizes[-1] != len(self.robots):
            raise ValueError(f"phases have to grow and end with all {len(self.robots)} robots, got {sizes}")
        if self.phases[0].max_failures > 0:
            raise ValueError(f"the canary halts on one failure: expected max_failures 0 in {self.phases[0].name}")
        return self


class RollbackOrder(Frozen):
    """A person's order to go back, and where to."""

    release: ReleaseName | None
    """None: the robots' built-in safe stop."""


class RolloutState(Frozen):
    """Where a rollout is. A pure function takes this and the reports, and returns the next."""

    plan: RolloutPlan
    status: Literal["running", "paused", "halted", "rolled-back", "completed", "superseded"]
    """`superseded`: a newer rollout took over before this one was done."""
    phase: int
    assigned: tuple[RobotId, ...]
    committed: tuple[RobotId, ...]
    failed: tuple[RobotId, ...]
    """Robots that failed once have failed, whatever they report afterwards."""
    reason: str
    phase_started_at: datetime
    seqs: dict[RobotId, int] = Field(default_factory=dict)
    """Each assigned robot's seq: reports about others do not count."""
    accepted: dict[RobotId, int] = Field(default_factory=dict)
    """Number of a robot's report up to which a person accepted that some are missing."""
    rollback: RollbackOrder | None = None
    """Where a rollback goes; None: to the plan's previous release."""
