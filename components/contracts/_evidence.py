"""Evidence: everything that is claimed about one policy, in types that refuse a claim without what carries it."""

from collections import Counter
from collections.abc import Iterator
from typing import Literal

from pydantic import model_validator

from ._base import Frozen
from ._episodes import AXES, Axis, EpisodeSource
from ._figures import (
    BASELINES,
    BLIND,
    EXPERT,
    INCUMBENT,
    STRAIGHT_AHEAD,
    UNSHIFTED,
    Estimate,
    FrameSample,
    Metric,
    RoomSample,
)
from ._policies import Ensemble, EpochMetrics, TrainedPolicy
from ._refs import Lineage, ObjectRef, Sha256
from ._scores import ClosedLoopScore, DriverRole, OpenLoopScore, Role, closed_loop_scores, open_loop_scores
from ._senses import Ablation, Disagreement, LeakCheck, Reliability
from ._trials import PairedTrials, ShiftEffect, TrialPlan

_RATES = frozenset({"success", "reached", "right-side", "collisions"})


class Comparison(Frozen):
    """Paired on the same episodes, all frames but frame 0: how much better `subject` is than `reference`."""

    subject: str
    reference: str
    sample: FrameSample
    mae_gain: Estimate
    """The reference's MAE minus the subject's."""
    key_accuracy_gain: Estimate
    """The subject's key accuracy minus the reference's."""

    @property
    def better(self) -> bool:
        return self.mae_gain.surely_positive


class EvaluationInputs(Frozen):
    """What an evaluation was asked: with the dataset and the code, all it takes to get the same figures again."""

    members: tuple[TrainedPolicy, ...]
    ensemble: Ensemble
    incumbent: Ensemble | TrainedPolicy | None = None
    trials: TrialPlan | None
    """None: nothing was driven."""
    seed: int


