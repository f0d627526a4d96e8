"""A person takes a release back: after its rollout is complete, or in the middle of it; killed in between; below the
floor. Real repository, real agents.
"""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from components.contracts import ObjectRef, Settings, TrainingPlan
from components.contracts.errors import PromotionError
from components.promotion import (
    advance_with,
    enrol_robot,
    find_incumbent,
    order_rollback,
    plan_rollback,
    read_rollout,
    release,
    revoke_robot,
    show_robot,
)
from components.storage import FolderStore
from tests.faults.fleet_world import World, in_child, kill_me
from tests.reports import make_ensemble, make_report

ROBOTS = ("robot-1", "robot-2", "robot-3")
PLAN = TrainingPlan(soak_trials=2)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, robots=ROBOTS)


def offer(world: World, settings: Settings, tag: str) -> str:
    return release(world.store, settings, world.package(tag=tag), make_ensemble(), make_report(), PLAN).plan.release


def complete(world: World, settings: Settings, tag: str) -> str:
    """A release that every robot drives and that is the incumbent."""
    name = offer(world, settings, tag)
    while any(state.status == "running" for state in advance_with(world.store, world.repository)):
        tick(world)
    assert incumbent(world) == name
    return name


def tick(world: World) -> list[str | None]:
    return [world.tick(robot) for robot in ROBOTS]


def incumbent(world: World) -> str | None:
    found = find_incumbent(world.store)
    return found.release.name if found else None


def status(world: World, name: str) -> str:
    state = read_rollout(world.store, name)
    assert state is not None
    return state.status


def roll_back(world: World, **options: object) -> tuple[str | None, list[str], tuple[str, ...]]:
    plan = plan_rollback(world.store, world.repository, **options)  # type: ignore[arg-type]
    order_rollback(world.store, world.repository, plan.target)
    return plan.target.name if plan.target else None, [change.robot for change in plan.changes], plan.ends


def test_completed_release_goes_back_to_the_one_before_with_a_higher_number(world: World, settings: Settings) -> None:
    complete(world, settings, "one")
    complete(world, settings, "two")
    before = {robot: world.repository.assignment(robot).seq for robot in ROBOTS}
    assert roll_back(world) == ("r0001", list(ROBOTS), ("r0002",))
    assert tick(world) == ["r0001"] * 3
    after = {robot: world.repository.assignment(robot) for robot in ROBOTS}
    assert {robot: item.seq for robot, item in after.items()} == {robot: seq + 1 for robot, seq in before.items()}
    assert (status(world, "r0002"), incumbent(world)) == ("rolled-back", "r0001")
    assert advance_with(world.store, world.repository) == []
    assert "rolled back to r0001 by a person" in show_robot(world.store, settings, "robot-1").reason
    third = complete(world, settings, "three")
    assert (third, tick(world)) == ("r0003", ["r0003"] * 3)


def test_rollout_under_way_is_halted_and_reaches_nobody_else(world: World, settings: Settings) -> None:
    complete(world, settings, "one")
    offer(world, settings, "two")
    assert world.tick("robot-1") == "r0002"
    assert roll_back(world) == ("r0001", ["robot-1"], ("r0002",))
    assert tick(world) == ["r0001"] * 3
    assert advance_with(world.store, world.repository) == []
    assert (status(world, "r0002"), incumbent(world)) == ("rolled-back", "r0001")
    assert {report["attempted"] for robot in ROBOTS[1:] for report in world.reports(robot)} == {"r0001"}


def test_release_that_is_named_may_be_older_and_twice_is_once(world: World, settings: Settings) -> None:
    for tag in ("one", "two", "three"):
        complete(world, settings, tag)
    assert roll_back(world)[0] == "r0002"
    assert roll_back(world, to="r0001") == ("r0001", list(ROBOTS), ("r0003",))
    assert (tick(world), incumbent(world)) == (["r0001"] * 3, "r0001")
    with pytest.raises(PromotionError, match=r"no release before r0001.*--safe-stop"):
        plan_rollback(world.store, world.repository)
    assert roll_back(world, safe_stop=True)[0] is None
    assert (tick(world), incumbent(world)) == ([None] * 3, None)
    with pytest.raises(PromotionError, match="no robot that is assigned one"):
        plan_rollback(world.store, world.repository)


