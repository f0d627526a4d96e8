"""Row 52: several robots or rollouts fail at once, or the platform dies in between: the halt holds, and every robot
that was reached goes back.
"""

import signal
from pathlib import Path

import pytest

from components.contracts import ObjectRef, RolloutState
from components.contracts.errors import PackageError, PromotionError
from components.promotion import (
    abort_rollout,
    advance_with,
    plan_rollout,
    read_rollout,
    resume_rollout,
    rollouts,
    start_rollout,
)
from components.storage import FolderStore
from tests.faults.fleet_world import LightBench, World, in_child, kill_me

ROBOTS = ("robot-1", "robot-2", "robot-3", "robot-4")
FAULT = "non-finite action"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Four robots drive r1."""
    world = World(tmp_path, robots=ROBOTS)
    world.repository.assign_all(ROBOTS, world.release("r1", tag="one"), deployment="d0", trials=1)
    assert [world.tick(robot) for robot in ROBOTS] == ["r1"] * 4
    return world


def roll_out(world: World, name: str, robots: tuple[str, ...] = ROBOTS, *, previous: str = "r1") -> None:
    number = next(item.number for item in world.repository.releases() if item.name == name)
    plan = plan_rollout(
        f"{name}-to-{len(robots)}-{robots[0]}", (name, number), robots, previous=(previous, 1), soak_trials=2,
        timeout_s=3600,
    )  # fmt: skip
    start_rollout(world.store, plan, now=world.clock.now)


def advance(world: World) -> list[RolloutState]:
    return advance_with(world.store, world.repository, now=world.clock.now)


def assigned(world: World) -> dict[str, str | None]:
    return {robot: world.repository.assignment(robot).release for robot in ROBOTS}


def statuses(world: World) -> dict[str, str]:
    return {state.plan.deployment: state.status for state in rollouts(world.store)}


def reach_the_fleet(world: World) -> None:
    """`bad` is good to the canary, and every robot is assigned it."""
    world.release("bad", tag="two", fails=[1])
    roll_out(world, "bad")
    advance(world)
    world.tick("robot-1")
    assert advance(world)[0].assigned == ROBOTS


def fail(world: World, *robots: str) -> None:
    """They refuse the release."""
    for robot in robots:
        world.tick(robot, bench=FailingBench())
        assert world.reports(robot)[-1]["state"] == "QUARANTINE"


class FailingBench(LightBench):
    """A machine on which nothing can be built."""

    def build(self, package: Path) -> None:
        raise PackageError("no memory")


def test_row_52_two_robots_of_a_phase_fail_in_one_pass_and_all_four_go_back(world: World) -> None:
    reach_the_fleet(world)
    fail(world, "robot-2", "robot-3")
    (state,) = advance(world)

    assert (state.status, state.failed) == ("rolled-back", ("robot-2", "robot-3"))
    assert assigned(world) == dict.fromkeys(ROBOTS, "r1")
    assert advance(world) == []
    assert assigned(world) == dict.fromkeys(ROBOTS, "r1")
    assert [world.tick(robot) for robot in ROBOTS] == ["r1"] * 4


def test_row_52_two_rollouts_fail_in_one_pass_and_both_go_back(world: World) -> None:
    world.release("bad", tag="two", fault=FAULT)
    roll_out(world, "bad", ROBOTS[:2])
    roll_out(world, "bad", ROBOTS[2:])
    advance(world)
    assert assigned(world) == {"robot-1": "bad", "robot-2": "r1", "robot-3": "bad", "robot-4": "r1"}
    world.tick("robot-1")
    world.tick("robot-3")

    assert [state.status for state in advance(world)] == ["rolled-back"] * 2
    assert assigned(world) == dict.fromkeys(ROBOTS, "r1")


def test_row_52_rollout_that_cannot_go_back_holds_no_other_up_and_assigns_nothing(world: World) -> None:
    world.release("bad", tag="two", fault=FAULT)
    roll_out(world, "bad", ROBOTS[:2], previous="never-signed")
    roll_out(world, "bad", ROBOTS[2:])
    advance(world)
    world.tick("robot-1")
    world.tick("robot-3")

    for _ in range(2):
        with pytest.raises(PromotionError, match="never-signed"):
            advance(world)
        assert statuses(world) == {"bad-to-2-robot-1": "halted", "bad-to-2-robot-3": "rolled-back"}
        assert assigned(world) == {"robot-1": "bad", "robot-2": "r1", "robot-3": "r1", "robot-4": "r1"}


def test_row_52_rollout_document_that_cannot_be_read_holds_no_halt_up(world: World) -> None:
    world.release("bad", tag="two", fault=FAULT)
    roll_out(world, "bad")
    advance(world)
    world.tick("robot-1")
    world.store.put("models", "rollouts/another.json", b"\xff")

    with pytest.raises(Exception, match=r"rollouts/another\.json"):
        advance(world)
    assert read_rollout(world.store, "bad-to-4-robot-1").status == "rolled-back"
    assert assigned(world) == dict.fromkeys(ROBOTS, "r1")


class KillingStore(FolderStore):
    """Its process is killed when it is about to write for the `at`-th time; the repository's claims are not counted."""

    def __init__(self, root: Path, at: int) -> None:
        super().__init__(root)
        self.left = at

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> ObjectRef:
        self.left -= "/claims/" not in key
        if not self.left:
            kill_me()
        return super().put(bucket, key, data, if_absent=if_absent)


