"""Row 43: the object store is killed in mid-flow, and is away for a while; the flow waits, goes on and finishes.

`DROVER_TEST_OUTAGE_S=60` makes the longest outage the whole minute of the fault matrix. By default it is longer than a
client of the store waits by itself.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from components import ingest
from components.contracts import DatasetSpec, FrameSpec, RunSummary, TrainingPlan
from components.promotion import open_repository, rollouts
from flows._store import PATIENCE_S
from tests.faults.flow_world import FlowWorld, HoldBefore, flow_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

LONG_S = float(os.environ.get("DROVER_TEST_OUTAGE_S", "20"))
SHORT_S = 1.0
BEYOND_LEASE_S = 6.0
"""Longer than a publisher has for writing what it has claimed: half of 10 s."""
SPEC = DatasetSpec(frame=FrameSpec(width=16, height=9))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowWorld]:
    with flow_world(tmp_path_factory.mktemp("outages")) as world:
        yield world


@pytest.fixture(autouse=True)
def _empty(world: FlowWorld) -> None:
    world.empty()


def ingest_episodes() -> None:
    from flows.ingest_episodes import ingest_episodes

    ingest_episodes()


def train_and_promote() -> None:
    from flows.train_and_promote import train_and_promote

    train_and_promote(SPEC)


def run_through_outages(world: FlowWorld, work: Callable[[], None], outages: Mapping[str, float]) -> None:
    """The store is killed just before the first request like each of these, and is away for so many seconds."""
    ours, theirs = multiprocessing.Pipe()
    process = world.start(work, HoldBefore(tuple(outages), theirs))
    theirs.close()
    left = dict(outages)
    while left:
        try:
            request = ours.recv()
        except EOFError:
            pytest.fail(f"{work.__name__} ended before {', '.join(left)}")
        world.kill_store()
        ours.send("go on")
        time.sleep(left.pop(request))  # the fault itself
        world.start_store()
        world.expect_nothing_half_written()
    process.join(300)
    assert process.exitcode == 0


def test_row_43_ingest_waits_for_the_store_and_settles_every_upload_once(world: FlowWorld) -> None:
    sent = [world.upload(number) for number in range(3)]
    run_through_outages(
        world,
        ingest_episodes,
        {
            r"GET /inbox/robot": SHORT_S,
            r"PUT /episodes/\w+\.h5": LONG_S,
            r"PUT /receipts/": SHORT_S,
            r"PUT /models/runs/latest-ingest": SHORT_S,
        },
    )
    store = world.store
    assert sorted(record.file.sha256 for record in ingest.records(store)) == sorted(sent)
    assert len(list(store.list("receipts"))) == len(sent)
    assert list(store.list("inbox")) == list(store.list("quarantine")) == []


def test_row_43_promotion_waits_for_the_store_between_its_stages_and_inside_of_them(world: FlowWorld) -> None:
    world.admit(range(16))
    world.remember_proven_policy(SPEC, TrainingPlan())
    run_through_outages(
        world,
        train_and_promote,
        {
            r"GET /episodes/": SHORT_S,
            r"PUT /datasets/shards/": SHORT_S,
            r"PUT /models/stages/dataset/": LONG_S,
            r"GET /models/stages/package/": SHORT_S,
            r"PUT /releases/metadata/\d+\.releases": BEYOND_LEASE_S,
            r"PUT /models/rollouts/": SHORT_S,
            r"PUT /models/runs/latest": SHORT_S,
        },
    )
    summary = RunSummary.parse(world.store.get("models", "runs/latest.json"), source="the flow's summary")
    assert summary.status == "promoted"
    assert [stage.name for stage in summary.stages if stage.name == "dataset" and not stage.skipped] == ["dataset"]
    repository = open_repository(world.store, world.settings)
    assert [release.name for release in repository.releases()] == ["r0001"]
    (state,) = rollouts(world.store)
    assert (state.status, state.assigned, state.seqs) == ("running", ("robot-0",), {"robot-0": 1})


def test_row_43_patience_of_flows_outlasts_a_minute() -> None:
    assert PATIENCE_S > 60
