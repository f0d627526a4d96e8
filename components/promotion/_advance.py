"""Rollouts for real: documents in the store, assignments in the repository, one step at a time.

`models/releases/<release>.json` holds what was released and why, `models/promoted.json` the same of the release that
last reached the whole fleet; where rollouts stand is in `_states.py`. A step that is interrupted is taken again: to
assign what is assigned already changes nothing.
What is not covered: two advancers at once, which may assign a phase twice; a halt of one outlives the other's writing.
"""

import logging
from datetime import UTC, datetime
from pathlib import Path

from components.contracts import (
    Assignment,
    Ensemble,
    EvaluationReport,
    Incumbent,
    PolicyPackage,
    RolloutPlan,
    RolloutState,
    Settings,
    TrainingPlan,
)
from components.contracts.errors import PromotionError
from components.ingest import fleet
from components.storage import ObjectStore

from ._evidence import PROMOTED, read_evidence, release_key
from ._keys import KeyRing, make_demo_keys
from ._reports import hear, prune_reports, set_aside
from ._repository import ReleaseRepository
from ._rollout import begin, demanded_success, plan_rollout, step
from ._states import Faults, known_rollout, read_rollouts, save_rollout
from ._taking import roll_back, take

log = logging.getLogger(__name__)

_OPEN = ("running", "paused", "halted")
_LIMIT = 64 * 2**20


def open_repository(store: ObjectStore, settings: Settings) -> ReleaseRepository:
    """The release repository, with the keys in `<home>/keys`. None there: demo keys are made, and loudly."""
    folder = keys_folder(settings)
    in_use = (folder / "root.json").exists()
    if not any(folder.glob("*.pem")) or (KeyRing(folder).demo and not in_use):  # their making may have been interrupted
        make_demo_keys(folder)
    repository = ReleaseRepository(store, folder)
    repository.create()
    return repository


def keys_folder(settings: Settings) -> Path:
    return settings.home / "keys"


def find_incumbent(store: ObjectStore) -> Incumbent | None:
    """The promoted release with its package, policy and report; None before the first promotion.

    A report that an older Drover wrote is left out: its policy can be measured anew, its figures count no more.

    Raises:
        InvalidDocumentError: release, package or policy cannot be read.
    """
    return read_evidence(store, PROMOTED)


def release(  # noqa: PLR0917  # the flow's stages pass what they made, in order
    store: ObjectStore,
    settings: Settings,
    package: PolicyPackage,
    ensemble: Ensemble,
    report: EvaluationReport,
    plan: TrainingPlan,
) -> RolloutState:
    """Sign a package that passed the gate, open its rollout, and assign the canary. The same again changes nothing.

    It is signed for the hardware that an operator named (`settings.release_hardware`); a robot that claims another is
    in no rollout.

    Raises:
        PromotionError: no robot of that hardware is enrolled, the plan names one that is not, or the release
            repository refuses.
    """
    repository = open_repository(store, settings)
    advance_with(store, repository)  # what has failed by now halts before it is superseded
    robots = rollout_robots(store, settings, plan)
    signed = repository.publish_release(package, hardware=settings.release_hardware)
    evidence = Incumbent(release=signed, package=package, ensemble=ensemble, report=report)
    store.put("models", release_key(signed.name), evidence.canonical_json())
    before = find_incumbent(store)
    proven = next((score.success.low for score in report.closed_loop if score.role == "subject"), 0.0)
    rollout = plan_rollout(
        signed.name,
        (signed.name, signed.number),
        robots,
        previous=(before.release.name, before.release.number) if before and before.release != signed else None,
        soak_trials=plan.soak_trials,
        min_success=demanded_success(proven, plan.soak_trials),
    )
    start_rollout(store, rollout)
    advance_with(store, repository)
    return _known(store, signed.name)


def rollout_robots(store: ObjectStore, settings: Settings, plan: TrainingPlan) -> tuple[str, ...]:
    """The robots that a release of this plan would reach: those that it names, or every enrolled one of the hardware
    that releases are for.

    Raises:
        PromotionError: there is none, or the plan names one that is not enrolled.
    """
    hardware, named = settings.release_hardware, plan.rollout_robots
    enrolled = fleet(store)
    fitting = {robot.robot for robot in enrolled if robot.takes_releases and robot.hardware in hardware}
    claimed = (
        ", ".join(sorted({robot.hardware for robot in enrolled if robot.takes_releases} - set(hardware))) or "none"
    )
    sources = ", ".join(robot.robot for robot in enrolled if not robot.takes_releases) or "none"
    asked = f"hardware of DROVER_RELEASE_HARDWARE ({', '.join(hardware)})"
    if strangers := [robot for robot in named if robot not in fitting]:
        raise PromotionError(f"expected enrolled robots of {asked}, {', '.join(strangers)} are not; others: {claimed}")
    if not fitting:
        raise PromotionError(
            f"expected at least one enrolled robot of {asked}, found none. Enrol one "
            f"(`drover robot enrol NAME --hardware {(*hardware, 'ID')[0]}`), or name the hardware that releases are "
            f"for, and run the flow again: what is done is skipped. Enrolled robots claim: {claimed}; "
            f"sources that only upload: {sources}"
        )
    return named or tuple(sorted(fitting))


