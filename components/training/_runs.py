"""Members trained on Ray: one with many workers (Train), or many side by side (Tune)."""

import hashlib
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import train as ray_train
from ray import tune
from ray.train.torch import TorchTrainer

from components.contracts import (
    DatasetVersion,
    EpochMetrics,
    Lineage,
    PolicySpec,
    Settings,
    TrainedPolicy,
    canonical_json,
    describe_lineage,
)
from components.contracts.errors import InvalidDocumentError, TrainingError
from components.datasets import load_split
from components.policies import save_weights
from components.storage import ObjectStore, write_durably

from ._checkpoint import CHECKPOINT, read_checkpoint
from ._cluster import cluster
from ._data import TrainingData, stack
from ._group import FileGroup
from ._loop import run_digest
from ._progress import Progress, ProgressLog, watch
from ._worker import train_worker, tune_trial

_log = logging.getLogger(__name__)
_LINEAGE = ("torch", "numpy", "ray", "safetensors")
_RESTARTS = 3
"""Times that a run whose worker died goes on from its last checkpoint."""


class _TrainProgress(ray_train.UserCallback):  # type: ignore[misc]  # ray is untyped here
    """Runs in Ray Train's controller, which lives on this machine."""

    def __init__(self, log: ProgressLog, name: str) -> None:
        self._log, self._name = log, name

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        self._log.append(self._name, EpochMetrics.model_validate(metrics[0]))


class _TuneProgress(tune.Callback):  # type: ignore[misc]
    def __init__(self, log: ProgressLog) -> None:
        self._log = log

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        known = {field: result[field] for field in EpochMetrics.model_fields}
        self._log.append(trial.config["member"]["name"], EpochMetrics.model_validate(known))


def train(
    store: ObjectStore,
    dataset: DatasetVersion,
    spec: PolicySpec,
    *,
    name: str,
    checkpoint_dir: Path,
    workers: int = 2,
    settings: Settings | None = None,
    progress: Progress = lambda name, metrics: None,
) -> TrainedPolicy:
    """Train one member on `workers` processes with Ray Train; gradients are averaged after every batch.

    Goes on where an earlier call with the same arguments and code was cut off, and goes on from the last epoch when a
    worker dies. A finished run is not repeated.

    Args:
        store: The dataset's shards are read from it, the weights are written to it.
        dataset: Trains on `train`, stops early by `validation`; `test` is not read.
        spec: Fitted to the dataset: its FrameSpec, axes that vary.
        name: The member's name.
        checkpoint_dir: Where runs keep their state: one folder on this machine, or shared by all of Ray's.
        workers: Processes, one CPU each.
        settings: None reads them from the environment.
        progress: Called in this thread with (name, EpochMetrics).

    Returns:
        The weights of the epoch with the lowest validation loss.

    Raises:
        TrainingError: the spec does not fit the dataset, the loss is not finite, or workers died too often.
        DatasetError, StorageError: shards that cannot be read.
    """
    runs = _Runs(store, dataset, checkpoint_dir)
    if finished := runs.finished(name, spec, workers):
        return finished
    run = f"{name}-{runs.identity(name, spec, workers)}"
    log = runs.open_log(run)
    data = runs.load([spec])
    with cluster(settings or Settings(), cpus=workers):
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={"spec": spec.model_dump_json(), "data": ray.put(data)},
            scaling_config=ray_train.ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 1}),
            torch_config=FileGroup(folder=str(checkpoint_dir.absolute() / run / "group")),
            run_config=ray_train.RunConfig(
                name=run,
                storage_path=str(checkpoint_dir.absolute()),
                failure_config=ray_train.FailureConfig(max_failures=_RESTARTS),
                checkpoint_config=ray_train.CheckpointConfig(num_to_keep=2),
                callbacks=[_TrainProgress(log, name)],
            ),
        )
        try:
            result = watch(trainer.fit, log, progress)
        except (ray_train.v2.api.exceptions.TrainingFailedError, ray.exceptions.RayError) as error:
            raise TrainingError(
                f"{name}: {workers} workers did not finish after {_RESTARTS} restarts: {error}"
            ) from error
        policy = runs.finish(name, spec, result.checkpoint, workers)
    runs.clear(run)
    return policy


def train_members(
    store: ObjectStore,
    dataset: DatasetVersion,
    specs: Mapping[str, PolicySpec],
    *,
    checkpoint_dir: Path,
    settings: Settings | None = None,
    progress: Progress = lambda name, metrics: None,
) -> list[TrainedPolicy]:
    """Train several members, each on one CPU, as many at once as there are CPUs, as Ray Tune trials.

    Like `train`, it goes on where it was cut off and does not repeat what is finished.

    Args:
        store: See `train`.
        dataset: See `train`.
        specs: Name -> spec.
        checkpoint_dir: See `train`.
        settings: None reads them from the environment.
        progress: Called in this thread with (name, EpochMetrics).

    Returns:
        One policy a spec, in their order.

    Raises:
        TrainingError: a member that could not be trained; those that could are not trained again by the next call.
        DatasetError, StorageError: shards that cannot be read.
    """
    runs = _Runs(store, dataset, checkpoint_dir)
    policies = {name: runs.finished(name, spec) for name, spec in specs.items()}
    missing = {name: specs[name] for name, policy in policies.items() if policy is None}
    if missing:
        identities = "".join(runs.identity(name, spec) for name, spec in missing.items())
        run = f"members-{hashlib.sha256(identities.encode()).hexdigest()[:12]}"
        log = runs.open_log(run)
        data = runs.load(list(missing.values()))
        with cluster(settings or Settings(), cpus=1):
            tuner = _tuner(run, missing, data, log, checkpoint_dir)
            results = watch(tuner.fit, log, progress)
            failures = []
            for result in results:
                name = result.config["member"]["name"]
                if result.error is None and result.checkpoint is not None:
                    policies[name] = runs.finish(name, missing[name], result.checkpoint)
                else:
                    failures.append(f"{name}: {result.error}")
        if failures:
            raise TrainingError(f"{len(failures)} of {len(missing)} members were not trained: {'; '.join(failures)}")
        runs.clear(run)
    return [policy for policy in policies.values() if policy is not None]