def test_what_cannot_be_gone_back_to_is_refused_before_anything_changes(world: World, settings: Settings) -> None:
    with pytest.raises(PromotionError, match="no robot that is assigned one"):
        plan_rollback(world.store, world.repository)
    complete(world, settings, "one")
    complete(world, settings, "two")
    roll_back(world)
    complete(world, settings, "three")
    with pytest.raises(PromotionError, match="r0002 was itself taken back"):
        plan_rollback(world.store, world.repository, to="r0002")
    with pytest.raises(PromotionError, match="not older"):
        plan_rollback(world.store, world.repository, to="r0003")
    with pytest.raises(PromotionError, match=r"r9 is none; there are r0001, r0002, r0003"):
        plan_rollback(world.store, world.repository, to="r9")
    world.repository.raise_floor(2)
    with pytest.raises(PromotionError, match="security floor is 2"):
        plan_rollback(world.store, world.repository)
    assert tick(world) == ["r0003"] * 3


def test_revoked_robot_and_one_of_other_hardware_are_named_for_what_they_are(world: World, settings: Settings) -> None:
    complete(world, settings, "one")
    revoke_robot(world.store, "robot-3")
    enrol_robot(world.store, world.repository, "robot-2", world.home("robot-2"), hardware="jetson")
    both = settings.model_copy(update={"release_hardware": ("simulated", "jetson")})
    release(world.store, both, world.package(tag="two"), make_ensemble(), make_report(), PLAN)
    world.tick("robot-1")
    advance_with(world.store, world.repository)
    plan = plan_rollback(world.store, world.repository)
    assert [(change.robot, change.before) for change in plan.changes] == [("robot-1", "r0002"), ("robot-2", "r0002")]
    assert [bool(change.note) for change in plan.changes] == [False, True]
    assert "r0001 is for simulated, this robot is jetson" in plan.changes[1].note


def test_robot_that_was_assigned_by_hand_goes_back_too(world: World, settings: Settings) -> None:
    complete(world, settings, "one")
    by_hand = world.release("by-hand", tag="two")
    world.repository.assign("robot-2", by_hand, deployment="d1")
    assert world.tick("robot-2") == "by-hand"
    assert roll_back(world, to="r0001") == ("r0001", ["robot-2"], ())
    assert tick(world) == ["r0001"] * 3


class KilledAfter(FolderStore):
    """A store whose process is killed when it is about to write what a test names."""

    def __init__(self, root: Path, doomed: Callable[[str, str, bytes], bool]) -> None:
        super().__init__(root)
        self._doomed = doomed

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> ObjectRef:
        if self._doomed(bucket, key, data):
            kill_me()
        return super().put(bucket, key, data, if_absent=if_absent)


WRITES: dict[str, Callable[[str, str, bytes], bool]] = {
    "before the rollout is saved": lambda _bucket, key, _data: key == "rollouts/r0003.json",
    "before robots are assigned": lambda bucket, key, _data: bucket == "releases" and "assign/" in key,
    "before the incumbent changes": lambda _bucket, key, _data: key == "promoted.json",
    "before the end is saved": lambda _bucket, key, data: (
        key == "rollouts/r0003.json" and json.loads(data)["status"] == "rolled-back"
    ),
}


@pytest.mark.parametrize("doomed", WRITES.values(), ids=WRITES)
def test_order_that_is_killed_anywhere_is_finished_by_the_next_step(
    world: World, settings: Settings, doomed: Callable[[str, str, bytes], bool]
) -> None:
    for tag in ("one", "two", "three"):
        complete(world, settings, tag)
    target = plan_rollback(world.store, world.repository, to="r0001").target
    store = KilledAfter(world.store.root, doomed)
    code = in_child(lambda: order_rollback(store, world.publisher(store=store), target))
    assert code == -signal.SIGKILL
    advance_with(world.store, world.repository)
    assert (tick(world), incumbent(world)) == (["r0001"] * 3, "r0001")
    assert status(world, "r0003") == "rolled-back"
