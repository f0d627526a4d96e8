"""Rollouts for real: documents in the store, assignments in the repository, one step at a time.

`models/rollouts/<deployment>.json` holds a RolloutState, `models/releases/<release>.json` what was released and why,
and `models/promoted.json` the same of the release that last reached the whole fleet. A step that is interrupted is
taken again: to assign what is assigned already changes nothing.
What is not covered: two advancers at once; Prefect runs one at a time.
"""

import logging
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from components.contracts import (
    UNKNOWN_HARDWARE,
    Ensemble,
    EvaluationReport,
    Incumbent,
    PolicyPackage,
    Release,
    RolloutPlan,
    RolloutState,
    Settings,
    TrainingPlan,
)
from components.contracts.errors import ObjectNotFoundError, PromotionError
from components.ingest import fleet
from components.storage import ObjectStore

from ._evidence import PROMOTED, read_evidence, read_rollout, release_key
from ._fleet import hear
from ._keys import KeyRing, make_demo_keys
from ._repository import ReleaseRepository
from ._rollout import begin, demanded_success, plan_rollout, step

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

    Raises:
        PromotionError: no robot is enrolled, or the release repository refuses.
    """
    repository = open_repository(store, settings)
    robots = [robot for robot in fleet(store) if robot.hardware != UNKNOWN_HARDWARE]
    if not robots:
        raise PromotionError(
            "expected at least one enrolled robot whose hardware is known, found none; enrol one first "
            "(those that told no hardware when they joined only upload)"
        )
    hardware = tuple(sorted({robot.hardware for robot in robots}))
    signed = repository.publish_release(package, hardware=hardware)
    evidence = Incumbent(release=signed, package=package, ensemble=ensemble, report=report)
    store.put("models", release_key(signed.name), evidence.canonical_json())
    before = find_incumbent(store)
    proven = next((score.success.low for score in report.closed_loop if score.role == "subject"), 0.0)
    rollout = plan_rollout(
        signed.name,
        (signed.name, signed.number),
        plan.rollout_robots or tuple(robot.robot for robot in robots),
        previous=(before.release.name, before.release.number) if before and before.release != signed else None,
        soak_trials=plan.soak_trials,
        min_success=demanded_success(proven, plan.soak_trials),
    )
    start_rollout(store, rollout)
    advance_with(store, repository)
    return _known(store, signed.name)


def start_rollout(store: ObjectStore, plan: RolloutPlan, *, now: datetime | None = None) -> RolloutState:
    """Open a rollout; one of that name is returned as it is. Older open ones of the same robots are superseded.

    Raises:
        PromotionError: a robot of the plan is not enrolled.
    """
    if known := read_rollout(store, plan.deployment):
        return known
    strangers = set(plan.robots) - {robot.robot for robot in fleet(store)}
    if strangers:
        raise PromotionError(f"expected enrolled robots, {', '.join(sorted(strangers))} are not; enrol them first")
    for older in rollouts(store):
        if older.status in _OPEN and set(older.plan.robots) & set(plan.robots):
            facts = {"status": "superseded", "reason": f"superseded by {plan.deployment}"}
            _save(store, older.model_copy(update=facts))
    state = begin(plan, now or datetime.now(UTC))
    _save(store, state)
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
    """`advance` with a given repository and clock."""
    now = now or datetime.now(UTC)
    repository.refresh()
    trusted = fleet(store)
    heard = hear(store, trusted)
    states = []
    for state in rollouts(store):
        if state.status not in _OPEN:
            continue
        taken = step(state, heard.latest, now)
        following = taken.state
        if assign := [robot for robot in taken.assign if robot in {entry.robot for entry in trusted}]:
            following = _assign(repository, following, assign)
        if following.status == "completed":
            _promote(store, following)  # before it is saved: a completed rollout is not looked at again
        if following != state:
            log.info("rollout %s: %s, %s", state.plan.deployment, following.status, following.reason)
            _save(store, following)
        if following.status == "halted":
            following = _roll_back(store, repository, following)
        states.append(following)
    return states


def resume_rollout(store: ObjectStore, deployment: str, *, now: datetime | None = None) -> RolloutState:
    """Go on with a paused rollout; its phase's time begins anew.

    Raises:
        PromotionError: no such rollout, or it is not paused.
    """
    state = _known(store, deployment)
    if state.status != "paused":
        raise PromotionError(f"expected a paused rollout, {deployment} is {state.status}")
    facts = {"status": "running", "reason": "resumed by a person", "phase_started_at": now or datetime.now(UTC)}
    state = state.model_copy(update=facts)
    _save(store, state)
    return state


def abort_rollout(store: ObjectStore, repository: ReleaseRepository, deployment: str) -> RolloutState:
    """Stop a rollout and assign the previous release to every robot that it reached.

    Raises:
        PromotionError: no such rollout, or it is over.
    """
    state = _known(store, deployment)
    if state.status not in _OPEN:
        raise PromotionError(f"expected an open rollout, {deployment} is {state.status}")
    state = state.model_copy(update={"status": "halted", "reason": "aborted by a person"})
    _save(store, state)
    return _roll_back(store, repository, state)


def rollouts(store: ObjectStore) -> list[RolloutState]:
    """Every rollout there was, by name."""
    return [
        RolloutState.parse(store.get("models", info.key, limit=_LIMIT), source=info.key)
        for info in store.list("models", "rollouts/")
    ]


def _assign(repository: ReleaseRepository, state: RolloutState, robots: list[str]) -> RolloutState:
    plan = state.plan
    phase = plan.phases[state.phase]
    assigned = repository.assign_all(
        robots,
        _release(repository, plan.release),
        deployment=plan.deployment,
        trials=phase.soak_trials,
        min_success=phase.min_success,
    )
    seqs = state.seqs | {robot: item.seq for robot, item in assigned.items()}
    return state.model_copy(update={"assigned": (*state.assigned, *robots), "seqs": seqs})


def _roll_back(store: ObjectStore, repository: ReleaseRepository, state: RolloutState) -> RolloutState:
    """Assign anew: a higher seq that names the previous release."""
    plan = state.plan
    previous = _release(repository, plan.previous) if plan.previous else None
    if state.assigned:
        repository.assign_all(state.assigned, previous, deployment=plan.deployment)
    to = plan.previous or "the built-in safe stop"
    state = state.model_copy(
        update={"status": "rolled-back", "reason": f"{state.reason}; {', '.join(state.assigned)} back to {to}"}
    )
    _save(store, state)
    return state


def _promote(store: ObjectStore, state: RolloutState) -> None:
    with suppress(ObjectNotFoundError):  # byte for byte: a report of an older Drover stays what it is
        store.put("models", PROMOTED, store.get("models", release_key(state.plan.release), limit=_LIMIT))


def _release(repository: ReleaseRepository, name: str) -> Release:
    found = next((item for item in repository.releases() if item.name == name), None)
    if found is None:
        raise PromotionError(f"expected a signed release {name}, there is none; publish it first")
    return found


def _known(store: ObjectStore, deployment: str) -> RolloutState:
    state = read_rollout(store, deployment)
    if state is None:
        raise PromotionError(f"there is no rollout {deployment}")
    return state


def _save(store: ObjectStore, state: RolloutState) -> None:
    store.put("models", f"rollouts/{state.plan.deployment}.json", state.canonical_json())
