"""The rollout, as a pure function: where it is and what robots report go in, the next step comes out.

Offline is pending, never success. Silence of a whole phase is Inconclusive and pauses. A timeout is a failure. A halt
stops assigning at once and is followed by a rollback of every robot that was reached. A failure stays one, whatever the
robot reports afterwards; what a robot reports and cannot be read pauses.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from components.contracts import Phase, RobotReport, RolloutPlan, RolloutState
from components.contracts.errors import InvalidDocumentError, PromotionError

from ._reports import FAILED

Standing = Literal["offline", "working", "committed", "inconclusive", "failed"]
_NO_DOUBTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Step:
    """What to do now. Everything in `state` that has happened already is not to be done again."""

    state: RolloutState
    assign: tuple[str, ...] = ()
    """Robots that are to get the release."""


def plan_rollout(
    deployment: str,
    release: tuple[str, int],
    robots: tuple[str, ...],
    *,
    previous: tuple[str, int] | None,
    soak_trials: int = 4,
    min_success: float = 0.25,
    timeout_s: float = 900.0,
) -> RolloutPlan:
    """One canary, then the rest; from twenty robots on 5 % and 25 % between.

    Args:
        deployment: the rollout's name.
        release: name and number.
        robots: in the order in which they are reached, the canary first.
        previous: what a rollback assigns; None: the robots' built-in safe stop.
        soak_trials: operating trials of each robot.
        min_success: share of them that has to succeed.
        timeout_s: for each phase.

    Raises:
        PromotionError: no robots, or a threshold that makes no sense.
    """
    soak: dict[str, object] = {"soak_trials": soak_trials, "min_success": min_success, "timeout_s": timeout_s}
    phases: list[dict[str, object]] = [{"name": "canary", "robots": 1, "max_failures": 0, **soak}]
    if len(robots) >= 20:
        phases += [
            {"name": f"{share:.0%}", "share": share, "max_failures": 1, "max_failure_rate": 0.1, **soak}
            for share in (0.05, 0.25)
            if math.ceil(share * len(robots)) > 1
        ]
    if len(robots) > 1:
        rate = 0.1 if len(robots) >= 20 else None
        borne = {"max_failures": len(robots) // 20, "max_failure_rate": rate}
        phases.append({"name": "fleet", "share": 1.0, **borne, **soak})
    document = {
        "deployment": deployment,
        "release": release[0],
        "number": release[1],
        "previous": previous[0] if previous else None,
        "previous_number": previous[1] if previous else None,
        "robots": robots,
        "phases": _growing(phases, len(robots)),
    }
    try:
        return RolloutPlan.model_validate(document)
    except ValueError as error:
        raise PromotionError(f"no rollout can be planned: {error}") from None


def demanded_success(expected: float, trials: int, *, risk: float = 0.01) -> float:
    """The largest share of `trials` that a policy as good as `expected` misses with a probability below `risk`.

    Args:
        expected: success rate, the lower bound of the evidence.
        trials: of one robot.
        risk: of halting a rollout whose policy is as good as proven, for each robot.

    Returns:
        `min_success` of a phase; 0 where so few trials can refute nothing.
    """
    demanded, missed = 0, 0.0
    for successes in range(trials):
        missed += math.comb(trials, successes) * expected**successes * (1 - expected) ** (trials - successes)
        if missed >= risk:
            break
        demanded = successes + 1
    return demanded / trials


def read_plan(document: bytes | str) -> RolloutPlan:
    """A plan that a person wrote.

    Raises:
        PromotionError: it cannot be read, a threshold among it, or could not work; no robot is touched.
    """
    try:
        return RolloutPlan.parse(document, source="the rollout plan")
    except InvalidDocumentError as error:
        raise PromotionError(str(error)) from None


def begin(plan: RolloutPlan, now: datetime) -> RolloutState:
    """Before the first robot is touched."""
    return RolloutState(
        plan=plan,
        status="running",
        phase=0,
        assigned=(),
        committed=(),
        failed=(),
        reason=f"begins with {plan.reach(0)[0]}",
        phase_started_at=now,
    )


def step(
    state: RolloutState,
    reports: Mapping[str, RobotReport],
    now: datetime,
    doubts: Mapping[str, str] = _NO_DOUBTS,
    revoked: Collection[str] = (),
) -> Step:
    """The next step of a rollout. One that is paused or superseded can only halt; one that is over stays as it is.

    Args:
        state: where it is.
        reports: of each robot the verified report that decides; robots that said nothing are missing.
        now: the platform's clock.
        doubts: robots of which something cannot be read, and why.
        revoked: robots that no longer belong to the fleet. Nobody waits for them, and the next in the plan takes the
            place of each; what failed on one has failed.
    """
    running = state.status == "running"
    if not running and state.status not in {"paused", "superseded"}:
        return Step(state)
    plan = state.plan
    phase = plan.phases[state.phase]
    late = running and (now - state.phase_started_at).total_seconds() > phase.timeout_s
    standings: dict[str, Standing] = {
        robot: "failed" if robot in state.failed else standing(state, robot, reports.get(robot), phase, late=late)
        for robot in state.assigned
        if robot not in revoked or robot in state.failed
    }
    committed = tuple(robot for robot, found in standings.items() if found == "committed")
    failed = tuple(robot for robot, found in standings.items() if found == "failed")
    state = state.model_copy(update={"committed": committed, "failed": failed})
    if reason := _too_many(phase, failed, committed, reports):
        return Step(_with(state, "halted", reason))
    if not running:
        return Step(state)
    if doubtful := [f"{robot}: {doubts[robot]}" for robot in state.assigned if robot in doubts and robot not in failed]:
        return Step(_with(state, "paused", f"Inconclusive, {phase.name}: {'; '.join(doubtful)}"))
    return _proceed(state, standings, reports, now, revoked, late=late)


def _proceed(
    state: RolloutState,
    standings: Mapping[str, Standing],
    reports: Mapping[str, RobotReport],
    now: datetime,
    revoked: Collection[str],
    *,
    late: bool,
) -> Step:
    """Assign what the phase has yet to reach, or wait, or settle the phase."""
    phase, reach = state.plan.phases[state.phase], state.plan.reach(state.phase, revoked)
    missing = tuple(robot for robot in reach if robot not in state.assigned)
    if missing:  # who takes a revoked robot's place has the phase's whole time
        state = state.model_copy(update={"phase_started_at": now})
        return Step(_with(state, "running", f"{phase.name}: assigned to {', '.join(missing)}"), assign=missing)
    if any(standings[robot] in {"offline", "working"} for robot in reach) and not late:
        waiting = [robot for robot in reach if standings[robot] in {"offline", "working"}]
        return Step(_with(state, "running", f"{phase.name}: waits for {', '.join(waiting)}"))
    return _settle(state, standings, reports, now, revoked)


def _settle(
    state: RolloutState,
    standings: Mapping[str, Standing],
    reports: Mapping[str, RobotReport],
    now: datetime,
    revoked: Collection[str],
) -> Step:
    """A phase in which nobody is waited for any more: Inconclusive, the next phase, or the end."""
    plan = state.plan
    phase, reach = plan.phases[state.phase], plan.reach(state.phase, revoked)
    if not reach:
        return Step(_with(state, "paused", f"Inconclusive, {phase.name}: every robot of the plan was revoked"))
    doubtful = [robot for robot in reach if standings[robot] == "inconclusive"]
    pending = [robot for robot in reach if standings[robot] == "offline"]
    before = plan.reach(state.phase - 1, revoked) if state.phase else ()
    new = [robot for robot in reach if robot not in before]
    heard = not new or any(standings[robot] in {"committed", "failed"} for robot in new)
    if doubtful or not heard:
        told = f"no figures from {', '.join(doubtful)}" if doubtful else f"nothing was heard of {', '.join(pending)}"
        return Step(_with(state, "paused", f"Inconclusive, {phase.name}: {told}"))
    if state.phase + 1 < len(plan.phases):
        following = state.model_copy(update={"phase": state.phase + 1, "phase_started_at": now})
        return step(following, reports, now, revoked=revoked)
    told = f"; pending: {', '.join(pending)}" if pending else ""
    return Step(_with(state, "completed", f"{len(state.committed)} of {len(plan.robots)} robots committed{told}"))


def standing(state: RolloutState, robot: str, report: RobotReport | None, phase: Phase, *, late: bool) -> Standing:
    """What one assigned robot's last word means.

    Args:
        state: for the release, and the seq that the robot was given.
        robot: its id.
        report: the one that decides; None: none.
        phase: whose thresholds hold.
        late: the phase's time is over.
    """
    plan = state.plan
    if report is None or report.seq != state.seqs.get(robot, 1) or report.deployment != plan.deployment:
        return "offline"
    if report.state in FAILED:
        return "failed"
    if report.state != "IDLE" or report.release != plan.release:
        return "failed" if late else "working"
    if report.trials < phase.soak_trials:
        return "inconclusive"
    return "committed" if report.successes >= phase.min_success * report.trials else "failed"


def _too_many(
    phase: Phase, failed: tuple[str, ...], committed: tuple[str, ...], reports: Mapping[str, RobotReport]
) -> str | None:
    rate = len(failed) / max(len(failed) + len(committed), 1)
    over = phase.max_failure_rate is not None and rate > phase.max_failure_rate
    if len(failed) <= phase.max_failures and not over:
        return None
    first = reports.get(failed[0])
    return (
        f"{phase.name}: {', '.join(failed)} failed, {phase.max_failures} borne"
        + (f" and a rate of {phase.max_failure_rate:.0%}" if phase.max_failure_rate is not None else "")
        + (f" ({first.state}: {first.reason})" if first else "")
    )


def _with(state: RolloutState, status: str, reason: str) -> RolloutState:
    return state.model_copy(update={"status": status, "reason": reason})


def _growing(phases: list[dict[str, object]], robots: int) -> list[dict[str, object]]:
    """Leave out shares that reach nobody new."""
    kept: list[dict[str, object]] = []
    reached = 0
    for phase in phases:
        share = phase.get("share")
        size = math.ceil(share * robots) if isinstance(share, float) else 1
        if size > reached:
            kept.append(phase)
            reached = size
    return kept
