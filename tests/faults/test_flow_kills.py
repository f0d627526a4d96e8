"""Row 42: a flow's process killed before any boundary of its stages; a rerun skips what is done and finishes.

The writes inside of a release are killed one by one in `test_release_kills`, those of settling in `tests/ingest`. Each
kill costs a process that loads Prefect: `DROVER_TEST_EVERY_BOUNDARY=1` kills at every boundary, by default at some.
"""

import os
import signal
from collections.abc import Iterator

import pytest
from prefect.client.orchestration import get_client

from components import ingest
from components.contracts import (
    DatasetSpec,
    FrameSpec,
    IngestSummary,
    RunSummary,
    SignedReceipt,
    TrainingPlan,
    TrainingSpec,
)
from components.policies import recipes
from components.promotion import open_repository, rollouts
from tests.faults.flow_world import ROBOTS, FlowWorld, KillBefore, as_prefects_client, flow_world

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

KILLED = -signal.SIGKILL
STAGES = ("dataset", "train", "tune", "ensemble", "evaluate", "package")
SPEC = DatasetSpec(frame=FrameSpec(width=16, height=9))
TINY = TrainingPlan(
    members={
        "tiny": recipes.compact_mlp(
            ("linear_x", "linear_y"), frame=SPEC.frame, features=8, hidden=8, instruction_features=4,
            training=TrainingSpec(epochs=2, batch_episodes=4),
        )
    },
    distributed={},
    trials=None,
)  # fmt: skip


def swept(boundaries: tuple[str, ...], step: int) -> tuple[str, ...]:
    """Every boundary where that is asked for, else one in `step` and the last."""
    if os.environ.get("DROVER_TEST_EVERY_BOUNDARY"):
        return boundaries
    return (*boundaries[:-1:step], boundaries[-1])


INGEST = (
    r"PUT /reports/checks/",  # inspected
    r"PUT /episodes/\w+\.h5",  # judged
    r"PUT /episodes/\w+\.json",
    r"PUT /receipts/",
    r"DELETE /inbox/",
    r"PUT /reports/checks/trend",  # settled, and the stage is over
    r"PUT /models/runs/latest-ingest",
)
TRAIN = (
    r"PUT /datasets/shards/",
    r"PUT /datasets/versions/",
    r"PUT /models/stages/dataset/",
    r"GET /models/stages/train/",
    r"PUT /models/stages/tune/",
    r"GET /models/stages/ensemble/",
    r"PUT /models/stages/ensemble/",
    r"PUT /reports/evaluations/\w+/report",
    r"PUT /models/stages/evaluate/",
    r"PUT /models/packages/",
    r"PUT /models/stages/package/",
    r"PUT /models/runs/latest",
)
RELEASE = (
    r"GET /models/stages/evaluate/",
    r"PUT /releases/metadata/1\.root",  # the gate has decided
    r"PUT /models/releases/",  # signed and published
    r"PUT /models/rollouts/",  # its evidence is kept
    r"PUT /releases/targets/assign/",  # the rollout is open
    r"PUT /models/runs/latest",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowWorld]:
    with flow_world(tmp_path_factory.mktemp("flows")) as world:
        yield world


@pytest.fixture(autouse=True)
def _empty(world: FlowWorld) -> None:
    world.empty()


def ingest_episodes() -> None:
    from flows.ingest_episodes import ingest_episodes

    ingest_episodes()


def train_tiny() -> None:
    from flows.train_and_promote import train_and_promote

    train_and_promote(SPEC, TINY)


def train_and_promote() -> None:
    from flows.train_and_promote import train_and_promote

    train_and_promote()


def summary(world: FlowWorld) -> RunSummary:
    return RunSummary.parse(world.store.get("models", "runs/latest.json"), source="the flow's summary")


def free_place(world: FlowWorld) -> None:
    """Of a killed run, which Prefect would free a minute later."""
    with as_prefects_client(world.prefect), get_client(sync_client=True) as client:
        client.delete_global_concurrency_limit_by_name("ingest-episodes")


