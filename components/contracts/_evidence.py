"""Evidence: the types that make a bare figure impossible.

What is not covered: how a figure is measured. A report is refused for what it leaves out or contradicts, not for a
figure that is consistently wrong; that is what `evaluation` is tested for.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ._base import Frozen
from ._episodes import AXES, Axis, EpisodeSource
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

    @property
    def surely_positive(self) -> bool:
        """The whole interval lies above zero, and not by rounding."""
        return self.low > 1e-9

    @model_validator(mode="after")
    def _interval_holds_the_value(self) -> "Estimate":
        if not self.low - 1e-9 <= self.value <= self.high + 1e-9:
            raise ValueError(f"the interval [{self.low}, {self.high}] does not hold its value {self.value}")
        return self


class OpenLoopScore(Frozen):
    """One policy or baseline on the test split's frames, frame 0 excluded, over the axes that vary.

    R2 and correlation are means over the axes that vary in the test split too. A prediction that is constant on such an
    axis follows nothing and counts as correlation 0. Both are None where no axis varies in the test split.
    """

    name: str
    role: Literal["member", "ensemble", "baseline", "incumbent"]
    mae: Estimate
    mae_by_axis: dict[Axis, Estimate]
    mae_by_scenario: dict[str, Estimate]
    key_accuracy: Estimate
    """Share of frames in which every varying axis, rounded to the nearest press, is the pressed key's; for continuous
    actions, within 0.15."""
    macro_f1: Estimate | None
    """Mean F1 over the keys that occur in the test split; None for continuous actions, which have no keys."""
    accuracy_within: dict[str, Estimate]
    """Keys "0.3", "0.2", "0.15", "0.1": share of frames with every axis that near."""
    r2: Estimate | None
    correlation: Estimate | None

    @model_validator(mode="after")
    def _mean_is_over_its_axes(self) -> "OpenLoopScore":
        if not self.mae_by_axis:
            raise ValueError(f"{self.name}: mae_by_axis is empty; a mean error names the axes that it is over")
        mean = sum(item.value for item in self.mae_by_axis.values()) / len(self.mae_by_axis)
        if abs(mean - self.mae.value) > 1e-6:
            raise ValueError(
                f"{self.name}: mae is {self.mae.value}, but the mean over {', '.join(self.mae_by_axis)} is {mean}"
            )
        return self


class Comparison(Frozen):
    """Paired on the same episodes: how much lower `subject`'s MAE is than `reference`'s (positive is better)."""

    subject: str
    reference: str
    mae_gain: Estimate

    @property
    def better(self) -> bool:
        return self.mae_gain.surely_positive


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
    """Written before the figure was known."""
    held: bool
    """The whole interval of the loss lies above zero."""

    @model_validator(mode="after")
    def _held_follows_from_the_interval(self) -> "Ablation":
        if self.held != self.mae_loss.surely_positive:
            raise ValueError(f"{self.name}: held is {self.held}, but the loss is in {self.mae_loss}")
        return self


class EvaluationReport(Frozen):
    """Everything that is claimed about one policy, and nothing without its interval and baselines."""

    subject: str
    """A name among `scores`."""
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
    sources: tuple[EpisodeSource, ...] = ()
    """Where the test split's frames come from. Figures on `simulated` frames say nothing of reality."""

    @model_validator(mode="after")
    def _every_baseline_is_there(self) -> "EvaluationReport":
        missing = set(BASELINES) - {score.name for score in self.scores if score.role == "baseline"}
        if missing:
            raise ValueError(f"a report needs all four baselines, without: {', '.join(sorted(missing))}")
        names = [score.name for score in self.scores]
        if len(set(names)) < len(names):
            raise ValueError(f"expected one score a name, got {', '.join(names)}")
        if not any(score.name == self.subject and score.role in {"member", "ensemble"} for score in self.scores):
            raise ValueError(f"the subject {self.subject} has no score; there are {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _subject_is_compared_with_all(self) -> "EvaluationReport":
        compared = {item.reference for item in self.comparisons if item.subject == self.subject}
        others = {score.name for score in self.scores} - {self.subject}
        if not others <= compared:
            raise ValueError(f"{self.subject} is not compared with: {', '.join(sorted(others - compared))}")
        mae = {score.name: score.mae.value for score in self.scores}
        for item in self.comparisons:
            gain = mae.get(item.reference, float("nan")) - mae.get(item.subject, float("nan"))
            if not abs(gain - item.mae_gain.value) <= 1e-6:
                raise ValueError(
                    f"{item.subject} against {item.reference}: the gain is {item.mae_gain.value}, the scores say {gain}"
                )
        return self

    @model_validator(mode="after")
    def _only_varying_axes_are_scored(self) -> "EvaluationReport":
        if (
            not self.axes
            or set(self.axes) & set(self.constant_axes)
            or set(self.axes + self.constant_axes) != set(AXES)
        ):
            raise ValueError(
                f"each of {', '.join(AXES)} is either scored or constant, and one at least is scored; "
                f"got {self.axes} and {self.constant_axes}"
            )
        for score in self.scores:
            if set(score.mae_by_axis) != set(self.axes):
                raise ValueError(f"{score.name} is scored on {sorted(score.mae_by_axis)}, the report on {self.axes}")
        return self

    @model_validator(mode="after")
    def _closed_loop_has_its_references(self) -> "EvaluationReport":
        if not self.closed_loop:
            return self
        missing = {"subject", "expert", "straight-ahead"} - {score.role for score in self.closed_loop}
        if missing:
            raise ValueError(f"a closed loop without {', '.join(sorted(missing))} cannot be read; add its trials")
        if len({score.success.n for score in self.closed_loop}) > 1:
            raise ValueError("every policy meets the same rooms: expected one number of trials for all")
        if self.trials is None:
            raise ValueError("closed-loop figures need their trials beside them; `trials` is None")
        return self
