"""The rollout's pure steps, and the whole way with three agents."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from components.contracts import Phase, RobotReport, RolloutPlan, RolloutState
from components.contracts.errors import PromotionError
from components.promotion import (
    abort_rollout,
    advance_with,
    begin,
    demanded_success,
    enrol_robot,
    fleet,
    plan_rollout,
    read_rollout,
    revoke_robot,
    rollouts,
    start_rollout,
    step,
)
from tests.faults.fleet_world import World

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=2)


def plan(robots: int = 40, **terms: Any) -> RolloutPlan:
    names = tuple(f"robot-{number}" for number in range(robots))
    return plan_rollout("d", ("r2", 2), names, previous=("r1", 1), soak_trials=2, timeout_s=3600, **terms)


def says(robot: str, state: str = "IDLE", *, successes: int = 2, trials: int = 2, seq: int = 1) -> RobotReport:
    return RobotReport(
        robot=robot, sent_at=NOW, deployment="d", release="r2" if state == "IDLE" else "r1", attempted="r2", seq=seq,
        state=state, reason="because", trials=trials, successes=successes, p50_ms=1, p99_ms=2, provider="cpu",
    )  # fmt: skip


def run(state: RolloutState, reports: dict[str, RobotReport], now: datetime = NOW) -> RolloutState:
    """Step, assigning at once, until nothing is assigned any more."""
    while True:
        taken = step(state, reports, now)
        state = taken.state.model_copy(
            update={
                "assigned": (*taken.state.assigned, *taken.assign),
                "seqs": taken.state.seqs | dict.fromkeys(taken.assign, 1),
            }
        )
        if not taken.assign:
            return state


def good(robots: tuple[str, ...]) -> dict[str, RobotReport]:
    return {robot: says(robot) for robot in robots}


def test_large_fleet_goes_canary_5_25_100_percent() -> None:
    rollout = plan(40)
    assert [len(rollout.reach(index)) for index in range(len(rollout.phases))] == [1, 2, 10, 40]
    state = begin(rollout, NOW)
    for size in (1, 2, 10, 40):
        state = run(state, good(rollout.robots[: size - 1]))
        assert len(state.assigned) == size
    assert run(state, good(rollout.robots)).status == "completed"


def test_small_fleets_get_one_canary_and_the_rest() -> None:
    assert [len(plan(3).reach(index)) for index in range(len(plan(3).phases))] == [1, 3]
    assert len(plan(1).phases) == 1


def test_later_phase_bears_few_failures_and_halts_on_more() -> None:
    rollout = plan(40)
    state = run(begin(rollout, NOW), good(rollout.robots[:39]))
    assert state.status == "running"
    one = good(rollout.robots) | {"robot-39": says("robot-39", "QUARANTINE")}
    assert run(state, one).status == "completed"
    many = good(rollout.robots) | {f"robot-{n}": says(f"robot-{n}", "QUARANTINE") for n in (36, 37, 38)}
    halted = run(state, many)
    assert halted.status == "halted"
    assert "because" in halted.reason


@pytest.mark.parametrize("state", ["QUARANTINE", "REJECTED", "ROLLBACK", "IDLE"])
def test_robot_that_failed_once_has_failed_whatever_it_reports_later(state: str) -> None:
    rollout = plan(40, min_success=0.6)
    before = run(begin(rollout, NOW), good(rollout.robots[:38]))
    failed = run(before, good(rollout.robots[:38]) | {"robot-39": says("robot-39", state, successes=0)})
    assert (failed.status, failed.failed) == ("running", ("robot-39",))
    for later in (good(rollout.robots), good(rollout.robots[:39])):
        done = run(failed, later)
        assert (done.status, done.failed) == ("completed", ("robot-39",))
        assert "robot-39" not in done.committed
    paused = failed.model_copy(update={"status": "paused"})
    resumed = step(paused, good(rollout.robots), NOW).state.model_copy(update={"status": "running"})
    assert run(resumed, good(rollout.robots)).failed == ("robot-39",)


def test_robot_in_doubt_pauses_and_a_failure_halts_nevertheless() -> None:
    rollout = plan(3)
    state = run(begin(rollout, NOW), {})
    doubts = {"robot-0": "its newest report cannot be read"}
    paused = step(state, good(rollout.robots), NOW, doubts).state
    assert (paused.status, "robot-0: its newest report cannot be read" in paused.reason) == ("paused", True)
    assert step(state, good(rollout.robots), NOW, {"robot-2": "not assigned yet"}).state.status != "paused"
    assert step(state, {"robot-0": says("robot-0", "QUARANTINE")}, NOW, doubts).state.status == "halted"
    assert step(paused, {"robot-0": says("robot-0", "QUARANTINE")}, LATER).state.status == "halted"
    assert step(paused, good(rollout.robots), LATER).state == paused


def test_low_success_of_a_robot_is_a_failure() -> None:
    rollout = plan(3, min_success=0.6)
    assert run(begin(rollout, NOW), {"robot-0": says("robot-0", successes=1)}).status == "halted"


def test_missing_figures_are_inconclusive() -> None:
    state = run(begin(plan(3), NOW), {"robot-0": says("robot-0", trials=0, successes=0)})
    assert state.status == "paused"
    assert "no figures" in state.reason


@pytest.mark.parametrize(
    ("expected", "trials", "demanded"), [(0.0, 4, 0), (0.3, 4, 0), (0.7, 4, 0.25), (0.95, 4, 0.5), (1.0, 4, 1.0)]
)
def test_success_that_is_demanded_is_rarely_missed_by_a_policy_as_good_as_proven(
    expected: float, trials: int, demanded: float
) -> None:
    assert demanded_success(expected, trials) == demanded


def test_report_about_an_earlier_assignment_does_not_count() -> None:
    state = run(begin(plan(3), NOW), {})
    state = state.model_copy(update={"seqs": {"robot-0": 7}})
    assert run(state, {"robot-0": says("robot-0", seq=6)}).committed == ()
    assert run(state, {"robot-0": says("robot-0", seq=7)}).committed == ("robot-0",)


def test_phase_of_which_nobody_is_heard_pauses() -> None:
    rollout = plan(3)
    state = run(begin(rollout, NOW), good(rollout.robots[:1]))
    assert state.phase == 1
    assert run(state, good(rollout.robots[:1]), LATER).status == "paused"


@pytest.mark.parametrize(
    "terms",
    [
        {"phases": ({"robots": 1}, {"robots": 1})},
        {"phases": ({"robots": 1},)},
        {"phases": ({"robots": 1, "max_failures": 1}, {"share": 1.0})},
        {"phases": ({"robots": 1, "share": 0.5}, {"share": 1.0})},
        {"robots": ("robot-1", "robot-1", "robot-2")},
        {"previous": "r1"},
    ],
)
def test_plan_that_cannot_work_cannot_be_built(terms: dict[str, Any]) -> None:
    soak = {"name": "phase", "soak_trials": 1, "min_success": 0.5, "max_failures": 0, "timeout_s": 1}
    document = {
        "deployment": "d", "release": "r2", "number": 2, "previous": None, "previous_number": None,
        "robots": ("robot-1", "robot-2", "robot-3"), "phases": ({"robots": 1}, {"share": 1.0}),
    } | terms  # fmt: skip
    document["phases"] = [soak | phase for phase in document["phases"]]
    with pytest.raises(ValidationError):
        RolloutPlan.model_validate(document)


def test_phase_has_exactly_one_size() -> None:
    with pytest.raises(ValidationError, match="either share or robots"):
        Phase(name="p", soak_trials=1, min_success=0, max_failures=0, timeout_s=1)


ROBOTS = ("robot-1", "robot-2", "robot-3")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, robots=ROBOTS)


def open_rollout(world: World, **said: Any) -> str:
    release = world.release(**said)
    start_rollout(
        world.store, plan_rollout(release.name, (release.name, release.number), ROBOTS, previous=None, soak_trials=2)
    )
    return release.name


def test_good_release_goes_over_one_canary_to_all_three_robots(world: World) -> None:
    name = open_rollout(world, tag="one")
    reached = []
    while (state := advance_with(world.store, world.repository)[0]).status == "running":
        reached.append(len(state.assigned))
        for robot in ROBOTS:
            world.tick(robot)
    assert state.status == "completed"
    assert sorted(set(reached)) == [1, 3]
    assert [world.drives(robot) for robot in ROBOTS] == [name] * 3
    assert advance_with(world.store, world.repository) == []


def test_step_that_is_taken_twice_changes_nothing(world: World) -> None:
    open_rollout(world, tag="one")
    first = advance_with(world.store, world.repository)
    before = world.repository.assignment("robot-1")
    saved = first[0].model_copy(update={"assigned": (), "seqs": {}})
    world.store.put("models", f"rollouts/{saved.plan.deployment}.json", saved.canonical_json())
    again = advance_with(world.store, world.repository)
    assert again[0].assigned == first[0].assigned == ("robot-1",)
    assert world.repository.assignment("robot-1") == before


def test_newer_rollout_of_the_same_robots_supersedes_the_open_one(world: World) -> None:
    first = open_rollout(world, tag="one")
    second = open_rollout(world, tag="two")
    assert [state.status for state in rollouts(world.store)] == ["superseded", "running"]
    assert read_rollout(world.store, first).reason == f"superseded by {second}"


def test_rollout_of_that_name_is_returned_as_it_is(world: World) -> None:
    open_rollout(world, tag="one")
    (state,) = advance_with(world.store, world.repository)
    assert start_rollout(world.store, state.plan) == state


def test_aborted_rollout_takes_every_reached_robot_back(world: World) -> None:
    name = open_rollout(world, tag="one")
    advance_with(world.store, world.repository)
    assert world.tick() == name
    assert abort_rollout(world.store, world.repository, name).status == "rolled-back"
    assert world.tick() is None
    with pytest.raises(PromotionError, match="expected an open rollout"):
        abort_rollout(world.store, world.repository, name)


def test_robot_that_is_not_enrolled_gets_no_rollout(world: World) -> None:
    with pytest.raises(PromotionError, match="robot-9"):
        start_rollout(world.store, plan_rollout("d", ("r1", 1), ("robot-9",), previous=None))


@pytest.mark.parametrize("robots", [2, 3, 40])
def test_next_robot_takes_the_place_of_a_revoked_canary_that_is_silent(robots: int) -> None:
    rollout = plan(robots)
    state = run(begin(rollout, NOW), {})
    assert state.assigned == ("robot-0",)
    taken = step(state, {}, LATER, revoked={"robot-0"})
    assert taken.assign == ("robot-1",)
    assert taken.state.phase_started_at == LATER
    state = taken.state.model_copy(update={"assigned": ("robot-0", "robot-1"), "seqs": {"robot-1": 1}})
    assert step(state, {}, LATER, revoked={"robot-0"}).state.reason == "canary: waits for robot-1"
    reports = good(rollout.robots[1:])
    while (taken := step(state, reports, LATER, revoked={"robot-0"})).assign:
        assert "robot-0" not in taken.assign
        seqs = taken.state.seqs | dict.fromkeys(taken.assign, 1)
        state = taken.state.model_copy(update={"assigned": (*taken.state.assigned, *taken.assign), "seqs": seqs})
    assert (taken.state.status, len(taken.state.committed)) == ("completed", robots - 1)


def test_failure_of_a_robot_that_is_revoked_afterwards_has_happened() -> None:
    state = run(begin(plan(), NOW), {}).model_copy(update={"failed": ("robot-0",)})
    assert step(state, {}, NOW, revoked={"robot-0"}).state.status == "halted"


def test_plan_whose_robots_were_all_revoked_pauses() -> None:
    rollout = plan(2)
    taken = step(run(begin(rollout, NOW), {}), {}, NOW, revoked=set(rollout.robots))
    assert (taken.state.status, taken.assign) == ("paused", ())
    assert "every robot of the plan was revoked" in taken.state.reason


def test_rollout_goes_on_once_its_silent_canary_is_revoked(world: World) -> None:
    release = world.release("r2", tag="two")
    start_rollout(
        world.store, plan_rollout("d", ("r2", release.number), ("robot-1", "robot-2", "robot-3"), previous=None)
    )
    assert advance_with(world.store, world.repository)[0].assigned == ("robot-1",)
    revoke_robot(world.store, "robot-1")
    state = advance_with(world.store, world.repository)[0]
    assert (state.status, state.assigned) == ("running", ("robot-1", "robot-2"))
    for _ in range(4):
        for robot in ("robot-2", "robot-3"):
            world.tick(robot)
        state = (advance_with(world.store, world.repository) or [state])[0]
    assert (state.status, state.committed) == ("completed", ("robot-2", "robot-3"))


def test_revoked_robot_is_assigned_nothing(world: World) -> None:
    open_rollout(world, tag="one")
    revoke_robot(world.store, "robot-1")
    (state,) = advance_with(world.store, world.repository)
    assert state.assigned == ("robot-2",)
    assert world.repository.assignment("robot-1") is None
    with pytest.raises(PromotionError, match="was revoked"):
        enrol_robot(world.store, world.repository, "robot-1", world.home("robot-1"), hardware="simulated")


def test_enrolling_again_is_no_change_and_another_key_needs_a_word(world: World, tmp_path: Path) -> None:
    before = fleet(world.store)
    assert (
        enrol_robot(world.store, world.repository, "robot-1", world.home("robot-1"), hardware="simulated") == before[0]
    )
    with pytest.raises(PromotionError, match="another key"):
        enrol_robot(world.store, world.repository, "robot-1", tmp_path / "elsewhere", hardware="simulated")
    fresh = enrol_robot(
        world.store, world.repository, "robot-1", tmp_path / "elsewhere", hardware="simulated", replace=True
    )
    assert fresh.public_key != before[0].public_key
    assert len(json.dumps(fresh.public_key)) == 66
