"""Row 45: a robot's report is replaced by an older one, removed, or buried under junk, by whoever may write `reports`.

The store is written to directly, as with a key of the robots' from before they reported through the gateway.
"""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from components.contracts import ObjectRef, Release, RobotReport, RolloutState, Settings
from components.ingest import enrol_here, gateway_app, publish_receipt_key
from components.promotion import advance_with, hear, plan_rollout, resume_rollout, rollouts, start_rollout
from components.promotion import fleet as enrolled
from components.robot import PinnedReports, RobotIdentity, report_key
from components.storage import FolderStore
from tests.faults.fleet_world import DeadStore, StoreReports, World
from tests.faults.upload_world import wait_until
from tests.keys import public_key

ROBOTS = ("robot-1", "robot-2", "robot-3")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three robots drive r1; `bad`, which fails in its trials, is assigned to robot-1."""
    world = World(tmp_path, robots=ROBOTS)
    world.repository.assign_all(ROBOTS, world.release("r1", tag="one"), deployment="d0", trials=1)
    assert [world.tick(robot) for robot in ROBOTS] == ["r1"] * 3
    roll_out(world, world.release("bad", tag="two", fault="non-finite action"))
    assert advance(world).assigned == ("robot-1",)
    return world


def roll_out(world: World, release: Release) -> None:
    plan = plan_rollout(
        release.name, (release.name, release.number), ROBOTS, previous=("r1", 1), soak_trials=2, timeout_s=3600
    )
    start_rollout(world.store, plan, now=world.clock.now)


def advance(world: World) -> RolloutState:
    advance_with(world.store, world.repository, now=world.clock.now)
    (state,) = rollouts(world.store)
    return state


def keys(world: World, robot: str = "robot-1") -> list[str]:
    """Of this rollout's assignment, the oldest first."""
    return sorted(info.key for info in world.store.list("reports", f"robots/{robot}/00000002-"))


def says(world: World, robot: str = "robot-1", **fields: Any) -> None:
    """A report that the robot's own key signs, put where it belongs."""
    facts = {
        "robot": robot, "sent_at": world.clock.now, "deployment": "bad", "release": "bad", "attempted": "bad", "seq": 2,
        "state": "IDLE", "reason": "committed", "trials": 2, "successes": 2, "p50_ms": 1, "p99_ms": 2,
        "provider": "cpu",
    } | fields  # fmt: skip
    signed = RobotIdentity(world.home(robot)).sign(RobotReport.model_validate(facts))
    world.store.put("reports", report_key(signed.report), signed.canonical_json())


def assert_nobody_else_was_assigned(world: World) -> None:
    assert [world.repository.assignment(robot).release for robot in ROBOTS[1:]] == ["r1", "r1"]


def test_row_45_failure_is_found_under_any_number_of_junk_objects(world: World) -> None:
    world.tick()
    failure = world.store.get("reports", keys(world)[-1])
    assert b"QUARANTINE" in failure
    for number in range(210):
        world.store.put("reports", f"robots/robot-1/00000002-{10_000 + number:08d}.json", b"junk")
        world.store.put("reports", f"robots/robot-1/99999999-{number:08d}.json", failure)
        world.store.put("reports", f"robots/robot-1/zzz-{number}", b"{}")
    state = advance(world)

    assert (state.status, state.failed) == ("rolled-back", ("robot-1",))
    assert "non-finite action" in state.reason
    assert world.repository.assignment("robot-1").release == "r1"
    assert_nobody_else_was_assigned(world)


def test_row_45_success_that_junk_hides_pauses_until_a_person_sets_the_junk_aside(world: World) -> None:
    says(world, count=7)
    for number in range(300):
        world.store.put("reports", f"robots/robot-1/00000002-{10_000 + number:08d}.json", b"junk %d" % number)
    state = advance(world)
    assert (state.status, state.assigned) == ("paused", ("robot-1",))
    assert "Inconclusive, canary: robot-1: its newest report, number 10299, cannot be read" in state.reason
    assert advance(world).status == "paused"

    resume_rollout(world.store, "bad", now=world.clock.now)
    assert advance(world).assigned == ROBOTS
    assert keys(world) == ["robots/robot-1/00000002-00000007.json"]
    aside = [world.store.get("reports", info.key) for info in world.store.list("reports", "set-aside/robots/robot-1/")]
    assert sorted(aside) == sorted(b"junk %d" % number for number in range(300))