def test_row_52_platform_killed_at_any_write_while_it_halts_and_every_robot_goes_back(world: World) -> None:
    reach_the_fleet(world)
    fail(world, "robot-2", "robot-3")
    killed = 0
    for number in range(1, 40):

        def work(at: int = number) -> None:
            store = KillingStore(world.store.root, at)
            advance_with(store, world.publisher(store=store, lease_s=0.5), now=world.clock.now)

        status = in_child(work)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        killed += 1
        assert set(assigned(world).values()) in ({"bad"}, {"r1"})

    assert killed > 5
    assert statuses(world) == {"bad-to-4-robot-1": "rolled-back"}
    assert assigned(world) == dict.fromkeys(ROBOTS, "r1")
    assert advance(world) == []


def test_row_52_robots_that_a_killed_pass_assigned_go_back_too(world: World) -> None:
    """The pass was killed between signing the assignments and saving the rollout."""
    world.release("bad", tag="two", fault=FAULT)
    roll_out(world, "bad")
    (state,) = advance(world)
    release = next(item for item in world.repository.releases() if item.name == "bad")
    world.repository.assign_all(ROBOTS[1:], release, deployment=state.plan.deployment, trials=2, min_success=0.25)
    world.tick("robot-1")

    assert [state.status for state in advance(world)] == ["rolled-back"]
    assert assigned(world) == dict.fromkeys(ROBOTS, "r1")


def test_row_52_halt_outlives_a_process_that_saves_what_it_read_before(world: World) -> None:
    reach_the_fleet(world)
    stale = rollouts(world.store)[0]
    assert abort_rollout(world.store, world.repository, stale.plan.deployment).status == "rolled-back"
    for status in ("running", "paused", "completed", "superseded"):
        late = stale.model_copy(update={"status": status, "assigned": stale.assigned[:1]})
        world.store.put("models", f"rollouts/{stale.plan.deployment}.json", late.canonical_json())
        with pytest.raises(PromotionError, match="is halted"):
            resume_rollout(world.store, stale.plan.deployment)
        assert [state.status for state in advance(world)] == ["rolled-back"]
        assert assigned(world) == dict.fromkeys(ROBOTS, "r1")


def test_row_52_newer_rollout_takes_no_halt_back(world: World) -> None:
    """A person aborted, and the process was killed before it rolled back: no report says so."""
    reach_the_fleet(world)
    world.release("next", tag="three")
    state = rollouts(world.store)[0]
    halted = state.model_copy(update={"status": "halted", "reason": "aborted by a person"})
    world.store.put("models", f"rollouts/{state.plan.deployment}.json", halted.canonical_json())
    roll_out(world, "next")
    for _ in range(2):
        advance(world)
        assert statuses(world) == {"bad-to-4-robot-1": "rolled-back", "next-to-4-robot-1": "running"}
        assert assigned(world) == {"robot-1": "next", "robot-2": "r1", "robot-3": "r1", "robot-4": "r1"}


def test_row_52_robots_of_a_superseded_rollout_go_back_when_they_fail(world: World) -> None:
    reach_the_fleet(world)
    world.release("next", tag="three")
    roll_out(world, "next")
    advance(world)
    assert statuses(world)["bad-to-4-robot-1"] == "superseded"
    assert assigned(world) == {"robot-1": "next", "robot-2": "bad", "robot-3": "bad", "robot-4": "bad"}
    fail(world, "robot-3")
    advance(world)

    assert statuses(world) == {"bad-to-4-robot-1": "rolled-back", "next-to-4-robot-1": "running"}
    assert assigned(world) == {"robot-1": "next", "robot-2": "r1", "robot-3": "r1", "robot-4": "r1"}


def test_row_52_robot_that_fails_while_its_rollout_is_paused_halts_it(world: World) -> None:
    reach_the_fleet(world)
    world.store.put("reports", "robots/robot-1/00000002-99999999.json", b"junk")
    assert [state.status for state in advance(world)] == ["paused"]
    fail(world, "robot-4")

    assert [state.status for state in advance(world)] == ["rolled-back"]
    assert assigned(world) == dict.fromkeys(ROBOTS, "r1")
