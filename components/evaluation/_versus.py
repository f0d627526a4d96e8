"""Two reports side by side. A difference is stated where it is paired, and nowhere else.

What is not covered: two subjects that never met the same frames or rooms. Intervals that overlap, or do not, decide
nothing here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from components.contracts import (
    INCUMBENT,
    UNSHIFTED,
    Comparison,
    Ensemble,
    Estimate,
    EvaluationReport,
    PairedTrials,
    RoomSample,
    TrainedPolicy,
    TrialOutcome,
)
from components.contracts.errors import EvidenceError
from components.storage import ObjectStore, fetch

from ._pairs import pair


@dataclass(frozen=True)
class PairedFrames:
    """Both subjects on one report's test frames."""

    mae_gain: Estimate
    """The second's MAE minus the first's: above zero, the first is better."""
    key_accuracy_gain: Estimate
    report: str
    """Digest of the report that scored both."""
    trained_elsewhere: bool
    """One of them was trained on another dataset, and may have seen these frames: that is not checked."""


@dataclass(frozen=True)
class Versus:
    """What two reports say of their subjects together."""

    first: EvaluationReport
    second: EvaluationReport
    same_subject: bool
    same_dataset: bool
    """Their figures are of the same episodes, and comparable, though not paired by that."""
    frames: PairedFrames | None
    trials: PairedTrials | None
    """Subject: the first's; reference: the second's. Simulated."""
    unpaired: tuple[str, ...]
    """Why what is missing is missing."""


def stand_beside(store: ObjectStore, first: EvaluationReport, second: EvaluationReport) -> Versus:
    """Pair two reports' subjects where that can be done.

    On frames, where one report scored the other's subject too, e.g. as its incumbent. In rooms, where both drove the
    same ones: the kept trials are read again.

    Raises:
        ObjectNotFoundError: trials that a report names are gone.
        IntegrityError: they were altered.
    """
    frames = _frames(first, second)
    trials, why = _trials(store, first, second)
    unpaired = []
    if frames is None:
        unpaired.append("frames: neither report scored the other's subject; evaluate one with the other as incumbent")
    if trials is None:
        unpaired.append(f"rooms: {why}")
    return Versus(
        first=first,
        second=second,
        same_subject=first.subject_digest == second.subject_digest,
        same_dataset=first.dataset == second.dataset,
        frames=frames,
        trials=trials,
        unpaired=tuple(unpaired),
    )


def _policies(report: EvaluationReport) -> Mapping[str, TrainedPolicy | Ensemble]:
    """Everybody that a report scored, by its name there."""
    inputs = report.inputs
    policies: list[TrainedPolicy | Ensemble] = [*inputs.members, inputs.ensemble]
    found = {item.name: item for item in policies}
    return found | ({INCUMBENT: inputs.incumbent} if inputs.incumbent else {})


def _frames(first: EvaluationReport, second: EvaluationReport) -> PairedFrames | None:
    for report, other, swapped in ((first, second, False), (second, first, True)):
        for name, policy in _policies(report).items():
            if policy.digest() != other.subject_digest:
                continue
            both = (policy, _policies(report)[report.subject])
            for item in report.comparisons:
                if (item.subject, item.reference) == (report.subject, name):
                    return _paired(item, report, swapped, any(one.dataset != report.dataset for one in both))
    return None


def _paired(item: Comparison, report: EvaluationReport, swapped: bool, trained_elsewhere: bool) -> PairedFrames:
    gains = [item.mae_gain, item.key_accuracy_gain]
    if swapped:
        gains = [gain.model_copy(update={"value": -gain.value, "low": -gain.high, "high": -gain.low}) for gain in gains]
    return PairedFrames(gains[0], gains[1], report.digest(), trained_elsewhere)


def _trials(store: ObjectStore, first: EvaluationReport, second: EvaluationReport) -> tuple[PairedTrials | None, str]:
    samples = [_rooms(report) for report in (first, second)]
    if samples[0] is None or samples[1] is None or first.trials is None or second.trials is None:
        return None, "one of the two, or both, were not driven"
    one, other = samples[0], samples[1]
    if (one.simulator, one.seed) != (other.simulator, other.seed):
        return None, (
            f"driven in other rooms: seed {one.seed} of {one.simulator}, and seed {other.seed} of {other.simulator}"
        )
    driven = [{item.room: item for item in read_trials(store, report, report.subject)} for report in (first, second)]
    common = [room for room in driven[0] if room in driven[1]]
    if not common:
        return None, "no room was driven by both"
    early = any(report.inputs.trials is not None and report.inputs.trials.stop_early for report in (first, second))
    mine, theirs = ([outcomes[room] for room in common] for outcomes in driven)
    return pair(mine, theirs, stop_early=early), ""


def _rooms(report: EvaluationReport) -> RoomSample | None:
    found = report.find("success")
    return found.sample if found and isinstance(found.sample, RoomSample) else None


def read_trials(store: ObjectStore, report: EvaluationReport, policy: str) -> Sequence[TrialOutcome]:
    """A driver's kept trials in unshifted rooms, in the order of the drive.

    Raises:
        EvidenceError: the report drove nothing.
        InvalidDocumentError: a line is no TrialOutcome.
        IntegrityError: the trials were altered.
    """
    return [item for item in _lines(store, report) if item.policy == policy and item.shift == UNSHIFTED]


def _lines(store: ObjectStore, report: EvaluationReport) -> Iterator[TrialOutcome]:
    if report.trials is None:
        raise EvidenceError(f"report {report.digest()[:12]} drove nothing; it has no trials")
    for number, line in enumerate(fetch(store, report.trials).splitlines(), 1):
        yield TrialOutcome.parse(line, source=f"{report.trials.uri}, line {number}")