def test_row_45_failure_that_an_older_report_replaced_pauses_and_is_never_a_success(world: World) -> None:
    world.tick()
    older, *_, failure = keys(world)
    world.store.put("reports", failure, world.store.get("reports", older))
    state = advance(world)
    assert (state.status, state.assigned) == ("paused", ("robot-1",))
    assert "robot-1: its newest report" in state.reason
    assert older in state.reason
    assert_nobody_else_was_assigned(world)

    resume_rollout(world.store, "bad", now=world.clock.now)
    assert advance(world).status == "running"
    world.clock.pass_by(seconds=3601)
    assert advance(world).status == "rolled-back"
    assert_nobody_else_was_assigned(world)


def test_row_45_failure_that_was_heard_outlives_its_report_and_what_the_robot_says_later(world: World) -> None:
    world.tick()
    assert advance(world).status == "rolled-back"
    for key in keys(world):
        world.store.remove("reports", key)
    says(world, count=99)
    state = advance(world)

    assert (state.status, state.failed, state.committed) == ("rolled-back", ("robot-1",), ())
    assert world.repository.assignment("robot-1").release == "r1"
    assert_nobody_else_was_assigned(world)


def test_row_45_success_reported_after_a_failure_is_none(world: World) -> None:
    world.tick()
    says(world, count=1 + max(report["count"] for report in world.reports()))
    state = advance(world)

    assert (state.status, state.committed) == ("rolled-back", ())
    assert_nobody_else_was_assigned(world)


def test_row_45_of_two_outcomes_the_worse_counts(world: World) -> None:
    plan = plan_rollout("worse", ("bad", 2), ("robot-2",), previous=("r1", 1), soak_trials=2, min_success=0.5)
    start_rollout(world.store, plan, now=world.clock.now)
    advance_with(world.store, world.repository, now=world.clock.now)
    says(world, "robot-2", deployment="worse", count=8, successes=0)
    says(world, "robot-2", deployment="worse", count=9, successes=2)
    advance_with(world.store, world.repository, now=world.clock.now)

    assert {state.plan.deployment: state.status for state in rollouts(world.store)}["worse"] == "rolled-back"


def test_row_45_gap_in_the_robots_numbers_pauses_until_a_person_accepts_it(world: World) -> None:
    for count, state in ((5, "DOWNLOAD"), (6, "WAIT_SAFE"), (9, "IDLE")):
        says(world, count=count, state=state)
    state = advance(world)
    assert (state.status, state.assigned) == ("paused", ("robot-1",))
    assert "robot-1: expected its reports 7 to 8, found none" in state.reason

    resume_rollout(world.store, "bad", now=world.clock.now)
    assert advance(world).assigned == ROBOTS


def test_row_45_old_reports_put_again_change_nothing(world: World) -> None:
    world.tick("robot-1")
    before = {key: world.store.get("reports", key) for key in keys(world)}
    old = {info.key: world.store.get("reports", info.key) for info in world.store.list("reports", "robots/robot-1/")}
    for key, document in {**old, **before}.items():
        world.store.put("reports", key, document)
    assert advance(world).status == "rolled-back"


def test_row_45_numbers_are_compared_as_numbers(world: World) -> None:
    says(world, count=99_999_999, state="TRIAL")
    says(world, count=100_000_000)
    assert advance(world).assigned == ROBOTS


@pytest.mark.parametrize(
    "name",
    ["00000002-00000099.json.bak", "2-99.json", "00000002-00000099", "000000002-00000099.json",
     "٠٠٠٠٠٠٠٢-00000099.json", "00000002-00000099.json/x", "00000002--0000099.json"],
)  # fmt: skip
def test_row_45_object_that_no_report_can_be_named_like_is_passed_over(world: World, name: str) -> None:
    world.store.put("reports", f"robots/robot-1/{name}", b"junk")
    assert advance(world).status == "running"
    says(world, count=7)
    assert advance(world).assigned == ROBOTS


