"""Rows 26 to 28: a rollout whose canary fails, says nothing, or whose plan cannot be read."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from components.contracts import Release, RolloutState
from components.contracts.errors import PromotionError
from components.promotion import advance_with, plan_rollout, read_plan, resume_rollout, rollouts, start_rollout
from tests.faults.fleet_world import World

ROBOTS = ("robot-1", "robot-2", "robot-3")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three robots drive r1."""
    world = World(tmp_path, robots=ROBOTS)
    release = world.release("r1", tag="one")
    world.repository.assign_all(ROBOTS, release, deployment="d0", trials=1)
    assert [world.tick(robot) for robot in ROBOTS] == ["r1"] * 3
    return world


def roll_out(world: World, release: Release, *, previous: tuple[str, int] | None = ("r1", 1)) -> None:
    plan = plan_rollout(
        release.name, (release.name, release.number), ROBOTS, previous=previous, soak_trials=2, timeout_s=3600
    )
    start_rollout(world.store, plan, now=world.clock.now)


def advance(world: World) -> RolloutState:
    (state,) = advance_with(world.store, world.repository, now=world.clock.now)
    return state


def test_row_26_failing_canary_halts_rolls_back_and_the_others_never_see_it(world: World) -> None:
    roll_out(world, world.release("bad", tag="two", fault="non-finite action"))
    for _ in range(4):
        states = advance_with(world.store, world.repository, now=world.clock.now)
        drives = [world.tick(robot) for robot in ROBOTS]
        if not states:
            break
    (state,) = rollouts(world.store)
    assert state.status == "rolled-back"
    assert "non-finite action" in state.reason
    assert drives == ["r1"] * 3
    assert [world.repository.assignment(robot).release for robot in ROBOTS] == ["r1"] * 3
    for robot in ROBOTS[1:]:
        assert "bad" not in {report["attempted"] for report in world.reports(robot)}
    assert world.repository.assignment("robot-1").seq == 3


def test_row_26_canary_without_a_predecessor_goes_back_to_the_safe_stop(world: World) -> None:
    roll_out(world, world.release("r2", tag="two"), previous=None)
    advance(world)
    assert world.tick() == "r2"
    world.repository.assign("robot-1", None, deployment="stop")
    assert world.tick() is None


def test_row_27_silent_canary_is_inconclusive_and_never_promoted(world: World) -> None:
    roll_out(world, world.release("r2", tag="two"))
    assert advance(world).status == "running"
    world.clock.pass_by(seconds=3601)
    state = advance(world)
    assert (state.status, state.assigned) == ("paused", ("robot-1",))
    assert "Inconclusive" in state.reason
    world.clock.pass_by(days=2)
    assert advance(world).status == "paused"
    assert [world.tick(robot) for robot in ROBOTS] == ["r2", "r1", "r1"]
    resume_rollout(world.store, "r2", now=world.clock.now)
    assert advance(world).assigned == ROBOTS


def test_row_27_canary_that_hears_but_does_not_finish_in_time_has_failed(world: World) -> None:
    roll_out(world, world.release("r2", tag="two"))
    advance(world)
    (world.home("robot-1") / "moving").touch()
    world.tick()
    assert advance(world).status == "running"
    world.clock.pass_by(seconds=3601)
    assert advance(world).status == "rolled-back"
    world.tick()
    (world.home("robot-1") / "moving").unlink()
    assert world.tick() == "r1"
    assert "r2" not in {report["release"] for report in world.reports()}


def test_row_27_forged_report_of_a_canary_does_not_count(world: World) -> None:
    roll_out(world, world.release("bad", tag="two", fault="non-finite action"))
    advance(world)
    good = next(report for report in world.reports("robot-2") if report["state"] == "IDLE")
    forged = good | {"robot": "robot-1", "deployment": "bad", "release": "bad", "seq": 2, "trials": 9, "successes": 9}
    document = {"report": forged | {"count": 99}, "signature": "0" * 128}
    world.store.put("reports", "robots/robot-1/00000002-00000099.json", json.dumps(document).encode())
    state = advance(world)
    assert (state.status, state.committed) == ("paused", ())
    assert "robot-1: its newest report, number 99, is not signed by the key of robot-1" in state.reason


@pytest.mark.parametrize("threshold", ["soon", "80 %", "NaN", -0.1, 1.5, None])
def test_row_28_unreadable_threshold_is_refused_at_creation(world: World, threshold: object) -> None:
    plan = plan_rollout("r1-again", ("r1", 1), ROBOTS, previous=None)
    document = json.loads(plan.canonical_json())
    document["phases"][0]["min_success"] = threshold
    with pytest.raises(PromotionError, match="min_success"):
        read_plan(json.dumps(document))
    with pytest.raises(PromotionError, match="min_success"):
        plan_rollout("r1-again", ("r1", 1), ROBOTS, previous=None, min_success=threshold)  # type: ignore[arg-type]
    assert rollouts(world.store) == []


def test_offline_robot_is_pending_and_takes_the_release_when_it_is_back(world: World) -> None:
    roll_out(world, world.release("r2", tag="two"))
    advance(world)
    world.tick("robot-1")
    advance(world)
    world.tick("robot-2")
    assert advance(world).status == "running"
    world.clock.now += timedelta(seconds=3601)
    state = advance(world)
    assert (state.status, state.committed) == ("completed", ("robot-1", "robot-2"))
    assert "pending: robot-3" in state.reason
    assert world.tick("robot-3") == "r2"