def _tuner(
    run: str, specs: Mapping[str, PolicySpec], data: TrainingData, log: ProgressLog, checkpoint_dir: Path
) -> tune.Tuner:
    trainable = tune.with_resources(tune.with_parameters(tune_trial, data=data), {"cpu": 1})
    members = [{"name": name, "spec": spec.model_dump_json()} for name, spec in specs.items()]
    folder = checkpoint_dir.absolute() / run
    if tune.Tuner.can_restore(str(folder)):
        return tune.Tuner.restore(str(folder), trainable=trainable, resume_errored=True)
    return tune.Tuner(
        trainable,
        param_space={"member": tune.grid_search(members)},
        tune_config=tune.TuneConfig(
            reuse_actors=True, trial_dirname_creator=_member_name, trial_name_creator=_member_name
        ),
        run_config=tune.RunConfig(
            name=run,
            storage_path=str(checkpoint_dir.absolute()),
            failure_config=tune.FailureConfig(max_failures=_RESTARTS),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            callbacks=[_TuneProgress(log)],
            verbose=0,
        ),
    )


def _member_name(trial: Any) -> str:
    return str(trial.config["member"]["name"])


class _Runs:
    """Names, data and results of the runs over one dataset."""

    def __init__(self, store: ObjectStore, dataset: DatasetVersion, folder: Path) -> None:
        self._store, self._dataset, self._folder = store, dataset, folder
        self._lineage: Lineage = describe_lineage(_LINEAGE)
        folder.mkdir(parents=True, exist_ok=True)

    def identity(self, name: str, spec: PolicySpec, *more: int) -> str:
        """Equal data, spec, code and machine: the same run."""
        known = [name, self._dataset.version, spec.digest(), self._lineage.digest(), *more]
        return hashlib.sha256(canonical_json(known)).hexdigest()[:12]

    def load(self, specs: list[PolicySpec]) -> TrainingData:
        for spec in specs:
            if spec.frame != self._dataset.spec.frame or not set(spec.axes) <= set(self._dataset.axes):
                raise TrainingError(
                    f"{spec.recipe}: expected frames {self._dataset.spec.frame} and axes of {self._dataset.axes}, "
                    f"got {spec.frame} and {spec.axes}; make the spec from the dataset (recipes.default_members)"
                )
        vocabulary = self._dataset.vocabulary
        return TrainingData(
            training=stack(load_split(self._store, self._dataset, "train"), vocabulary),
            validation=stack(load_split(self._store, self._dataset, "validation"), vocabulary),
            vocabulary=vocabulary,
        )

    def open_log(self, run: str) -> ProgressLog:
        path = self._folder.absolute() / f"{run}.progress"
        path.unlink(missing_ok=True)
        return ProgressLog(path)

    def finished(self, name: str, spec: PolicySpec, workers: int = 1) -> TrainedPolicy | None:
        """What an earlier call gave, if its weights are still in the store."""
        path = self._result(name, spec, workers)
        try:
            policy = TrainedPolicy.parse(path.read_bytes(), source=str(path))
        except FileNotFoundError:
            return None
        except InvalidDocumentError as error:
            _log.warning("%s; it is trained again", error)
            return None
        return policy if self._store.stat(policy.weights.bucket, policy.weights.key) else None

    def finish(self, name: str, spec: PolicySpec, checkpoint: Any, workers: int = 1) -> TrainedPolicy:
        """Keep the best weights and remember the result."""
        with checkpoint.as_directory() as folder:
            state = read_checkpoint(Path(folder) / CHECKPOINT, run_digest(spec, self._dataset.vocabulary))
        policy = TrainedPolicy(
            name=name,
            spec=spec,
            vocabulary=self._dataset.vocabulary,
            weights=save_weights(self._store, state.best),
            dataset=self._dataset.version,
            curve=tuple(state.curve),
            best_epoch=state.best_epoch,
            lineage=self._lineage,
            workers=workers,
        )
        path = self._result(name, spec, workers)
        write_durably(path, policy.canonical_json())
        return policy

    def clear(self, run: str) -> None:
        """A finished run's state is of no more use."""
        shutil.rmtree(self._folder / run, ignore_errors=True)
        (self._folder / f"{run}.progress").unlink(missing_ok=True)

    def _result(self, name: str, spec: PolicySpec, workers: int) -> Path:
        several = (workers,) if workers > 1 else ()
        return self._folder / f"{name}-{self.identity(name, spec, *several)}.json"
