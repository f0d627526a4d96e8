"""Rows 20 to 25: the release itself is bad, or the moment is. No bad policy runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.robot import ChildTrials, TrialResult
from tests.faults.fleet_world import World

ME = "tests.faults.test_bad_policies"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Robot-1 drives r1."""
    world = World(tmp_path)
    world.assign(world.release("r1", tag="one"))
    assert world.tick() == "r1"
    return world


@pytest.mark.parametrize("failure", ["scores: expected within 0.001", "latency: expected p99 at most 300 ms"])
def test_rows_20_22_23_failed_self_test_is_not_activated(world: World, failure: str) -> None:
    world.assign(world.release("bad", tag="two", self_test=failure))
    driven: list[Path | None] = []
    assert world.tick(activated=driven.append) == "r1"
    assert driven == []
    assert world.reports()[-1]["state"] == "QUARANTINE"
    assert failure in world.reports()[-1]["reason"]


@pytest.mark.parametrize("fault", ["non-finite action", "action out of bounds"])
def test_row_21_impossible_action_stops_the_trial_and_rolls_back(world: World, fault: str) -> None:
    world.assign(world.release("bad", tag="two", fault=fault), trials=5)
    driven: list[Path | None] = []
    assert world.tick(activated=driven.append) == "r1"
    assert [folder.name if folder else None for folder in driven] == ["b", "a"]
    assert world.reports()[-1]["trials"] == 1
    assert fault in world.reports()[-1]["reason"]


def test_row_21_first_release_that_fails_leaves_the_safe_stop(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.assign(world.release("bad", fault="non-finite action"))
    assert world.tick() is None
    assert world.reports()[-1]["release"] is None


def test_low_success_rolls_back_as_soon_as_it_cannot_be_reached(world: World) -> None:
    world.assign(world.release("bad", tag="two", fails=[0, 1, 2]), trials=4)
    assert world.tick() == "r1"
    assert world.reports()[-1]["trials"] == 3


def test_quarantined_release_is_rejected_when_it_is_assigned_again(world: World) -> None:
    bad = world.release("bad", tag="two", fault="non-finite action")
    world.assign(bad)
    world.tick()
    world.assign(bad, trials=3)
    assert world.tick() == "r1"
    assert world.reports()[-1]["state"] == "REJECTED"
    assert "quarantined" in world.reports()[-1]["reason"]


def test_row_24_activation_while_moving_waits_for_ever(world: World) -> None:
    (world.home("robot-1") / "moving").touch()
    world.assign(world.release("r2", tag="two"))
    for _ in range(10):
        assert world.tick() == "r1"
        world.clock.pass_by(days=365 / 10)
        world.repository.refresh()
    (world.home("robot-1") / "moving").unlink()
    assert world.tick() == "r2"


def test_row_24_newer_assignment_replaces_the_one_that_waits(world: World) -> None:
    (world.home("robot-1") / "moving").touch()
    world.assign(world.release("r2", tag="two"))
    world.tick()
    world.assign(world.release("r3", tag="three"))
    world.tick()
    (world.home("robot-1") / "moving").unlink()
    assert world.tick() == "r3"
    assert "r2" not in {report["release"] for report in world.reports()}


def test_row_25_crash_loop_in_trial_is_rolled_back_after_three_starts(world: World) -> None:
    world.assign(world.release("bad", tag="two", crash=True))
    assert world.tick() == "r1"
    assert "3 starts" in world.reports()[-1]["reason"]


def test_row_25_policy_process_that_dies_for_real_is_counted_and_rolled_back(world: World) -> None:
    world.assign(world.release("bad", tag="two"))
    assert world.tick(trials=ChildTrials(f"{ME}:die")) == "r1"
    assert "3 starts" in world.reports()[-1]["reason"]
    assert (world.home("robot-1") / "starts").read_text() == "xxx"


def test_row_25_policy_process_that_hangs_is_killed_and_rolled_back(world: World) -> None:
    world.assign(world.release("bad", tag="two"))
    assert world.tick(trials=ChildTrials(f"{ME}:hang", timeout_s=3)) == "r1"
    assert "none came" in world.reports()[-1]["reason"]


def test_trials_in_a_process_of_their_own_commit(world: World) -> None:
    world.assign(world.release("r2", tag="two"), trials=3)
    assert world.tick(trials=ChildTrials("tests.faults.fleet_world:light_trials")) == "r2"
    assert world.reports()[-1]["successes"] == 3


def test_trial_driver_that_is_not_there_is_refused_before_anything_runs() -> None:
    with pytest.raises(Exception, match="expected module:function"):
        ChildTrials("tests.faults.fleet_world:no_such_function")


def die(package: Path, *, trials: int, seed: int, sha256: str) -> Iterator[TrialResult]:
    """Counts its starts, drives one trial, and is gone as by a segmentation fault."""
    from tests.faults.fleet_world import kill_me

    with (package.parent.parent / "starts").open("a") as file:
        file.write("x")
    if seed == 0:
        yield TrialResult(success=True)
    kill_me()


def hang(package: Path, *, trials: int, seed: int, sha256: str) -> Iterator[TrialResult]:
    import threading

    threading.Event().wait()
    yield TrialResult(success=True)