def start_rollout(store: ObjectStore, plan: RolloutPlan, *, now: datetime | None = None) -> RolloutState:
    """Open a rollout; one of that name is returned as it is. Older open ones of the same robots are superseded: they
    assign nothing more, and still halt if robots that drive them fail. One that has halted is rolled back as ever.

    Raises:
        PromotionError: a robot of the plan is not enrolled.
    """
    if known := known_rollout(store, plan.deployment):
        return known
    strangers = set(plan.robots) - {robot.robot for robot in fleet(store) if robot.takes_releases}
    if strangers:
        raise PromotionError(
            f"expected robots that were enrolled with their hardware, {', '.join(sorted(strangers))} are not; "
            "enrol them first (`drover robot enrol NAME --hardware ID`)"
        )
    for older in rollouts(store):
        if older.status in {"running", "paused"} and set(older.plan.robots) & set(plan.robots):
            facts = {"status": "superseded", "reason": f"superseded by {plan.deployment}"}
            save_rollout(store, older.model_copy(update=facts))
    state = begin(plan, now or datetime.now(UTC))
    save_rollout(store, state)
    return state


def advance(store: ObjectStore, settings: Settings) -> list[RolloutState]:
    """Read the robots' reports, take one step of every open rollout, and keep the repository's signatures fresh.

    Returns:
        Every rollout that is open, or was until this step.
    """
    if not store.stat("releases", "metadata/timestamp.json"):
        return []
    return advance_with(store, open_repository(store, settings))


def advance_with(
    store: ObjectStore, repository: ReleaseRepository, *, now: datetime | None = None
) -> list[RolloutState]:
    """`advance` with a given repository and clock.

    Every halt is on record before anything is rolled back, and everything is rolled back before anything is assigned.
    What fails for one rollout is raised when all others are done.
    """
    now, faults = now or datetime.now(UTC), Faults()
    with faults.kept():
        repository.refresh()
    enrolled = fleet(store, with_revoked=True)
    trusted = {entry.robot: entry for entry in enrolled if not entry.revoked}
    revoked = frozenset(entry.robot for entry in enrolled if entry.revoked)
    watched = _watched(store, repository, faults)
    about = {robot: (state.seqs.get(robot, 1), state.plan.deployment) for state in watched for robot in state.assigned}
    accepted = {robot: number for state in watched for robot, number in state.accepted.items()}
    heard = hear(store, trusted.values(), about=about, accepted=accepted)
    taken = [(state, step(state, heard.latest, now, heard.doubts, revoked)) for state in watched]
    taken = [(state, found) for state, found in taken if state.status != "superseded" or found.state.status == "halted"]
    taken.sort(key=lambda item: item[1].state.status != "halted")
    for _, found in taken:
        if found.state.status == "halted":
            with faults.kept():
                save_rollout(store, found.state)
    states = []
    for state, found in taken:
        with faults.kept():
            assign = [robot for robot in found.assign if robot in trusted]
            states.append(take(store, repository, state, found.state, assign))
    with faults.kept():
        for robot in trusted:
            prune_reports(store, robot, {state.seqs[robot] for state in watched if robot in state.seqs})
    faults.raise_first()
    return sorted(states, key=lambda state: state.plan.deployment)


def _watched(store: ObjectStore, repository: ReleaseRepository, faults: Faults) -> list[RolloutState]:
    """Every open rollout, and those that were superseded, with the robots that still drive their release."""
    states = read_rollouts(store, faults)
    found = [state for state in states if state.status in _OPEN]
    superseded = [state for state in states if state.status == "superseded" and state.assigned]
    if superseded:
        with faults.kept():
            assignments = repository.assignments()
            for state in superseded:
                drive = tuple(robot for robot in state.assigned if _drives(assignments.get(robot), state.plan))
                found += [state.model_copy(update={"assigned": drive})] if drive else []
    return found


def _drives(assignment: Assignment | None, plan: RolloutPlan) -> bool:
    """True if a robot is assigned what this rollout brought."""
    return assignment is not None and (assignment.deployment, assignment.release) == (plan.deployment, plan.release)


def resume_rollout(store: ObjectStore, deployment: str, *, now: datetime | None = None) -> RolloutState:
    """Go on with a paused rollout; its phase's time begins anew.

    What lies among its robots' reports and is none is set aside, under `reports/set-aside/`; that reports are missing
    is accepted. A robot that failed has failed still.

    Raises:
        PromotionError: no such rollout, or it is not paused.
        StorageError: an object among the reports cannot be read.
    """
    state = _known(store, deployment)
    if state.status != "paused":
        raise PromotionError(f"expected a paused rollout, {deployment} is {state.status}")
    accepted = {
        entry.robot: set_aside(store, entry, state.seqs.get(entry.robot, 1))
        for entry in fleet(store)
        if entry.robot in state.assigned
    }
    facts = {
        "status": "running",
        "reason": "resumed by a person",
        "phase_started_at": now or datetime.now(UTC),
        "accepted": state.accepted | accepted,
    }
    state = state.model_copy(update=facts)
    save_rollout(store, state)
    return state


def abort_rollout(store: ObjectStore, repository: ReleaseRepository, deployment: str) -> RolloutState:
    """Stop a rollout and assign the previous release to every robot that it reached.

    Raises:
        PromotionError: no such rollout, or it is over.
    """
    state = _known(store, deployment)
    if state.status not in _OPEN:
        raise PromotionError(f"expected an open rollout, {deployment} is {state.status}")
    if state.status != "halted":
        state = state.model_copy(update={"status": "halted", "reason": "aborted by a person"})
    save_rollout(store, state)
    return roll_back(store, repository, state)


def rollouts(store: ObjectStore) -> list[RolloutState]:
    """Every rollout there was, by name.

    Raises:
        InvalidDocumentError: one cannot be read.
    """
    faults = Faults()
    found = read_rollouts(store, faults)
    faults.raise_first()
    return found


def _known(store: ObjectStore, deployment: str) -> RolloutState:
    state = known_rollout(store, deployment)
    if state is None:
        raise PromotionError(f"there is no rollout {deployment}")
    return state
