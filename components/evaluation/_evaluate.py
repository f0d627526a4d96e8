"""The room's story: predictions, scores, ablations, closed loop, report."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

from components.contracts import (
    AXES,
    BASELINES,
    DatasetVersion,
    Ensemble,
    EpisodeRecord,
    EpisodeSource,
    EvaluationReport,
    ObjectRef,
    TrainedPolicy,
    TrialOutcome,
    describe_lineage,
)
from components.contracts.errors import EvidenceError, ObjectNotFoundError
from components.datasets import EpisodeFrames, load_split
from components.policies import predict
from components.storage import ObjectStore, put_once

from ._ablations import Predict, ablate
from ._baselines import fit_medians, predict_baselines
from ._closed_loop import EXPERT, INCUMBENT, NOT_DRIVEN, STRAIGHT_AHEAD, Subject, drive
from ._metrics import Role, Truth, compare, score
from ._page import Material, render

_PACKAGES = ("drover", "numpy", "scipy", "torch", "mujoco", "numba", "matplotlib", "jinja2", "pillow")


def evaluate(
    store: ObjectStore,
    dataset: DatasetVersion,
    members: Sequence[TrainedPolicy],
    ensemble: Ensemble,
    *,
    subject: str = "ensemble",
    closed_loop_trials: int = 40,
    incumbent: Subject | None = None,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationReport:
    """Measure one policy on the test split, beside everything that it has to be read against.

    Open loop on recorded frames; closed loop in simulation where the test split's episodes are simulated. The page
    (`reports/evaluations/<sha256>/report.html`) and the trials (`reports/evaluations/trials/<sha256>.jsonl`) are kept
    in the store, named by their content; equal arguments give equal bytes.

    Args:
        store: Holds the dataset's shards and the policies' weights; gets the page and the trials.
        dataset: Its training split fits the baselines, its test split is measured on.
        members: Each gets its own score.
        ensemble: Gets its own score.
        subject: Name of the member or the ensemble that the report is about.
        closed_loop_trials: Rooms that every driver meets; 0 for none.
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
    policies = _named(members, ensemble)
    if subject not in policies:
        raise EvidenceError(f"expected a subject among {', '.join(policies)}, got {subject!r}; give a policy's name")
    training, episodes = load_split(store, dataset, "train"), load_split(store, dataset, "test")
    truth, medians = _truth(dataset, episodes), fit_medians(training)
    drivers: dict[str, Predict] = {name: _predictor(store, policy) for name, policy in policies.items()}
    if incumbent is not None:
        drivers[INCUMBENT] = _predictor(store, incumbent)
    predicted = {name: driver(episodes) for name, driver in drivers.items()} | predict_baselines(medians, episodes)
    sources = _sources(store, episodes)
    loop = NOT_DRIVEN
    if closed_loop_trials and sources == ("simulated",):
        driving = {subject: policies[subject]} | ({INCUMBENT: incumbent} if incumbent else {})
        loop = drive(store, driving, medians, trials=closed_loop_trials, seed=seed, workers=workers, progress=progress)
    report = EvaluationReport(
        subject=subject,
        subject_digest=policies[subject].digest(),
        dataset=dataset.version,
        frames=len(truth.owner),
        episodes=len(episodes),
        axes=truth.axes,
        constant_axes=tuple(axis for axis in AXES if axis not in truth.axes),
        scores=tuple(score(name, _role(name, policies), truth, did, seed=seed) for name, did in predicted.items()),
        comparisons=tuple(
            compare(truth, (subject, predicted[subject]), (name, did), seed=seed)
            for name, did in predicted.items()
            if name != subject
        ),
        ablations=ablate(truth, episodes, predicted[subject], drivers[subject], seed=seed),
        closed_loop=loop.scores,
        trials=_keep_trials(store, loop.outcomes),
        curves={member.name: member.curve for member in members},
        html=None,
        lineage=describe_lineage(_PACKAGES),
        sources=sources,
    )
    page = render(report, Material(policies[subject], truth, episodes, predicted[subject], loop.outcomes, seed))
    return report.model_copy(update={"html": _keep_page(store, page)})


def _named(members: Sequence[TrainedPolicy], ensemble: Ensemble) -> dict[str, Subject]:
    policies: list[Subject] = [*members, ensemble]
    names = [policy.name for policy in policies]
    taken = {*BASELINES, INCUMBENT, EXPERT, STRAIGHT_AHEAD}
    if len(set(names)) < len(names) or taken & set(names):
        raise EvidenceError(
            f"expected names that differ from each other and from {', '.join(sorted(taken))}, got {', '.join(names)}; "
            "rename a policy"
        )
    return {policy.name: policy for policy in policies}


def _role(name: str, policies: Mapping[str, Subject]) -> Role:
    if name == INCUMBENT:
        return "incumbent"
    if name in BASELINES:
        return "baseline"
    return "ensemble" if isinstance(policies[name], Ensemble) else "member"


def _truth(dataset: DatasetVersion, episodes: Sequence[EpisodeFrames]) -> Truth:
    presses = sum(dataset.key_counts.values())
    return Truth(
        episodes=tuple(item.actions for item in episodes),
        scenarios=tuple(item.scenario for item in episodes),
        axes=dataset.axes,
        keys=dataset.key_counts.get("other", 0) * 2 < presses,
    )


def _predictor(store: ObjectStore, policy: Subject) -> Predict:
    return lambda episodes: [item.actions for item in predict(store, policy, episodes)]


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


def _keep_page(store: ObjectStore, page: bytes) -> ObjectRef:
    return put_once(store, "reports", f"evaluations/{hashlib.sha256(page).hexdigest()}/report.html", page)
