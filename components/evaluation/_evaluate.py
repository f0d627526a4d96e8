"""The room's story: predictions, metrics, senses, closed loop, report, page."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from components.contracts import (
    AXES,
    BASELINES,
    EXPERT,
    INCUMBENT,
    SPLITS,
    STRAIGHT_AHEAD,
    UNSHIFTED,
    DatasetVersion,
    Ensemble,
    EpisodeRecord,
    EpisodeSource,
    EvaluationInputs,
    EvaluationReport,
    FrameSample,
    Novelty,
    ObjectRef,
    TrainedPolicy,
    TrialOutcome,
    TrialPlan,
    describe_lineage,
)
from components.contracts.errors import EvidenceError, ObjectNotFoundError
from components.datasets import EpisodeFrames, load_split
from components.policies import Predictions, load_module, predict
from components.storage import ObjectStore, put_once

from ._ablations import ablate
from ._baselines import Medians, fit_medians, predict_baselines
from ._calibration import calibrate
from ._closed_loop import NOT_DRIVEN, ClosedLoop, Subject, drive
from ._disagreement import detect_novelty, disagree
from ._leaks import check_leaks
from ._metrics import compare, measure
from ._reports import keep_report
from ._saliency import saliency
from ._truth import Actions, Truth
from .page import Material, chosen_frames, render

_PACKAGES = ("drover", "numpy", "scipy", "torch", "mujoco", "numba", "matplotlib", "jinja2", "pillow")


def evaluate(
    store: ObjectStore,
    dataset: DatasetVersion,
    members: Sequence[TrainedPolicy],
    ensemble: Ensemble,
    *,
    subject: str = "ensemble",
    trials: TrialPlan | None = TrialPlan(),  # noqa: B008  frozen
    incumbent: Subject | None = None,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Measure one policy on the test split, beside everything that it has to be read against.

    Open loop on recorded frames; closed loop in simulation where some of the test split's episodes are simulated.
    Report and page (`reports/evaluations/<digest>/report.json` and `.html`) and the trials
    (`reports/evaluations/trials/<sha256>.jsonl`) are kept in the store; equal arguments give equal bytes.

    Args:
        store: Holds the dataset's shards and the policies' weights; gets the report, the page and the trials.
        dataset: Its training split fits the baselines, its test split is measured on.
        members: Each gets its own figures.
        ensemble: Gets its own figures.
        subject: Name of the member or the ensemble that the report is about.
        trials: Rooms that every driver meets; None for none.
        incumbent: What runs now; scored as `incumbent` on the same frames and in the same rooms.
        seed: Of the bootstrap, the shuffle, the pictures and the rooms.
        workers: Processes that drive trials.
        progress: Called with (trials done, trials in all).

    Raises:
        EvidenceError: fewer than two test episodes, no axis that varies, names that clash, or a subject that is none of
            the policies.
        PolicyError: a policy that does not fit the dataset's frames.
        IntegrityError: altered shards or weights.
    """
    inputs = EvaluationInputs(members=tuple(members), ensemble=ensemble, incumbent=incumbent, trials=trials, seed=seed)
    policies = _named(inputs)
    if subject not in policies or subject == INCUMBENT:
        raise EvidenceError(f"expected a subject among {', '.join(policies)}, got {subject!r}; give a policy's name")
    ground = _ground(store, dataset)
    predicted = {name: predict(store, policy, ground.episodes) for name, policy in policies.items()}
    loop = NOT_DRIVEN
    if trials and "simulated" in ground.sources:
        driving = {name: policies[name] for name in (subject, INCUMBENT) if name in policies}
        loop = drive(
            store, driving, ground.medians, subject=subject, plan=trials, seed=seed, workers=workers, progress=progress
        )
    shifted = tuple(dict.fromkeys(item.room for item in loop.outcomes if item.shift != UNSHIFTED))
    novelty = detect_novelty(store, ensemble, shifted, ground.truth.axes, seed=seed, workers=workers)
    report = _report(store, ground, inputs, policies, subject, predicted, loop, novelty)
    heat = saliency(load_module(store, policies[subject]), ground.episodes, chosen_frames(ground.episodes, seed=seed))
    did = [item.actions for item in predicted[subject]]
    keep_report(store, report, render(report, Material(ground.truth, ground.episodes, did, loop.outcomes, heat)))
    return report


@dataclass(frozen=True)
class _Ground:
    """What everybody is measured on."""

    dataset: DatasetVersion
    training: list[EpisodeFrames]
    validation: list[EpisodeFrames]
    episodes: list[EpisodeFrames]
    """The test split."""
    truth: Truth
    medians: Medians
    """Of the training split."""
    sources: tuple[EpisodeSource, ...]
    whole: FrameSample
    """All frames but frame 0, all axes that vary."""


