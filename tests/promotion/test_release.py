"""From a package that passed the gate to the promoted pointer, through the doors that the flows use."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from components.contracts import UNKNOWN_HARDWARE, Settings, TrainingPlan
from components.contracts.errors import PromotionError
from components.ingest import register_robot
from components.promotion import advance, enrol_robot, find_incumbent, open_repository, release
from components.storage import FolderStore
from tests.faults.fleet_world import World
from tests.reports import make_ensemble, make_report

ROBOTS = ("robot-1", "robot-2", "robot-3")


def settle(world: World, settings: Settings) -> str:
    while (state := advance(world.store, settings)[0]).status == "running":
        for robot in ROBOTS:
            world.tick(robot)
    for robot in ROBOTS:
        world.tick(robot)
    return state.status


def test_release_assigns_the_canary_at_once_and_is_promoted_when_all_have_it(world: World, settings: Settings) -> None:
    package, ensemble, report = world.package(tag="one"), make_ensemble(), make_report(success=0.9)
    state = release(world.store, settings, package, ensemble, report, TrainingPlan())
    assert (state.assigned, state.plan.previous, state.plan.phases[0].min_success) == (("robot-1",), None, 0.25)
    assert find_incumbent(world.store) is None
    again = release(world.store, settings, package, ensemble, report, TrainingPlan())
    assert again == state.model_copy(update={"reason": again.reason})
    assert settle(world, settings) == "completed"
    incumbent = find_incumbent(world.store)
    assert incumbent is not None
    assert (incumbent.release.name, incumbent.package, incumbent.ensemble) == (state.plan.release, package, ensemble)
    done = release(world.store, settings, package, ensemble, report, TrainingPlan())
    assert done.status == "completed"


def test_next_release_names_the_promoted_one_to_go_back_to(world: World, settings: Settings) -> None:
    release(world.store, settings, world.package(tag="one"), make_ensemble(), make_report(), TrainingPlan())
    settle(world, settings)
    bad = world.package(tag="two", fault="non-finite action")
    state = release(world.store, settings, bad, make_ensemble(), make_report(), TrainingPlan())
    assert (state.plan.previous, state.plan.previous_number) == ("r0001", 1)
    assert settle(world, settings) == "rolled-back"
    assert [world.drives(robot) for robot in ROBOTS] == ["r0001"] * 3
    assert (promoted := find_incumbent(world.store)) is not None
    assert promoted.release.name == "r0001"


def test_robot_that_joined_without_its_hardware_only_uploads(world: World, settings: Settings) -> None:
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    register_robot(world.store, "uploader", key, hardware=UNKNOWN_HARDWARE)
    state = release(world.store, settings, world.package(), make_ensemble(), make_report(), TrainingPlan())
    assert state.plan.robots == ROBOTS


def test_release_to_nobody_is_refused(tmp_path: Path, settings: Settings) -> None:
    world = World(tmp_path, robots=())
    with pytest.raises(PromotionError, match="expected at least one enrolled robot"):
        release(world.store, settings, world.package(), make_ensemble(), make_report(), TrainingPlan())


def test_first_call_makes_demo_keys_and_the_repository(tmp_path: Path, settings: Settings) -> None:
    store = FolderStore(tmp_path / "store")
    assert advance(store, settings) == []
    repository = open_repository(store, settings)
    assert repository.keys.demo
    enrol_robot(store, repository, "robot-1", tmp_path / "homes" / "robot-1")
    assert (tmp_path / "homes" / "robot-1" / "root.json").read_bytes() == repository.root()
