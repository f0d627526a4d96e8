"""What a stage remembers: unchanged inputs are skipped, whoever runs it; changed ones are not."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness

from components.contracts import DatasetSpec, FrameSpec
from components.contracts.errors import DatasetError, StorageError
from components.storage import FolderStore
from flows._tasks import Stages, door, one_at_a_time


class Counted:
    """A stage in the shape of a Prefect task: a name, and a call."""

    name = "counted"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, spec: DatasetSpec, *_: object) -> FrameSpec:
        self.calls += 1
        return spec.frame


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    return Stages(FolderStore(tmp_path))


def test_a_stage_whose_inputs_are_unchanged_is_skipped_by_the_next_run(tmp_path: Path) -> None:
    stage, spec = Counted(), DatasetSpec(seed=1)

    first, second = Stages(FolderStore(tmp_path)), Stages(FolderStore(tmp_path))
    made = first.run(stage, FrameSpec, spec, [spec], {"a": None})  # type: ignore[arg-type]
    found = second.run(stage, FrameSpec, spec, [spec], {"a": None})  # type: ignore[arg-type]

    assert made == found == spec.frame
    assert stage.calls == 1
    assert [timing.skipped for timing in first.timings + second.timings] == [False, True]


def test_a_stage_with_another_input_runs(stages: Stages) -> None:
    stage = Counted()

    for seed in (1, 2):
        stages.run(stage, FrameSpec, DatasetSpec(seed=seed))  # type: ignore[arg-type]

    assert stage.calls == 2


def test_the_order_of_inputs_decides(stages: Stages) -> None:
    stage, one, two = Counted(), DatasetSpec(seed=1), DatasetSpec(seed=2)

    stages.run(stage, FrameSpec, one, [one, two])  # type: ignore[arg-type]
    stages.run(stage, FrameSpec, one, [two, one])  # type: ignore[arg-type]

    assert stage.calls == 2


def test_a_stage_that_fails_is_not_remembered(stages: Stages) -> None:
    stage = Counted()

    def fail(*_: object) -> FrameSpec:
        raise DatasetError("too few episodes")

    fail.name = "counted"  # type: ignore[attr-defined]
    with pytest.raises(DatasetError):
        stages.run(fail, FrameSpec, DatasetSpec())  # type: ignore[arg-type]
    stages.run(stage, FrameSpec, DatasetSpec())  # type: ignore[arg-type]

    assert stage.calls == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_door_is_tried_again_when_the_store_fails_and_not_when_the_input_is_bad() -> None:
    tries: list[str] = []

    @door("flaky", minutes=1)
    def flaky() -> str:
        tries.append("store")
        if len(tries) < 2:
            raise StorageError("the store is away")
        return "done"

    @door("bad", minutes=1)
    def bad() -> None:
        tries.append("bad")
        raise DatasetError("too few episodes")

    with prefect_test_harness(server_startup_timeout=150):
        assert flaky() == "done"
        with pytest.raises(DatasetError):
            bad()
    assert tries == ["store", "store", "bad"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_of_several_runs_one_is_inside() -> None:
    inside, most, done = [], [], []

    def run(number: int) -> None:
        with one_at_a_time("a-test"):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.2)  # long enough for another one to come in, if it could
            inside.remove(number)
        done.append(number)

    with prefect_test_harness(server_startup_timeout=150), ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(3)))
    assert sorted(done) == [0, 1, 2]
    assert most == [1, 1, 1]
