"""Evidence: the types that make a bare figure impossible."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ._base import Frozen
from ._episodes import Axis
from ._policies import EpochMetrics
from ._refs import Lineage, ObjectRef, Sha256

BASELINES = ("constant", "median-per-step", "median-per-step-and-scenario", "repeat-previous")


class Estimate(Frozen):
    """A figure with its 95 % interval and the number of independent units behind it."""

    value: float
    low: float
    high: float
    n: Annotated[int, Field(ge=1)]
    """Episodes for a clustered bootstrap, trials for Wilson."""
    method: Literal["bootstrap-by-episode", "paired-bootstrap-by-episode", "wilson", "bootstrap-by-trial"]

    @model_validator(mode="after")
    def _interval_holds_the_value(self) -> "Estimate":
        if not self.low - 1e-9 <= self.value <= self.high + 1e-9:
            raise ValueError(f"the interval [{self.low}, {self.high}] does not hold its value {self.value}")
        return self


class OpenLoopScore(Frozen):
    """One policy or baseline on the test split's frames, frame 0 excluded, over the axes that vary."""

    name: str
    role: Literal["member", "ensemble", "baseline", "incumbent"]
    mae: Estimate
    mae_by_axis: dict[Axis, Estimate]
    mae_by_scenario: dict[str, Estimate]
    key_accuracy: Estimate
    """Share of frames in which every varying axis is the pressed key's; for continuous actions, within 0.15."""
    macro_f1: Estimate
    accuracy_within: dict[str, Estimate]
    """Keys "0.3", "0.2", "0.15", "0.1": share of frames with every axis that near."""
    r2: Estimate
    correlation: Estimate


class Comparison(Frozen):
    """Paired on the same episodes: how much lower `subject`'s MAE is than `reference`'s (positive is better)."""

    subject: str
    reference: str
    mae_gain: Estimate

    @property
    def better(self) -> bool:
        return self.mae_gain.low > 0


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
    path: tuple[tuple[float, float], ...]
    """(x, y) in metres after each step."""


class ClosedLoopScore(Frozen):
    """Every policy meets the same rooms. Simulated, and always says so."""

    name: str
    role: Literal["subject", "expert", "straight-ahead", "baseline", "incumbent"]
    simulated: Literal[True] = True
    success: Estimate
    collisions: Estimate
    spl: Estimate
    mean_steps: float


class Ablation(Frozen):
    """What the subject does when a sense is taken away. It ought to get worse."""

    name: Literal["blank-images", "shuffled-images", "swapped-instruction"]
    mae: Estimate
    mae_loss: Estimate
    """Paired: by how much the MAE rises."""
    expected: str
    held: bool


class EvaluationReport(Frozen):
    """Everything that is claimed about one policy, and nothing without its interval and baselines."""

    subject: str
    subject_digest: Sha256
    """Of the TrainedPolicy or Ensemble that was evaluated."""
    dataset: Sha256
    split: Literal["test"] = "test"
    frames: int
    episodes: int
    axes: tuple[Axis, ...]
    constant_axes: tuple[Axis, ...]
    """Named, and in no mean."""
    scores: tuple[OpenLoopScore, ...]
    comparisons: tuple[Comparison, ...]
    """Subject against each baseline, each member, and the incumbent where there is one."""
    ablations: tuple[Ablation, ...]
    closed_loop: tuple[ClosedLoopScore, ...]
    """Empty for data whose robot cannot be simulated."""
    trials: ObjectRef | None
    """JSON lines of TrialOutcome."""
    curves: dict[str, tuple[EpochMetrics, ...]]
    html: ObjectRef | None
    lineage: Lineage

    @model_validator(mode="after")
    def _every_baseline_is_there(self) -> "EvaluationReport":
        missing = set(BASELINES) - {score.name for score in self.scores if score.role == "baseline"}
        if missing:
            raise ValueError(f"a report needs all four baselines, without: {', '.join(sorted(missing))}")
        compared = {item.reference for item in self.comparisons if item.subject == self.subject}
        if not set(BASELINES) <= compared:
            raise ValueError(f"{self.subject} is not compared with: {', '.join(sorted(set(BASELINES) - compared))}")
        return self
