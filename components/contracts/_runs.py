"""What a run of the story leaves behind: references and reasons, never figures that stand elsewhere."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ._base import Frozen, faults
from ._datasets import DatasetSpec, DatasetVersion
from ._episodes import CheckReport, Receipt, RobotId
from ._evidence import EvaluationReport
from ._figures import BASELINES, EXPERT, INCUMBENT, STRAIGHT_AHEAD
from ._fleet import PromotionDecision, Release
from ._packages import PolicyPackage
from ._policies import ENSEMBLE, Ensemble, MemberName, PolicySpec, TrainedPolicy
from ._trials import TrialPlan
from .errors import ConfigurationError


class TrainingPlan(Frozen):
    """What `train-and-promote` is asked to do: the flow's one parameter besides the dataset's spec."""

    members: dict[MemberName, PolicySpec] | None = None
    """Name -> spec, trained side by side; None: the default three compact members, fitted to the dataset."""
    distributed: Annotated[dict[MemberName, PolicySpec], Field(max_length=1)] | None = None
    """At most one, trained by `workers` together; None: a fourth compact member. Empty: none."""
    workers: Annotated[int, Field(ge=1, le=1024)] = 2
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """For the default members; None: their recipes' own."""
    trials: TrialPlan | None = TrialPlan()
    """Rooms that are driven; None for a robot that cannot be simulated."""
    seed: Annotated[int, Field(ge=0)] = 0
    rollout_robots: tuple[RobotId, ...] = ()
    """In rollout order, the canary first; empty: every enrolled robot."""
    soak_trials: Annotated[int, Field(ge=0, le=10_000)] = 4
    """Trials that each robot drives on the new release before it counts."""

    @model_validator(mode="after")
    def _members_make_an_ensemble(self) -> Self:
        given = [*(self.members or {}).items(), *(self.distributed or {}).items()]
        names = [name for name, _ in given]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"expected a name for each member, got {', '.join(sorted(twice))} twice")
        if taken := set(names) & {*BASELINES, INCUMBENT, EXPERT, STRAIGHT_AHEAD, ENSEMBLE}:
            raise ValueError(
                f"expected other names for members: reports call something else {', '.join(sorted(taken))}"
            )
        if len({spec.action_space for _, spec in given}) > 1:
            kinds = ", ".join(f"{name} {spec.action_space}" for name, spec in given)
            raise ValueError(f"expected one action_space, which an ensemble's members share, got {kinds}")
        if len(set(self.rollout_robots)) < len(self.rollout_robots):
            raise ValueError(f"expected each robot of the rollout once, got {', '.join(self.rollout_robots)}")
        return self


class TrainingRequest(Frozen):
    """The parameters of `train-and-promote`."""

    dataset: DatasetSpec | None = None
    """Which episodes, how split and resized; None: all."""
    plan: TrainingPlan | None = None
    """Members, closed-loop trials, rollout; None: the defaults."""

    @model_validator(mode="after")
    def _members_see_the_datasets_frames(self) -> Self:
        frame = (self.dataset or DatasetSpec()).frame
        plan = self.plan or TrainingPlan()
        for name, spec in ((plan.members or {}) | (plan.distributed or {})).items():
            if spec.frame != frame:
                raise ValueError(
                    f"member {name}: expected the dataset's frames of {frame.width}x{frame.height}, got "
                    f"{spec.frame.width}x{spec.frame.height}"
                )
        return self

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        """Read the parameters that somebody typed.

        Raises:
            ConfigurationError: they do not fit; the message names every fault.
        """
        try:
            return cls.model_validate(parameters)
        except ValidationError as error:
            found = faults(error)
            raise ConfigurationError(f"{len(found)} of the parameters do not fit: {'; '.join(found)}") from None


class TrainedMembers(Frozen):
    """What one training stage gave."""

    members: tuple[TrainedPolicy, ...]


class IngestSummary(Frozen):
    """One run of `ingest-episodes`."""

    receipts: tuple[Receipt, ...]
    checks: CheckReport | None
    """None where nothing readable was in the inbox."""


class Incumbent(Frozen):
    """The promoted policy, with all that the next one is compared with."""

    release: Release
    package: PolicyPackage
    ensemble: Ensemble
    report: EvaluationReport | None
    """Its own, when it was promoted; None where an older Drover wrote it, whose figures count no more. The next report
    measures it anew."""


class StageTiming(Frozen):
    """One stage of one run."""

    name: str
    seconds: float
    skipped: bool
    """Its inputs were unchanged: the result was found, not made again."""


class RunSummary(Frozen):
    """One run of `train-and-promote`."""

    status: Literal["promoted", "refused", "nothing-new"]
    reason: str
    dataset: DatasetVersion
    ensemble: Ensemble
    report: EvaluationReport
    package: PolicyPackage
    decision: PromotionDecision | None
    """None where nothing was new: the gate was not asked."""
    stages: tuple[StageTiming, ...]