def _ground(store: ObjectStore, dataset: DatasetVersion) -> _Ground:
    training, validation, episodes = (load_split(store, dataset, split) for split in SPLITS)
    truth, sources = _truth(dataset, episodes), _sources(store, episodes)
    return _Ground(
        dataset=dataset,
        training=training,
        validation=validation,
        episodes=episodes,
        truth=truth,
        medians=fit_medians(training),
        sources=sources,
        whole=FrameSample(dataset=dataset.version, simulated="simulated" in sources, axes=truth.axes),
    )


def _report(  # noqa: PLR0917  # the parts in the order in which they were made
    store: ObjectStore,
    ground: _Ground,
    inputs: EvaluationInputs,
    policies: Mapping[str, Subject],
    subject: str,
    predicted: Mapping[str, list[Predictions]],
    loop: ClosedLoop,
    novelty: tuple[Novelty, ...],
) -> EvaluationReport:
    truth, whole, episodes, seed = ground.truth, ground.whole, ground.episodes, inputs.seed
    actions = {name: [item.actions for item in did] for name, did in predicted.items()}
    actions |= predict_baselines(ground.medians, episodes)
    forecasts, reliability = calibrate(truth, whole, predicted, ground.training, episodes, seed=seed)

    def answer(altered: list[EpisodeFrames]) -> list[Actions]:
        return [item.actions for item in predict(store, policies[subject], altered)]

    sessions = ground.dataset.spec.split_by == "group"
    return EvaluationReport(
        subject=subject,
        subject_digest=policies[subject].digest(),
        dataset=ground.dataset.version,
        sources=ground.sources,
        frames=len(truth.owner),
        episodes=len(episodes),
        axes=truth.axes,
        constant_axes=tuple(axis for axis in AXES if axis not in truth.axes),
        metrics=(*measure(truth, whole, actions, seed=seed), *forecasts, *loop.metrics),
        comparisons=tuple(
            compare(truth, whole, (subject, actions[subject]), (name, did), seed=seed)
            for name, did in actions.items()
            if name != subject
        ),
        leaks=check_leaks(ground.training, ground.validation, episodes, sessions=sessions),
        ablations=ablate(truth, whole, episodes, actions[subject], answer, seed=seed),
        reliability=reliability,
        disagreement=disagree(truth, whole, inputs.ensemble, predicted, novelty=novelty, seed=seed),
        paired_trials=loop.pairs,
        shifts=loop.shifts,
        trials=_keep_trials(store, loop.outcomes),
        inputs=inputs,
        lineage=describe_lineage(_PACKAGES),
    )


def _named(inputs: EvaluationInputs) -> dict[str, Subject]:
    policies: list[Subject] = [*inputs.members, inputs.ensemble]
    names = [policy.name for policy in policies]
    taken = {*BASELINES, INCUMBENT, EXPERT, STRAIGHT_AHEAD}
    if len(set(names)) < len(names) or taken & set(names):
        raise EvidenceError(
            f"expected names that differ from each other and from {', '.join(sorted(taken))}, got {', '.join(names)}; "
            "rename a policy"
        )
    named = {policy.name: policy for policy in policies}
    return named | ({INCUMBENT: inputs.incumbent} if inputs.incumbent else {})


def _truth(dataset: DatasetVersion, episodes: Sequence[EpisodeFrames]) -> Truth:
    presses = sum(dataset.key_counts.values())
    return Truth(
        episodes=tuple(item.actions for item in episodes),
        scenarios=tuple(item.scenario for item in episodes),
        axes=dataset.axes,
        keys=dataset.key_counts.get("other", 0) * 2 < presses,
    )


def _sources(store: ObjectStore, episodes: Sequence[EpisodeFrames]) -> tuple[EpisodeSource, ...]:
    """What the test episodes' records say; nothing where one has no record: then nothing is known."""
    found: set[EpisodeSource] = set()
    for item in episodes:
        key = f"{item.sha256}.json"
        try:
            record = EpisodeRecord.parse(store.get("episodes", key), source=f"s3://episodes/{key}")
        except ObjectNotFoundError:
            return ()
        found.add(record.summary.source)
    return tuple(sorted(found))


def _keep_trials(store: ObjectStore, outcomes: Sequence[TrialOutcome]) -> ObjectRef | None:
    if not outcomes:
        return None
    data = b"".join(item.canonical_json() + b"\n" for item in outcomes)
    return put_once(store, "reports", f"evaluations/trials/{hashlib.sha256(data).hexdigest()}.jsonl", data)