class EvaluationReport(Frozen):
    """Everything that is claimed about one policy, and nothing without its interval, baselines and data."""

    format: Literal["drover-evaluation/2"] = "drover-evaluation/2"
    subject: str
    subject_digest: Sha256
    """Of the TrainedPolicy or Ensemble that was evaluated."""
    dataset: Sha256
    split: Literal["test"] = "test"
    sources: tuple[EpisodeSource, ...] = ()
    """Where the test split's frames come from; empty where that is not known."""
    frames: int
    episodes: int
    axes: tuple[Axis, ...]
    constant_axes: tuple[Axis, ...]
    """Named, and in no mean."""
    metrics: tuple[Metric, ...]
    comparisons: tuple[Comparison, ...]
    """Subject against each baseline, each other policy, and the incumbent where there is one."""
    leaks: LeakCheck
    ablations: tuple[Ablation, ...]
    reliability: tuple[Reliability, ...] = ()
    """Empty for continuous actions, which have no probabilities."""
    disagreement: Disagreement | None = None
    """None where there is one member."""
    paired_trials: tuple[PairedTrials, ...] = ()
    shifts: tuple[ShiftEffect, ...] = ()
    trials: ObjectRef | None
    """JSON lines of TrialOutcome; None where nothing was driven: data whose robot cannot be simulated."""
    inputs: EvaluationInputs
    lineage: Lineage

    @property
    def page_key(self) -> str:
        """Where its page lies in the bucket `reports`; `report.json` lies beside it."""
        return f"evaluations/{self.digest()}/report.html"

    @property
    def simulated(self) -> bool:
        """Some of the test split's frames come from the simulation."""
        return "simulated" in self.sources

    @property
    def curves(self) -> dict[str, tuple[EpochMetrics, ...]]:
        return {member.name: member.curve for member in self.inputs.members}

    @property
    def scores(self) -> tuple[OpenLoopScore, ...]:
        """The metrics on all frames, policy by policy; in the order of the figures."""
        return tuple(open_loop_scores(self.metrics, self.axes, {name: self._role(name) for name in self._scored()}))

    @property
    def closed_loop(self) -> tuple[ClosedLoopScore, ...]:
        """The metrics in unshifted rooms, driver by driver; empty where nothing was driven."""
        roles: dict[str, DriverRole] = {self.subject: "subject", INCUMBENT: "incumbent", BLIND: "baseline"}
        return tuple(closed_loop_scores(self.metrics, roles | {STRAIGHT_AHEAD: "straight-ahead", EXPERT: "expert"}))

    def find(self, name: str, **sample: object) -> Metric | None:
        """The metric `name` whose sample has these fields; what is not said is as in the whole: all frames, all varying
        axes, no shift."""
        for item in self.metrics:
            usual: dict[str, object] = {"scenario": None}
            if isinstance(item.sample, FrameSample):
                usual |= {"protocol": "all-frames", "axes": self.axes, "frame": None}
            else:
                usual |= {"shift": UNSHIFTED}
            if item.name == name and all(getattr(item.sample, k, None) == v for k, v in (usual | sample).items()):
                return item
        return None

    def _scored(self) -> list[str]:
        mae = self.find("mae")
        return list(mae.figures) if mae else []

    def _role(self, name: str) -> Role:
        if name == INCUMBENT:
            return "incumbent"
        if name in BASELINES:
            return "baseline"
        return "ensemble" if name == self.inputs.ensemble.name else "member"

    def _on_frames(self) -> Iterator[tuple[Metric, FrameSample]]:
        return ((item, item.sample) for item in self.metrics if isinstance(item.sample, FrameSample))

    def _in_rooms(self) -> Iterator[tuple[Metric, RoomSample]]:
        return ((item, item.sample) for item in self.metrics if isinstance(item.sample, RoomSample))

    @model_validator(mode="after")
    def _every_axis_is_accounted_for(self) -> "EvaluationReport":
        if (
            not self.axes
            or set(self.axes) & set(self.constant_axes)
            or set(self.axes + self.constant_axes) != set(AXES)
        ):
            raise ValueError(
                f"each of {', '.join(AXES)} is either scored or constant, and one at least is scored; "
                f"got {self.axes} and {self.constant_axes}"
            )
        return self

    @model_validator(mode="after")
    def _subject_is_what_was_evaluated(self) -> "EvaluationReport":
        policies: list[TrainedPolicy | Ensemble] = [*self.inputs.members, self.inputs.ensemble]
        named = [item for item in policies if item.name == self.subject]
        if not named or self.subject_digest != named[0].digest():
            raise ValueError(f"the subject {self.subject} ({self.subject_digest[:12]}) is none of the inputs")
        missing = {item.name for item in policies} - set(self._scored())
        if missing:
            raise ValueError(f"every policy is scored on all frames, without: {', '.join(sorted(missing))}")
        return self

    @model_validator(mode="after")
    def _figures_are_of_this_data(self) -> "EvaluationReport":
        samples = [sample for _, sample in self._on_frames()]
        samples += [item.sample for item in self.comparisons] + [item.sample for item in self.ablations]
        samples += [item.sample for item in self.reliability]
        samples += [self.disagreement.sample] if self.disagreement else []
        for sample in samples:
            if sample.dataset != self.dataset or sample.simulated != self.simulated:
                raise ValueError(
                    f"a figure of dataset {sample.dataset[:12]} (simulated: {sample.simulated}) in a report on "
                    f"{self.dataset[:12]} (simulated: {self.simulated})"
                )
            if not set(sample.axes) <= set(self.axes):
                raise ValueError(f"{sample.axes} is scored, but only {self.axes} vary: constant axes enter no mean")
        return self

    @model_validator(mode="after")
    def _means_are_over_the_varying_axes(self) -> "EvaluationReport":
        for score in self.scores:
            if set(score.mae_by_axis) != set(self.axes):
                raise ValueError(f"{score.name} is scored on {sorted(score.mae_by_axis)}, the report on {self.axes}")
            mean = sum(item.value for item in score.mae_by_axis.values()) / len(score.mae_by_axis)
            if abs(mean - score.mae.value) > 1e-6:
                raise ValueError(f"{score.name}: mae is {score.mae.value}, but the mean over its axes is {mean}")
        return self

    @model_validator(mode="after")
    def _frames_add_up(self) -> "EvaluationReport":
        """Figures of some frames cannot stand for those of all: the parts are there to be added."""
        said = Counter((item.name, item.sample.model_dump_json()) for item in self.metrics)
        if twice := sorted({name for (name, _), times in said.items() if times > 1}):
            raise ValueError(f"expected one figure of one sample, got several of {', '.join(twice)}")
        for score in self.scores:
            if score.mae.n != self.episodes:
                raise ValueError(
                    f"{score.name} is measured on {score.mae.n} episodes, the report is of {self.episodes}"
                )
            counted = sum(item.n for item in score.mae_by_frame.values())
            mean = sum(item.n * item.value for item in score.mae_by_frame.values()) / max(counted, 1)
            if counted == self.frames and abs(mean - score.mae.value) > 1e-6:
                raise ValueError(f"{score.name}: mae is {score.mae.value}, but the mean over its frames is {mean}")
        return self

    @model_validator(mode="after")
    def _subject_is_compared_with_all(self) -> "EvaluationReport":
        compared = {item.reference for item in self.comparisons if item.subject == self.subject}
        others = {score.name for score in self.scores} - {self.subject}
        if not others <= compared:
            raise ValueError(f"{self.subject} is not compared with: {', '.join(sorted(others - compared))}")
        scores = {score.name: score for score in self.scores}
        for item in self.comparisons:
            mine, theirs = scores.get(item.subject), scores.get(item.reference)
            if mine is None or theirs is None:
                raise ValueError(f"{item.subject} is compared with {item.reference}, and one of them has no score")
            gains = (theirs.mae.value - mine.mae.value, mine.key_accuracy.value - theirs.key_accuracy.value)
            stated = (item.mae_gain.value, item.key_accuracy_gain.value)
            if any(abs(gain - said) > 1e-6 for gain, said in zip(gains, stated, strict=True)):
                raise ValueError(f"{item.subject} against {item.reference}: gains are {stated}, the scores say {gains}")
        return self

    @model_validator(mode="after")
    def _closed_loop_is_whole(self) -> "EvaluationReport":
        driven = list(self._in_rooms())
        if not driven:
            if self.trials or self.paired_trials or self.shifts:
                raise ValueError("nothing was driven, and yet there are trials, paired trials or shifts")
            return self
        if self.trials is None or self.inputs.trials is None:
            raise ValueError("closed-loop figures need their trials and their plan beside them")
        if len({(sample.simulator, sample.seed) for _, sample in driven}) > 1:
            raise ValueError("every driver meets the same rooms: expected one simulator and one seed for all")
        for item, sample in driven:
            if self.subject not in item.figures:
                raise ValueError(f"{item.name} in {sample.rooms} rooms ({sample.shift}) lacks the subject")
            early = self.inputs.trials.stop_early and sample.shift == UNSHIFTED and item.name in _RATES
            if early and any(figure.method != "anytime" for figure in item.figures.values()):
                raise ValueError(f"{item.name}: a run that may stop early needs intervals that hold whenever it stops")
        return self

    @model_validator(mode="after")
    def _pairs_are_the_drivers(self) -> "EvaluationReport":
        success = self.find("success")
        rates = {name: figure.value for name, figure in success.figures.items()} if success else {}
        if {pair.reference for pair in self.paired_trials} != set(rates) - {self.subject}:
            raise ValueError(f"{self.subject} is not paired, room by room, with everybody who drove")
        for pair in self.paired_trials:
            gain = rates.get(pair.subject, 0.0) - rates[pair.reference]
            if pair.subject != self.subject or abs(gain - pair.difference.value) > 1e-6:
                raise ValueError(f"{pair.subject} against {pair.reference}: the pairs contradict the success rates")
            if self.inputs.trials and self.inputs.trials.stop_early and pair.p_value is not None:
                raise ValueError("McNemar's test needs a number of rooms fixed beforehand; this run may stop early")
        return self
