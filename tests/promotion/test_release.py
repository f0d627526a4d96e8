"""From a package that passed the gate to the promoted pointer, through the doors that the flows use."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from components.contracts import UNKNOWN_HARDWARE, EnrolledRobot, EnrolmentRequest, Release, Settings, TrainingPlan
from components.contracts.errors import PromotionError
from components.ingest import register_robot
from components.promotion import (
    advance,
    enrol_robot,
    find_incumbent,
    open_repository,
    release,
    rollouts,
    start_rollout,
)
from components.storage import FolderStore
from tests.faults.fleet_world import World
from tests.keys import public_key
from tests.reports import make_ensemble, make_report

ROBOTS = ("robot-1", "robot-2", "robot-3")
KEY, OTHER_KEY = public_key(1), public_key(2)


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


def test_robot_that_failed_just_before_the_next_release_has_its_rollout_rolled_back(
    world: World, settings: Settings
) -> None:
    bad = world.package(tag="one", fault="non-finite action")
    release(world.store, settings, bad, make_ensemble(), make_report(), TrainingPlan())
    world.tick("robot-1")
    state = release(world.store, settings, world.package(tag="two"), make_ensemble(), make_report(), TrainingPlan())
    assert {found.plan.deployment: found.status for found in rollouts(world.store)} == {
        "r0001": "rolled-back", state.plan.release: "running",
    }  # fmt: skip
    assert state.assigned == ROBOTS[:1]


def test_robot_that_joined_without_its_hardware_only_uploads(world: World, settings: Settings) -> None:
    register_robot(world.store, "uploader", KEY, hardware=UNKNOWN_HARDWARE)
    state = release(world.store, settings, world.package(), make_ensemble(), make_report(), TrainingPlan())
    assert state.plan.robots == ROBOTS


def test_source_without_hardware_is_in_no_rollout_whatever_hardware_is_named(world: World, settings: Settings) -> None:
    register_robot(world.store, "imported", KEY, hardware=UNKNOWN_HARDWARE)
    named = settings.model_copy(update={"release_hardware": ("simulated", UNKNOWN_HARDWARE)})
    state = release(world.store, named, world.package(), make_ensemble(), make_report(), TrainingPlan())
    assert state.plan.robots == ROBOTS
    plan = state.plan.model_copy(update={"deployment": "by-hand", "robots": ("imported", "robot-1")})
    with pytest.raises(PromotionError, match="imported are not; enrol them first"):
        start_rollout(world.store, plan)


def test_source_takes_releases_once_it_is_enrolled_with_its_hardware(world: World, settings: Settings) -> None:
    home = world.home("robot-4")
    enrol_robot(world.store, world.repository, "robot-4", home, hardware=UNKNOWN_HARDWARE)
    before = release(world.store, settings, world.package(tag="one"), make_ensemble(), make_report(), TrainingPlan())
    enrol_robot(world.store, world.repository, "robot-4", home, hardware="simulated")
    after = release(world.store, settings, world.package(tag="two"), make_ensemble(), make_report(), TrainingPlan())
    assert (before.plan.robots, after.plan.robots) == (ROBOTS, (*ROBOTS, "robot-4"))


def test_release_is_for_the_hardware_that_an_operator_named_whatever_robots_claim(
    world: World, settings: Settings
) -> None:
    register_robot(world.store, "robot-0", KEY, hardware="evil-board")
    register_robot(world.store, "robot-4", OTHER_KEY, hardware="jetson-orin-nx-16gb")
    state = release(world.store, settings, world.package(), make_ensemble(), make_report(), TrainingPlan())
    assert state.plan.robots == ROBOTS
    assert [item.hardware for item in world.repository.releases()] == [("simulated",)]

    named = settings.model_copy(update={"release_hardware": ("simulated", "jetson-orin-nx-16gb")})
    state = release(world.store, named, world.package(), make_ensemble(), make_report(), TrainingPlan())
    assert (state.plan.robots, state.plan.number) == ((*ROBOTS, "robot-4"), 2)
    assert world.repository.releases()[-1].hardware == ("simulated", "jetson-orin-nx-16gb")


def test_hardware_is_named_in_the_environment_with_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROVER_RELEASE_HARDWARE", "simulated, jetson-orin-nx-16gb")
    assert Settings(home=tmp_path).release_hardware == ("simulated", "jetson-orin-nx-16gb")
    assert Settings(home=tmp_path, release_hardware=["a"]).release_hardware == ("a",)


def test_robot_whose_entry_is_damaged_holds_no_other_up(world: World, settings: Settings) -> None:
    world.store.put("models", "fleet/robot-0.json", b"\xff")
    state = release(world.store, settings, world.package(), make_ensemble(), make_report(), TrainingPlan())
    assert (state.plan.robots, state.assigned) == (ROBOTS, ROBOTS[:1])


def test_plan_that_names_a_robot_of_other_hardware_is_refused(world: World, settings: Settings) -> None:
    register_robot(world.store, "robot-0", KEY, hardware="evil-board")
    plan = TrainingPlan(rollout_robots=("robot-0", "robot-1"))
    with pytest.raises(PromotionError, match="robot-0 are not; others: evil-board"):
        release(world.store, settings, world.package(), make_ensemble(), make_report(), plan)
    assert world.repository.releases() == []


@pytest.mark.parametrize("hardware", ["Jetson", "a b", "[red]", "\x1b[31m", "", "x" * 65, "a\n"])
def test_hardware_that_is_no_id_is_refused_wherever_it_is_new(world: World, hardware: str) -> None:
    with pytest.raises(PromotionError, match="hardware id"):
        register_robot(world.store, "robot-9", KEY, hardware=hardware)
    with pytest.raises(PromotionError, match="hardware id"):
        world.repository.publish_release(world.package(), hardware=(hardware,))
    with pytest.raises(ValidationError):
        EnrolmentRequest(robot="robot-9", token="t" * 16, public_key=KEY, hardware=hardware)
    with pytest.raises(ValidationError):
        Settings(release_hardware=(hardware,))


def test_documents_with_free_text_for_hardware_are_read(world: World) -> None:
    facts = {"robot": "robot-9", "public_key": KEY, "enrolled_at": "2026-01-01T00:00:00Z"}
    entry = EnrolledRobot.parse(json.dumps(facts | {"hardware": "Jetson Orin NX (16 GB)"}), source="an older one")
    assert entry.hardware == "jetson-orin-nx-16-gb"
    release = {"name": "r1", "number": 1, "package": "a" * 64, "created_at": "2026-01-01T00:00:00Z"}
    found = Release.parse(json.dumps(release | {"hardware": ["\x1b[31m", "simulated"]}), source="an older one")
    assert found.hardware == ("31m", "simulated")


def test_release_to_nobody_is_refused(tmp_path: Path, settings: Settings) -> None:
    world = World(tmp_path, robots=())
    with pytest.raises(PromotionError, match="expected at least one enrolled robot"):
        release(world.store, settings, world.package(), make_ensemble(), make_report(), TrainingPlan())


def test_first_call_makes_demo_keys_and_the_repository(tmp_path: Path, settings: Settings) -> None:
    store = FolderStore(tmp_path / "store")
    assert advance(store, settings) == []
    repository = open_repository(store, settings)
    assert repository.keys.demo
    enrol_robot(store, repository, "robot-1", tmp_path / "homes" / "robot-1", hardware="simulated")
    assert (tmp_path / "homes" / "robot-1" / "root.json").read_bytes() == repository.root()
