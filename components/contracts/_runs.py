"""What a run of the story leaves behind: references and reasons, never figures that stand elsewhere."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import ValidationError

from ._base import Frozen, faults
from ._datasets import DatasetSpec, DatasetVersion
from ._episodes import CheckReport, Receipt
from ._evidence import EvaluationReport
from ._fleet import PromotionDecision, Release
from ._packages import PolicyPackage
from ._policies import Ensemble, PolicySpec, TrainedPolicy
from ._trials import TrialPlan
from .errors import ConfigurationError


class TrainingPlan(Frozen):
    """What `train-and-promote` is asked to do: the flow's one parameter besides the dataset's spec."""

    members: dict[str, PolicySpec] | None = None
    """Name -> spec, trained side by side; None: the default three compact members, fitted to the dataset."""
    distributed: dict[str, PolicySpec] | None = None
    """At most one, trained by `workers` together; None: a fourth compact member. Empty: none."""
    workers: int = 2
    epochs: int | None = None
    """For the default members; None: their recipes' own."""
    trials: TrialPlan | None = TrialPlan()
    """Rooms that are driven; None for a robot that cannot be simulated."""
    seed: int = 0
    rollout_robots: tuple[str, ...] = ()
    """In rollout order, the canary first; empty: every enrolled robot."""
    soak_trials: int = 4
    """Trials that each robot drives on the new release before it counts."""


class TrainingRequest(Frozen):
    """The parameters of `train-and-promote`."""

    dataset: DatasetSpec | None = None
    """Which episodes, how split and resized; None: all."""
    plan: TrainingPlan | None = None
    """Members, closed-loop trials, rollout; None: the defaults."""

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
