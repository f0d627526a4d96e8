"""Why a robot runs what it runs: registry, assignment, reports and rollouts go in, one reason comes out."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from components.contracts import Assignment, EnrolledRobot, Frozen, RobotReport, RolloutState

from ._reports import FAILED

RobotState = Literal[
    "up-to-date",
    "working",
    "waits-until-safe",
    "failed",
    "alarm",
    "offline",
    "never-reported",
    "reports-unreadable",
    "stopped",
    "differs",
    "phase-not-reached",
    "rollout-paused",
    "rollout-over",
    "enrolled-later",
    "no-release",
    "hardware-not-named",
    "no-hardware",
    "revoked",
    "damaged-entry",
    "not-enrolled",
]
SILENT = timedelta(hours=1)
"""A robot whose agent works reports each assignment within minutes."""


@dataclass(frozen=True)
class RobotFacts:
    """What is known of a robot. Of rollouts: all there were, oldest first."""

    robot: str
    now: datetime
    hardware: tuple[str, ...]
    """That releases are signed for."""
    entry: EnrolledRobot | None = None
    damage: str | None = None
    """Why its entry cannot be read."""
    assignment: Assignment | None = None
    report: RobotReport | None = None
    """The last one that it signed."""
    outcome: RobotReport | None = None
    """The one that decides about its assignment: a failure before a success."""
    reported_at: datetime | None = None
    uploaded_at: datetime | None = None
    doubt: str | None = None
    """Why its reports about this assignment are not known whole."""
    rollouts: tuple[RolloutState, ...] = ()


class RobotSheet(Frozen):
    """What `drover robot show` says of a robot."""

    robot: str
    state: RobotState
    hardware: str | None
    runs: str | None
    """Release, as it reported last; None: none, or it never reported."""
    should_run: str | None
    """Release that it is assigned; None: none."""
    reported_at: datetime | None
    uploaded_at: datetime | None
    """When the newest of its episodes arrived."""
    reason: str
    to_do: str
    """Empty: nothing."""


_Finding = tuple[RobotState, str, str]
"""State, reason, and what to do."""


def explain_robot(facts: RobotFacts) -> RobotSheet:
    """Say which release a robot runs, which it should run, and why they differ, with the first reason that holds."""
    finders: tuple[Callable[[RobotFacts], _Finding | None], ...] = (_membership, _waiting, _assigned)
    state, reason, to_do = next(found for finder in finders if (found := finder(facts)))
    return RobotSheet(
        robot=facts.robot,
        state=state,
        hardware=facts.entry.hardware if facts.entry else None,
        runs=facts.report.release if facts.report else None,
        should_run=facts.assignment.release if facts.assignment else None,
        reported_at=facts.reported_at,
        uploaded_at=facts.uploaded_at,
        reason=reason,
        to_do=to_do,
    )


def _membership(facts: RobotFacts) -> _Finding | None:
    """Reasons for which a robot is in no rollout at all."""
    name, entry = facts.robot, facts.entry
    if facts.damage:
        to_do = f"drover robot invite {name} --replace (a new key), or drover robot revoke {name}"
        return "damaged-entry", f"its entry in the registry cannot be read: {facts.damage}", to_do
    if entry is None:
        to_do = f"drover robot enrol {name} --hardware ID; drover robot list shows who is enrolled"
        return "not-enrolled", "no robot of that name was ever enrolled", to_do
    if entry.revoked:
        to_do = f"drover robot invite {name} --replace lets it in again with a new key"
        return "revoked", "it was revoked: no uploads, no assignments, and its reports are ignored", to_do
    if not entry.takes_releases:
        to_do = f"drover robot enrol {name} --hardware ID, if it is a robot that is to take releases"
        return "no-hardware", "it was enrolled without hardware: it uploads episodes and is in no rollout", to_do
    if entry.hardware not in facts.hardware:
        named = ", ".join(facts.hardware)
        reason = f"releases are signed for {named}; its hardware {entry.hardware} is not named"
        to_do = f"set DROVER_RELEASE_HARDWARE={','.join((*facts.hardware, entry.hardware))} where `drover up` runs"
        return "hardware-not-named", reason, f"{to_do}; the next release is for it, too"
    return None


def _waiting(facts: RobotFacts) -> _Finding | None:
    """Reasons for which a newer release has not been assigned to it."""
    alive = [state for state in facts.rollouts if state.status not in {"rolled-back", "superseded"}]
    newest = max(alive, key=lambda state: state.plan.number, default=None)
    if facts.assignment is not None and (newest is None or facts.assignment.number >= newest.plan.number):
        return None
    if newest is None:
        return _nothing_alive(facts)
    if facts.assignment and facts.assignment.deployment == newest.plan.deployment:
        return None
    return _not_reached(facts, newest)


def _not_reached(facts: RobotFacts, newest: RolloutState) -> _Finding:
    plan = newest.plan
    if facts.robot not in plan.robots:
        reason = f"it is not in the rollout of {plan.release}, which was planned for: {', '.join(plan.robots)}"
        return "enrolled-later", reason, "nothing: the next release reaches it"
    if newest.status == "paused":
        reason = f"the rollout of {plan.release} is paused before it is reached: {newest.reason}"
        return "rollout-paused", reason, f"look why, then drover rollout resume {plan.deployment}, or abort it"
    if newest.status == "running":
        phase = plan.phases[newest.phase].name
        reason = f"the rollout of {plan.release} is in phase {phase} and has not reached it: {newest.reason}"
        return "phase-not-reached", reason, "nothing: it follows when the phase is done"
    reason = f"the rollout of {plan.release} is {newest.status} and did not reach it: {newest.reason}"
    return "rollout-over", reason, "nothing: the next release reaches it"


def _nothing_alive(facts: RobotFacts) -> _Finding:
    if not facts.rollouts:
        return "no-release", "nothing was released yet", "run train-and-promote: it releases what the gate lets through"
    return "rollout-over", _taken_back(facts), "nothing: the next release reaches it"


def _taken_back(facts: RobotFacts) -> str:
    """That the newest release was taken back, and why; empty if it was not."""
    last = max(facts.rollouts, key=lambda state: state.plan.number, default=None)
    if last is None or last.status not in {"rolled-back", "superseded"}:
        return ""
    return f"the rollout of {last.plan.release} is {last.status}: {last.reason}"


def _assigned(facts: RobotFacts) -> _Finding | None:
    """What it made of its assignment."""
    assignment, report = facts.assignment, facts.report
    assert assignment is not None
    wanted = assignment.release or "no policy"
    agent = f"see that its agent runs (drover robot agent {facts.robot}) and reaches the gateway and the store"
    if facts.doubt:
        rollout = f"look why, then drover rollout resume {assignment.deployment}"
        return "reports-unreadable", f"its reports about {wanted} are not known whole: {facts.doubt}", rollout
    if report is None:
        return "never-reported", f"it is assigned {wanted} and has reported nothing", agent
    if report.seq != assignment.seq or report.deployment != assignment.deployment:
        last = f"{facts.reported_at:%Y-%m-%d %H:%M} UTC" if facts.reported_at else "an unknown time"
        return "offline", f"it has reported nothing about its assignment, {wanted}; its last report is of {last}", agent
    return _worked(facts, assignment, report)


def _worked(facts: RobotFacts, assignment: Assignment, report: RobotReport) -> _Finding:
    outcome, wanted = facts.outcome or report, assignment.release or "no policy"
    if outcome.state in FAILED:
        reason = f"it refused or took back {wanted} ({outcome.state}): {outcome.reason}"
        return "failed", reason, "mend what the reason names; the same package is not tried again on this device"
    failed = next((state for state in facts.rollouts if facts.robot in state.failed), None)
    if failed and failed.plan.deployment == assignment.deployment and failed.plan.release == assignment.release:
        reason = f"{outcome.successes} of {outcome.trials} trials with {wanted} succeeded, its rollout demands more"
        return "failed", reason, f"see drover rollout list, {failed.plan.deployment}"
    if report.state == "CHECK" and report.reason.startswith("alarm"):
        return "alarm", report.reason, "the robot heals what it can by itself; mend what the alarm names"
    if outcome.state == "IDLE":
        return _settled(facts, assignment, report)
    if report.state == "WAIT_SAFE":
        to_do = "stop or dock it; a file `moving` in its agent's folder says that it moves"
        return "waits-until-safe", f"{wanted} is ready and waits until the robot is safe", to_do
    reason = f"it works on {wanted}: {report.state}" + (f", {report.reason}" if report.reason else "")
    silent = facts.reported_at and facts.now - facts.reported_at > SILENT
    return "working", reason, f"it said nothing for {SILENT}: see that its agent runs" if silent else ""


def _settled(facts: RobotFacts, assignment: Assignment, report: RobotReport) -> _Finding:
    if assignment.release is None:
        to_do = "the next release ends the stop; drover rollout list says why it was stopped"
        return "stopped", "it is assigned no policy: the built-in safe stop", to_do
    if report.release != assignment.release:
        reason = f"it settled {assignment.release} and runs {report.release or 'nothing'} now: {report.reason}"
        return "differs", reason, "it fetches the assigned release again by itself; see its agent's log"
    reason = f"it runs {assignment.release}, as assigned by {assignment.deployment}"
    taken_back = _taken_back(facts)
    return "up-to-date", f"{reason}; {taken_back}" if taken_back else reason, ""
