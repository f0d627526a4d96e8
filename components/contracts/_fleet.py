"""Releases, rollouts, and what robots report."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from ._base import Frozen
from ._episodes import RobotId
from ._refs import Sha256


class RuleOutcome(Frozen):
    """One rule of the gate."""

    rule: str
    passed: bool
    evidence: str
    """The figures that decided, in words."""


class PromotionDecision(Frozen):
    """The gate's word on one package."""

    package: Sha256
    evaluation: Sha256
    incumbent: str | None
    """Release that it would replace."""
    promote: bool
    rules: Annotated[tuple[RuleOutcome, ...], Field(min_length=1)]


ReleaseName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]


class Release(Frozen):
    """A signed package: TUF target releases/<name>/manifest.json and the files beside it."""

    name: ReleaseName
    number: Annotated[int, Field(ge=1)]
    """Rises with every release; the security floor is one of these."""
    package: Sha256
    hardware: tuple[str, ...]
    """Hardware ids it may run on, e.g. "simulated", "jetson-orin-nx-16gb"."""
    created_at: datetime


class Assignment(Frozen):
    """assign/<robot>.json, signed by the director: what one robot is to run."""

    robot: RobotId
    deployment: str
    release: ReleaseName
    number: Annotated[int, Field(ge=1)]
    seq: Annotated[int, Field(ge=1)]
    """Rises with every assignment of this robot, a rollback included."""
    floor: Annotated[int, Field(ge=0)]
    """Releases below this number are refused."""


class Phase(Frozen):
    """One step of a rollout."""

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
    """Failed robots that are still borne; a canary's is 0."""
    timeout_s: Annotated[float, Field(gt=0)]
    """A robot that was online and has not finished by then has failed."""


class RolloutPlan(Frozen):
    """What to do, decided before the first robot is touched."""

    deployment: str
    release: ReleaseName
    number: Annotated[int, Field(ge=1)]
    previous: ReleaseName | None
    """What a rollback assigns; None: the robots' built-in safe stop."""
    previous_number: int | None
    robots: Annotated[tuple[RobotId, ...], Field(min_length=1)]
    """In the order in which they are reached; the first is the canary."""
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]


class RolloutState(Frozen):
    """Where a rollout is. A pure function takes this and the reports, and returns the next."""

    plan: RolloutPlan
    status: Literal["running", "paused", "halted", "rolled-back", "completed"]
    phase: int
    assigned: tuple[RobotId, ...]
    committed: tuple[RobotId, ...]
    failed: tuple[RobotId, ...]
    reason: str
    phase_started_at: datetime


AgentState = Literal[
    "IDLE",
    "CHECK",
    "DOWNLOAD",
    "VERIFY",
    "STAGE",
    "BUILD",
    "SELFTEST",
    "WAIT_SAFE",
    "ACTIVATE",
    "TRIAL",
    "COMMIT",
    "ROLLBACK",
    "QUARANTINE",
    "REJECTED",
]


class RobotReport(Frozen):
    """What a robot says of itself, signed with its own key."""

    robot: RobotId
    sent_at: datetime
    deployment: str | None
    release: ReleaseName | None
    """What it runs now."""
    attempted: ReleaseName | None
    """What the last assignment asked for."""
    seq: int
    state: AgentState
    """IDLE after a commit; QUARANTINE or REJECTED after a refusal."""
    reason: str
    trials: int
    successes: int
    p50_ms: float | None
    p99_ms: float | None
    provider: str | None
