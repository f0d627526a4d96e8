"""The rooms' doors as Prefect tasks: retries, timeouts, tags, and what a stage remembers. No behaviour of its own.

Rooms are imported where they are called: a door loads torch, Ray or Great Expectations, and a flow must start at once.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists
from prefect.tasks import Task, exponential_backoff

from components import storage
from components.contracts import (
    DatasetSpec,
    DatasetVersion,
    Ensemble,
    EpisodeRecord,
    EvaluationReport,
    Frozen,
    Incumbent,
    IngestSummary,
    PolicyPackage,
    PromotionDecision,
    RolloutState,
    Settings,
    StageTiming,
    TrainedMembers,
    TrainingPlan,
    TrainingRequest,
)
from components.contracts.errors import StorageError

from ._log import run_log
from ._progress import Progress
from ._store import open_store

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Frozen)


def _store_failed(_task: Any, _run: Any, state: Any) -> bool:
    """Retry what the object store or the network did; a bad episode or a bad spec stays bad."""
    return isinstance(state.result(raise_on_failure=False), StorageError | ConnectionError | TimeoutError)


def door(name: str, *, minutes: float) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A door as a task: three more tries when the store fails, and a time limit.

    Prefect caches and persists nothing: what a stage made is in the object store, and `Stages` finds it there.
    """
    return task(
        name=name,
        retries=3,
        retry_delay_seconds=exponential_backoff(backoff_factor=2),
        retry_jitter_factor=0.5,
        retry_condition_fn=_store_failed,
        timeout_seconds=minutes * 60,
        cache_policy=NO_CACHE,
        persist_result=False,
        tags=[f"stage:{name}"],
    )


class Stages:
    """Runs the stages of one flow run, skips those whose inputs are unchanged, and keeps the times."""

    def __init__(self, store: storage.ObjectStore | None = None) -> None:
        self.store = store or open_store()
        storage.prepare(self.store)
        self.timings: list[StageTiming] = []

    def run(self, stage: Task[..., F], kind: type[F], *inputs: Any) -> F:
        """The stage's result for these inputs, found or made. Their contents and the code's fingerprint name it."""
        with self._timed(stage.name) as skip:
            key = storage.memory_key(stage.name, {"inputs": [_content(item) for item in inputs]})
            found = storage.recall(self.store, key, kind)
            if found is None:
                return storage.remember(self.store, key, stage(*inputs))
            run_log().info("%s: inputs are unchanged, skipped", stage.name)
            skip()
            return found

    def always(self, stage: Task[..., R], *inputs: Any) -> R:
        """A stage whose work depends on more than its inputs, such as on what robots report."""
        with self._timed(stage.name):
            return stage(*inputs)

    @contextmanager
    def _timed(self, name: str) -> Iterator[Callable[[], None]]:
        started, skipped = time.monotonic(), []
        yield lambda: skipped.append(True)
        seconds = round(time.monotonic() - started, 3)
        self.timings.append(StageTiming(name=name, seconds=seconds, skipped=bool(skipped)))


def _content(item: Any) -> Any:
    if isinstance(item, Frozen):
        return item.digest()
    if isinstance(item, dict):
        return {key: _content(value) for key, value in item.items()}
    if isinstance(item, str) or not isinstance(item, Iterable):
        return item
    return [_content(part) for part in item]


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Of all runs of a Prefect server one is inside, the others wait. A killed one's place is free a minute later."""
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):  # another run made it just now
        client.upsert_global_concurrency_limit_by_name(name, 1)
    with concurrency(name, lease_duration=60, strict=True, raise_on_lease_renewal_failure=False):
        yield


@door("ingest", minutes=60)
def ingest_inbox() -> IngestSummary:
    """Inspect what the robots sent, check it, and settle each upload as an episode or in quarantine."""
    from components import checks, ingest

    settings = Settings()
    store, key = open_store(), ingest.receipt_key(settings)
    with Progress("ingest") as progress:
        limits = ingest.Limits(failed_reads=settings.ingest_failed_reads)
        candidates = ingest.inspect_inbox(store, limits=limits, progress=progress.count)
    candidates, report = checks.judge(store, candidates, settings)
    receipts = ingest.settle(store, candidates, report.findings if report else (), key=key)
    try:
        ingest.drop_abandoned_uploads(store)
    except StorageError as error:  # the next run does it
        run_log().warning("abandoned uploads were not looked for: %s", error)
    return IngestSummary(receipts=tuple(receipts), checks=report)


@door("preflight", minutes=5)
def preflight(spec: DatasetSpec, plan: TrainingPlan) -> None:
    """Whatever the request and the catalogue can tell of a failure to come, before the first stage that costs time."""
    from components.preflight import require

    for warning in require(open_store(), Settings(), TrainingRequest(dataset=spec, plan=plan)):
        run_log().warning("%s", warning)


