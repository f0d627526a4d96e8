"""Runs on a real local Ray: trials side by side, what finished stays finished. Killed workers: `tests/faults`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import ray

from components.contracts import (
    DatasetVersion,
    EpochMetrics,
    PolicySpec,
    Settings,
    TrainedPolicy,
    TrainingSpec,
    describe_lineage,
)
from components.contracts.errors import TrainingError
from components.datasets import load_split
from components.policies import build_module, predict, recipes, save_weights
from components.storage import FolderStore
from components.training import train, train_members
from components.training._cluster import cluster
from components.training._data import TrainingData, stack
from components.training._loop import fit
from components.training._runs import _LINEAGE, _Runs
from tests.infra.stranger import ask, family, listening

World = tuple[FolderStore, DatasetVersion]

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.timeout(1200),
]


def spec_of(dataset: DatasetVersion, head: str = "lstm", **training: object) -> PolicySpec:
    recipe = recipes.compact_lstm if head == "lstm" else recipes.compact_mlp
    settings = {"epochs": 4, "batch_episodes": 4, "learning_rate": 1e-2} | training
    return recipe(
        dataset.axes, frame=dataset.spec.frame, features=12, hidden=12, instruction_features=4,
        training=TrainingSpec.model_validate(settings),
    )  # fmt: skip


@pytest.fixture(scope="module")
def local_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with cluster(Settings(home=tmp_path_factory.mktemp("home")), cpus=2):
        yield


@pytest.mark.usefixtures("local_ray")
def test_trials_give_what_the_plain_loop_gives_and_are_not_repeated(world: World, tmp_path: Path) -> None:
    store, dataset = world
    specs = {"lstm": spec_of(dataset), "mlp": spec_of(dataset, "mlp")}
    seen: list[tuple[str, EpochMetrics]] = []
    folder = tmp_path / "checkpoints"
    policies = train_members(
        store, dataset, specs, checkpoint_dir=folder, progress=lambda name, metrics: seen.append((name, metrics))
    )
    assert [policy.name for policy in policies] == ["lstm", "mlp"]
    parts = [stack(load_split(store, dataset, split), dataset.vocabulary) for split in ("train", "validation")]
    alone = fit(TrainingData(parts[0], parts[1], dataset.vocabulary), specs["lstm"])
    assert [item.validation_loss for item in policies[0].curve] == pytest.approx(
        [item.validation_loss for item in alone.curve], rel=1e-4
    )
    for policy in policies:
        assert [metrics for name, metrics in seen if name == policy.name] == list(policy.curve)
        assert predict(store, policy, load_split(store, dataset, "test"))
    again = train_members(
        store, dataset, specs, checkpoint_dir=folder, progress=lambda *_: pytest.fail("trained again")
    )
    assert again == policies
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".json"]


@pytest.mark.usefixtures("local_ray")
def test_own_ray_answers_nobody_without_its_token() -> None:
    address = ray.get_runtime_context().gcs_address
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refusal:
        channel.unary_unary("/ray.rpc.InternalKVGcsService/InternalKVKeys")(b"", timeout=20)

    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
    metrics = b"GET /metrics HTTP/1.0\r\n\r\n"
    assert not any(b"# HELP" in ask(port, metrics) for port in listening(family(os.getpid())))


@pytest.mark.usefixtures("local_ray")
def test_a_spec_of_another_dataset_is_refused_before_anything_starts(world: World, tmp_path: Path) -> None:
    store, dataset = world
    spec = recipes.compact_mlp(("linear_x", "angular_z"), frame=dataset.spec.frame)
    with pytest.raises(TrainingError, match="make the spec from the dataset"):
        train(store, dataset, spec, name="m", checkpoint_dir=tmp_path)


def test_weights_that_left_the_store_are_trained_again(world: World, tmp_path: Path) -> None:
    store, dataset = world
    spec, runs = spec_of(dataset), _Runs(store, dataset, tmp_path)
    policy = TrainedPolicy(
        name="m", spec=spec, vocabulary=dataset.vocabulary, dataset=dataset.version, curve=(), best_epoch=0,
        weights=save_weights(store, build_module(spec, dataset.vocabulary).state_dict()),
        lineage=describe_lineage(_LINEAGE),
    )  # fmt: skip
    (tmp_path / f"m-{runs.identity('m', spec)}.json").write_bytes(policy.canonical_json())
    assert runs.finished("m", spec) == policy
    assert runs.finished("m", spec_of(dataset, epochs=9)) is None
    store.remove("models", policy.weights.key)
    assert runs.finished("m", spec) is None


CUT_OFF = """
import os, sys
from pathlib import Path
from components.contracts import PolicySpec, Settings
from components.datasets import open_dataset
from components.storage import FolderStore
from components.training import train_members
root, version, spec = Path(sys.argv[1]), sys.argv[2], PolicySpec.model_validate_json(sys.argv[3])
store = FolderStore(root / "store")
def die_once_a_snapshot_names_a_checkpoint(name, metrics):
    snapshots = (root / "checkpoints").rglob("experiment_state-*.json")
    if metrics.epoch >= 5 and any("checkpoint_0" in path.read_text() for path in snapshots):
        os._exit(9)
train_members(
    store, open_dataset(store, version), {"member": spec}, checkpoint_dir=root / "checkpoints",
    settings=Settings(home=root), progress=die_once_a_snapshot_names_a_checkpoint,
)
"""


@pytest.mark.slow
def test_trials_go_on_where_a_killed_process_left_them(world: World, tmp_path: Path) -> None:
    store, dataset = world
    spec = spec_of(dataset, epochs=400, patience=400)
    command = [sys.executable, "-c", CUT_OFF, str(tmp_path), dataset.version, spec.model_dump_json()]
    assert subprocess.run(command, check=False, capture_output=True, timeout=600).returncode == 9
    assert list((tmp_path / "checkpoints").rglob("checkpoint.safetensors"))
    seen: list[int] = []
    with cluster(Settings(home=tmp_path), cpus=1):
        (policy,) = train_members(
            store,
            dataset,
            {"member": spec},
            checkpoint_dir=tmp_path / "checkpoints",
            progress=lambda name, metrics: seen.append(metrics.epoch),
        )
    assert [item.epoch for item in policy.curve] == list(range(400))
    assert min(seen) > 0
