"""Why a robot has not updated: each reason from bare facts, and the whole way with agents and the command."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from components.contracts import (
    UNKNOWN_HARDWARE,
    Assignment,
    EnrolledRobot,
    RobotReport,
    RolloutState,
    Settings,
)
from components.ingest import revoke_robot
from components.promotion import (
    RobotFacts,
    advance_with,
    begin,
    enrol_robot,
    explain_robot,
    plan_rollout,
    rollouts,
    show_robot,
    start_rollout,
)
from components.promotion._standing import RobotState
from tests.faults.fleet_world import NOW, World
from tests.keys import public_key

ROBOTS = ("robot-1", "robot-2", "robot-3")
ENTRY = EnrolledRobot(robot="robot-2", public_key=public_key(1), hardware="simulated", enrolled_at=NOW)


def rollout(number: int = 2, status: str = "running", **changes: Any) -> RolloutState:
    name = f"r{number}"
    plan = plan_rollout(name, (name, number), changes.pop("robots", ROBOTS), previous=None)
    return begin(plan, NOW).model_copy(update={"status": status, **changes})


def assigned(release: str | None = "r2", *, seq: int = 3, deployment: str = "r2") -> Assignment:
    number = int(release[1:]) if release else 0
    return Assignment(robot="robot-2", deployment=deployment, release=release, number=number, seq=seq, floor=0)


def said(state: str = "IDLE", release: str | None = "r2", *, seq: int = 3, reason: str = "") -> RobotReport:
    return RobotReport(
        robot="robot-2", sent_at=NOW, deployment="r2", release=release, attempted="r2", seq=seq, state=state,
        reason=reason, trials=4, successes=1, p50_ms=None, p99_ms=None, provider=None, count=7,
    )  # fmt: skip


KNOWN = RobotFacts(robot="robot-2", now=NOW, hardware=("simulated",), entry=ENTRY, reported_at=NOW)
REACHED = replace(KNOWN, assignment=assigned(), rollouts=(rollout(assigned=ROBOTS[:2]),))
OLD = replace(KNOWN, assignment=assigned("r1", deployment="r1"), report=said(release="r1"))


def entry(**changes: Any) -> EnrolledRobot:
    return ENTRY.model_copy(update=changes)


def reported(*reports: RobotReport, **facts: Any) -> RobotFacts:
    """The last of these reports is the newest, the first one the outcome."""
    return replace(REACHED, report=reports[-1], outcome=reports[0], **facts)


CASES: dict[str, tuple[RobotFacts, RobotState, str, str]] = {
    "never enrolled": (replace(KNOWN, entry=None), "not-enrolled", "ever enrolled", "drover robot enrol robot-2"),
    "damaged entry": (replace(KNOWN, entry=None, damage="no key"), "damaged-entry", "no key", "robot-2 --replace"),
    "revoked": (replace(REACHED, entry=entry(revoked=True)), "revoked", "was revoked", "invite robot-2 --replace"),
    "source": (replace(KNOWN, entry=entry(hardware=UNKNOWN_HARDWARE)), "no-hardware", "uploads", "--hardware ID"),
    "hardware": (
        replace(KNOWN, entry=entry(hardware="jetson")), "hardware-not-named", "hardware jetson is not named",
        "DROVER_RELEASE_HARDWARE=simulated,jetson",
    ),
    "nothing released": (KNOWN, "no-release", "nothing was released", "train-and-promote"),
    "enrolled later": (
        replace(KNOWN, rollouts=(rollout(status="completed", robots=("robot-1",)),)), "enrolled-later",
        "planned for: robot-1", "next release",
    ),
    "paused": (
        replace(OLD, rollouts=(rollout(status="paused", reason="Inconclusive, canary"),)), "rollout-paused",
        "Inconclusive, canary", "drover rollout resume r2",
    ),
    "next phase": (
        replace(OLD, rollouts=(rollout(reason="canary: waits for robot-1"),)), "phase-not-reached",
        "in phase canary and has not reached it: canary: waits for robot-1", "follows",
    ),
    "halted before it": (
        replace(OLD, rollouts=(rollout(status="halted", reason="robot-1 failed"),)), "rollout-over", "robot-1 failed",
        "next release",
    ),
    "taken back before it": (
        replace(KNOWN, rollouts=(rollout(status="rolled-back", reason="robot-1 failed"),)), "rollout-over",
        "rolled-back: robot-1 failed", "next release",
    ),
    "never reported": (REACHED, "never-reported", "has reported nothing", "drover robot agent robot-2"),
    "offline": (reported(said(seq=2, release="r1")), "offline", f"{NOW:%Y-%m-%d %H:%M} UTC", "reaches the gateway"),
    "doubt": (reported(said(), doubt="number 9 is missing"), "reports-unreadable", "number 9", "rollout resume r2"),
    "self-test": (
        reported(said("QUARANTINE", "r1", reason="SELFTEST: golden")), "failed", "(QUARANTINE): SELFTEST", "mend",
    ),
    "failed before it went on": (
        reported(said("REJECTED", "r1", reason="for jetson"), said("IDLE", "r1")), "failed", "for jetson", "mend",
    ),
    "few successes": (
        reported(said(), rollouts=(rollout(assigned=ROBOTS[:2], failed=("robot-2",)),)), "failed",
        "1 of 4 trials with r2", "rollout list",
    ),
    "alarm": (
        reported(said(), said("CHECK", None, reason="alarm: slot: damaged")), "alarm", "slot: damaged", "mend",
    ),
    "waits": (reported(said("WAIT_SAFE", "r1")), "waits-until-safe", "until the robot is safe", "moving"),
    "working": (reported(said("TRIAL")), "working", "works on r2: TRIAL", ""),
    "silent": (
        reported(said("TRIAL"), reported_at=NOW - timedelta(hours=2)), "working", "works on r2", "its agent runs",
    ),
    "stopped": (
        reported(said(release=None), assignment=assigned(None)), "stopped", "safe stop", "next release",
    ),
    "runs another": (reported(said(release="r1")), "differs", "settled r2 and runs r1", "again"),
    "runs it": (reported(said()), "up-to-date", "runs r2", ""),
    "went back": (
        replace(
            OLD, rollouts=(rollout(status="rolled-back", reason="robot-1 failed"),),
            report=said(release="r1").model_copy(update={"deployment": "r1"}),
        ), "up-to-date", "the rollout of r2 is rolled-back: robot-1 failed", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "state", "reason", "to_do"), CASES.values(), ids=CASES)
def test_each_reason_is_named_with_what_to_do(facts: RobotFacts, state: RobotState, reason: str, to_do: str) -> None:
    sheet = explain_robot(facts)
    assert sheet.state == state
    assert reason in sheet.reason
    assert to_do in sheet.to_do
    assert bool(to_do) == bool(sheet.to_do)


def test_every_reason_has_a_case() -> None:
    assert {state for _, state, _, _ in CASES.values()} == set(get_args(RobotState))


def test_robots_of_a_rollout_say_where_they_stand(tmp_path: Path) -> None:
    world, settings = World(tmp_path, robots=ROBOTS), Settings(home=tmp_path)
    assert show_robot(world.store, settings, "robot-1").state == "no-release"
    first = world.release("r1", tag="one")
    start_rollout(world.store, plan_rollout("r1", ("r1", first.number), ROBOTS, previous=None, soak_trials=2))
    enrol_robot(world.store, world.repository, "car-1", world.home("car-1"), hardware=UNKNOWN_HARDWARE)

    def states() -> list[str]:
        return [show_robot(world.store, settings, robot).state for robot in (*ROBOTS, "car-1", "robot-9")]

    advance_with(world.store, world.repository)
    assert states() == ["never-reported", "phase-not-reached", "phase-not-reached", "no-hardware", "not-enrolled"]
    world.tick("robot-1")
    advance_with(world.store, world.repository)
    world.tick("robot-2")
    revoke_robot(world.store, "robot-3")
    assert states()[:3] == ["up-to-date", "up-to-date", "revoked"]
    sheet = json.loads(show_robot(world.store, settings, "robot-2").model_dump_json())
    assert (sheet["runs"], sheet["should_run"], sheet["hardware"]) == ("r1", "r1", "simulated")
    assert sheet["reported_at"]
    assert len(rollouts(world.store)) == 1
