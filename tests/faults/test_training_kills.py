"""Row 41: a process that trains is killed in mid-run; the run ends with the bits of an undisturbed one."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from components.contracts import (
    DatasetVersion,
    EpochMetrics,
    PolicySpec,
    Settings,
    TrainedPolicy,
    TrainingSpec,
    canonical_json,
)
from components.datasets import load_split
from components.policies import recipes, save_weights
from components.storage import FolderStore
from components.training import train, train_members
from components.training._cluster import cluster
from components.training._data import TrainingData, stack
from components.training._loop import fit
from tests.training.conftest import make_world

pytestmark = [
    pytest.mark.long,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

EPOCHS = 100
"""Ray is told of the first one at once, so that the run is at work still when its worker is killed."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FolderStore, DatasetVersion]]:
    """With a Ray of its own."""
    folder = tmp_path_factory.mktemp("world")
    with cluster(Settings(home=folder), cpus=2):
        yield make_world(folder)


def spec_of(dataset: DatasetVersion) -> PolicySpec:
    """With dropout: the numbers that it draws have to be the same ones."""
    return recipes.compact_lstm(
        dataset.axes, frame=dataset.spec.frame, features=12, hidden=12, instruction_features=4, dropout=0.1,
        training=TrainingSpec(epochs=EPOCHS, patience=EPOCHS, batch_episodes=4, learning_rate=1e-2),
    )  # fmt: skip


class Killer:
    """Kills a worker when it is told of the first epoch, whose checkpoint is kept."""

    def __init__(self, process: str) -> None:
        self._process = process
        self.killed: list[int] = []
        self.epochs: list[int] = []

    def __call__(self, _name: str, metrics: EpochMetrics) -> None:
        self.epochs.append(metrics.epoch)
        if not self.killed:
            worker = self._workers()[-1]
            os.kill(worker, signal.SIGKILL)
            self.killed.append(worker)

    def _workers(self) -> list[int]:
        """Of our own Ray alone: raylet's children are our grandchildren."""
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                if self._process in " ".join(process.cmdline()):
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found


def undisturbed(world: tuple[FolderStore, DatasetVersion], folder: Path, workers: int) -> bytes:
    """Result of the plain loop in as many processes, without Ray."""
    context = multiprocessing.get_context("spawn")
    arguments = (*world, spec_of(world[1]), folder, workers)
    processes = [context.Process(target=fit_plainly, args=(rank, *arguments)) for rank in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * workers
    return (folder / "fitted").read_bytes()


def fit_plainly(  # noqa: PLR0917
    rank: int, store: FolderStore, dataset: DatasetVersion, spec: PolicySpec, folder: Path, workers: int
) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    train_split, validation = (
        stack(load_split(store, dataset, split), dataset.vocabulary) for split in ("train", "validation")
    )
    options = {}
    if workers > 1:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
        options["distribute"] = DistributedDataParallel
    fitted = fit(TrainingData(train_split, validation, dataset.vocabulary), spec, **options)
    if rank == 0:
        weights = save_weights(store, fitted.weights).sha256
        (folder / "fitted").write_bytes(figures(fitted.curve, fitted.best_epoch, weights))


def figures(curve: tuple[EpochMetrics, ...], best_epoch: int, weights: str) -> bytes:
    """All that a run gives but its speed."""
    losses = [[item.epoch, item.training_loss, item.validation_loss, item.validation_mae] for item in curve]
    return canonical_json([losses, best_epoch, weights])


def expect_the_same(policy: TrainedPolicy, killer: Killer, expected: bytes) -> None:
    assert killer.killed
    assert figures(policy.curve, policy.best_epoch, policy.weights.sha256) == expected
    assert max(killer.epochs.count(epoch) for epoch in killer.epochs) <= 2
    assert killer.epochs.count(0) == 1, "it began anew instead of going on"


def test_row_41_trial_whose_process_is_killed_ends_with_the_bits_of_an_undisturbed_run(
    world: tuple[FolderStore, DatasetVersion], tmp_path: Path
) -> None:
    store, dataset = world
    killer = Killer("ImplicitFunc")
    members = {"member": spec_of(dataset)}
    (policy,) = train_members(store, dataset, members, checkpoint_dir=tmp_path / "runs", progress=killer)
    expect_the_same(policy, killer, undisturbed(world, tmp_path, 1))


def test_row_41_one_of_two_workers_killed_ends_with_the_bits_of_an_undisturbed_run(
    world: tuple[FolderStore, DatasetVersion], tmp_path: Path
) -> None:
    store, dataset = world
    killer = Killer("RayTrainWorker")
    policy = train(
        store, dataset, spec_of(dataset), name="member", checkpoint_dir=tmp_path / "runs", workers=2, progress=killer
    )
    expect_the_same(policy, killer, undisturbed(world, tmp_path, 2))
    again = train(
        store, dataset, spec_of(dataset), name="member", checkpoint_dir=tmp_path / "runs", workers=2,
        progress=lambda *_: pytest.fail("trained again"),
    )  # fmt: skip
    assert again == policy