def test_row_45_object_too_large_for_a_report_is_not_read_and_pauses(world: World) -> None:
    says(world, count=7)
    world.store.put("reports", "robots/robot-1/00000002-00000008.json", b" " * 70_000)
    assert advance(world).status == "paused"


def test_row_45_report_of_another_assignment_number_is_nothing_to_this_one(world: World) -> None:
    says(world, count=50, seq=3)
    says(world, count=4, seq=1)
    says(world, count=5, state="QUARANTINE", deployment="of-a-repository-that-is-gone")
    assert advance(world).status == "running"


def test_old_reports_are_removed_and_those_that_a_rollout_needs_stay(world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr("components.promotion._reports.KEPT_REPORTS", 2)
    world.store.put("reports", "evaluations/x/report.json", b"{}")
    says(world, count=6, state="DOWNLOAD")
    before = keys(world)
    old = [info.key for info in world.store.list("reports", "robots/robot-1/00000001-")]
    advance(world)

    assert len(old) > 2
    assert [info.key for info in world.store.list("reports", "robots/robot-1/00000001-")] == old[-2:]
    assert keys(world) == before
    assert world.store.stat("reports", "evaluations/x/report.json")


def test_robot_whose_numbers_are_taken_goes_on_with_others_and_is_heard(world: World) -> None:
    taken = 1 + max(report["count"] for report in world.reports())
    for number in range(taken, taken + 5):
        world.store.put("reports", f"robots/robot-1/00000002-{number:08d}.json", b"of an earlier key of this robot")
    for _ in range(2):
        world.tick()
    states = [report["state"] for report in _signed(world)]

    assert "QUARANTINE" in states
    assert advance(world).status == "rolled-back"


def test_report_that_was_miswritten_stays_on_the_robot_and_is_sent_under_another_number(world: World) -> None:
    class Miswriting(FolderStore):
        """Flips a bit of the first failure that it writes."""

        def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> ObjectRef:
            if b'"QUARANTINE"' in data and not miswritten:
                miswritten.append(key)
                data = data.replace(b'"QUARANTINE"', b'"QUARANTINA"')
            return super().put(bucket, key, data, if_absent=if_absent)

    miswritten: list[str] = []
    store = Miswriting(world.store.root)
    for _ in range(2):
        world.tick(store=store)
    assert len(miswritten) == 1
    assert world.store.get("reports", miswritten[0]).count(b"QUARANTINA") == 1
    assert _signed(world)[-1]["state"] == "QUARANTINE"
    assert advance(world).status == "rolled-back"


def test_reports_wait_in_order_while_the_gateway_is_away(world: World) -> None:
    before = len(world.reports())
    world.tick(reports=StoreReports(DeadStore()))
    assert len(world.reports()) == before
    world.tick()
    counts = [report["count"] for report in world.reports()]
    assert counts == list(range(1, len(counts) + 1))
    assert (
        hear(world.store, enrolled(world.store), about={"robot-1": (2, "bad")}).latest["robot-1"].state == "QUARANTINE"
    )


def test_reports_of_a_robot_without_a_gateway_wait_until_it_is_pinned_to_one(world: World) -> None:
    """An earlier version's robot: it is enrolled, and has no pin. The gateway is real."""
    before = len(world.reports())
    world.tick(reports=PinnedReports(world.home("robot-1"), patience=0.1))
    assert len(world.reports()) == before
    server = uvicorn.Server(
        uvicorn.Config(gateway_app(world.store), host="127.0.0.1", port=0, log_level="critical")  # type: ignore[arg-type]
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        publish_receipt_key(world.store, public_key())
        enrol_here(world.store, Settings(gateway_url=url), "robot-1", world.home("robot-1"))
        world.tick(reports=PinnedReports(world.home("robot-1"), patience=5))
    finally:
        server.should_exit = True
        thread.join(10)
    assert advance(world).status == "rolled-back"


def _signed(world: World) -> list[dict[str, Any]]:
    documents = [world.store.get("reports", key) for key in keys(world)]
    return [json.loads(document)["report"] for document in documents if document.startswith(b"{")]