@door("episodes", minutes=5)
def list_episodes(spec: DatasetSpec) -> tuple[DatasetSpec, list[EpisodeRecord]]:
    """The admitted episodes that the dataset's spec takes, as people edited them; and the spec with its collection's
    version."""
    from components import datasets, ingest

    store = open_store()
    return datasets.select(store, spec, ingest.records(store))


@door("dataset", minutes=120)
def build_dataset(spec: DatasetSpec, episodes: list[EpisodeRecord]) -> DatasetVersion:
    """Split, decode, resize and keep."""
    from components import datasets

    with Progress("dataset") as progress:
        return datasets.build_dataset(open_store(), spec, episodes, progress=progress.count)


@door("train", minutes=24 * 60)
def train_distributed(dataset: DatasetVersion, plan: TrainingPlan) -> TrainedMembers:
    """One member on several workers together, by Ray Train."""
    from components import training
    from components.policies import recipes

    settings = Settings()
    specs = recipes.distributed_member(dataset, epochs=plan.epochs) if plan.distributed is None else plan.distributed
    trained = []
    for name, spec in specs.items():
        with Progress("train", epochs={name: spec.training.epochs}) as progress:
            trained.append(
                training.train(
                    open_store(),
                    dataset,
                    spec,
                    name=name,
                    workers=plan.workers,
                    checkpoint_dir=settings.home / "training",
                    progress=progress.epoch,
                )
            )
    return TrainedMembers(members=tuple(trained))


@door("tune", minutes=24 * 60)
def train_members(dataset: DatasetVersion, plan: TrainingPlan) -> TrainedMembers:
    """The other members side by side, as Ray Tune trials."""
    from components import training
    from components.policies import recipes

    settings = Settings()
    specs = plan.members or recipes.default_members(dataset, epochs=plan.epochs)
    with Progress("tune", epochs={name: spec.training.epochs for name, spec in specs.items()}) as progress:
        trained = training.train_members(
            open_store(),
            dataset,
            specs,
            checkpoint_dir=settings.home / "training",
            progress=progress.epoch,
        )
    return TrainedMembers(members=tuple(trained))


@door("ensemble", minutes=30)
def fit_ensemble(dataset: DatasetVersion, members: Sequence[TrainedMembers]) -> Ensemble:
    """Convex weights over the members, on validation data alone."""
    from components import training

    everyone = [policy for group in members for policy in group.members]
    return training.fit_ensemble(open_store(), dataset, everyone)


@door("incumbent", minutes=5)
def find_incumbent() -> Incumbent | None:
    """The promoted policy and its evidence; None before the first promotion."""
    from components import promotion

    incumbent = promotion.find_incumbent(open_store())
    if incumbent and incumbent.report is None:
        run_log().warning(
            "the report of %s is of an older Drover and counts no more: it is evaluated anew", incumbent.release.name
        )
    return incumbent


@door("evaluate", minutes=240)
def evaluate(
    dataset: DatasetVersion,
    members: Sequence[TrainedMembers],
    ensemble: Ensemble,
    incumbent: Incumbent | None,
    plan: TrainingPlan,
) -> EvaluationReport:
    """Open loop on the test split, and closed loop where the robot can be simulated.

    An incumbent that sees other frames drives another kind of robot: it is not scored, and the gate refuses for it.
    """
    from components import evaluation

    comparable = incumbent and incumbent.ensemble.members[0].spec.frame == dataset.spec.frame
    with Progress("closed loop") as progress:
        return evaluation.evaluate(
            open_store(),
            dataset,
            [policy for group in members for policy in group.members],
            ensemble,
            incumbent=incumbent.ensemble if incumbent and comparable else None,
            trials=plan.trials,
            seed=plan.seed,
            progress=progress.count,
        )


@door("package", minutes=60)
def package_policy(dataset: DatasetVersion, ensemble: Ensemble, report: EvaluationReport) -> PolicyPackage:
    """ONNX graphs, golden outputs, parity, manifest."""
    from components import packaging

    return packaging.package(open_store(), dataset, ensemble, report)


@door("gate", minutes=5)
def decide(report: EvaluationReport, package: PolicyPackage, incumbent: Incumbent | None) -> PromotionDecision:
    """Promote or not, and why."""
    from components import promotion

    return promotion.decide(report, package, incumbent=incumbent)


@door("release", minutes=30)
def release(package: PolicyPackage, ensemble: Ensemble, report: EvaluationReport, plan: TrainingPlan) -> RolloutState:
    """Sign, publish, and open the rollout; the canary is assigned at once."""
    from components import promotion

    settings = Settings()
    return promotion.release(open_store(), settings, package, ensemble, report, plan)


@door("advance", minutes=10)
def advance_rollouts() -> list[RolloutState]:
    """Read the robots' reports and take one step of every open rollout."""
    from components import promotion

    settings = Settings()
    return promotion.advance(open_store(), settings)