def test_row_42_ingest_killed_at_each_boundary_settles_every_upload_once(world: FlowWorld) -> None:
    """Each run finds what the one before it left, and another upload; the last one waits for a killed one's place."""
    sent = []
    for number, request in enumerate(swept(INGEST, 2)):
        sent.append(world.upload(number))
        assert world.run(ingest_episodes, KillBefore(request)) == KILLED, request
        world.expect_nothing_half_written()
        if request != INGEST[-1]:
            free_place(world)
    sent.append(world.upload(len(sent)))
    assert world.run(ingest_episodes) == 0

    store = world.store
    assert sorted(record.file.sha256 for record in ingest.records(store)) == sorted(sent)
    receipts = [
        SignedReceipt.parse(store.get("receipts", info.key), source=info.key).receipt for info in store.list("receipts")
    ]
    assert sorted((receipt.sha256, receipt.status) for receipt in receipts) == [
        (item, "accepted") for item in sorted(sent)
    ]
    assert list(store.list("inbox")) == list(store.list("quarantine")) == []
    assert IngestSummary.parse(store.get("models", "runs/latest-ingest.json"), source="summary").receipts


def test_row_42_training_killed_at_each_boundary_repeats_no_stage_that_is_done(world: FlowWorld) -> None:
    world.admit(range(16))
    trained: set[int] = set()
    for request in swept(TRAIN, 3):
        assert world.run(train_tiny, KillBefore(request)) == KILLED, request
        world.expect_nothing_half_written()
        trained |= {path.stat().st_mtime_ns for path in (world.settings.home / "training").glob("*.json")}
    assert world.run(train_tiny) == 0

    found = summary(world)
    assert {stage.name for stage in found.stages if stage.skipped} == set(STAGES)
    assert len(trained) == 1, "it was trained again"
    made = [info.key.split("/")[1] for info in world.store.list("models", "stages/")]
    assert sorted(made) == sorted(STAGES)
    assert found.status == "refused"  # two epochs beat no baseline
    undisturbed = run_undisturbed(world, found)
    assert (undisturbed.dataset, undisturbed.ensemble, undisturbed.report, undisturbed.package.manifest) == (
        found.dataset, found.ensemble, found.report, found.package.manifest,
    )  # fmt: skip


def run_undisturbed(world: FlowWorld, killed: RunSummary) -> RunSummary:
    """From the beginning, but for the weights: how fast they were trained is written beside them."""
    results = {path: path.read_bytes() for path in (world.settings.home / "training").glob("*.json")}
    weights = [policy.weights for policy in killed.ensemble.members]
    kept = {ref: world.store.get(ref.bucket, ref.key) for ref in weights}
    world.empty()
    world.admit(range(16))
    for ref, data in kept.items():
        world.store.put(ref.bucket, ref.key, data)
    for path, data in results.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert world.run(train_tiny) == 0
    found = summary(world)
    assert not any(stage.skipped for stage in found.stages)
    return found


def test_row_42_promotion_killed_at_each_boundary_is_one_release_with_one_rollout(world: FlowWorld) -> None:
    world.admit(range(16))
    world.remember_proven_policy(DatasetSpec(), TrainingPlan())
    for request in swept(RELEASE, 2):
        assert world.run(train_and_promote, KillBefore(request)) == KILLED, request
    assert world.run(train_and_promote) == 0

    found = summary(world)
    assert found.status == "promoted"
    assert {stage.name for stage in found.stages if stage.skipped} == set(STAGES)
    repository = open_repository(world.store, world.settings)
    assert [(item.name, item.package) for item in repository.releases()] == [("r0001", found.package.sha256)]
    (state,) = rollouts(world.store)
    assert (state.plan.release, state.status, state.assigned) == ("r0001", "running", ("robot-0",))
    assert state.seqs == {"robot-0": 1}
    assert [assigned and assigned.release for assigned in map(repository.assignment, ROBOTS)] == ["r0001", None]
