"""Execution of a rollout's step: assignments in the repository, the rollout's document, the promoted pointer."""

import logging
from contextlib import suppress

from components.contracts import Release, RolloutState
from components.contracts.errors import ObjectNotFoundError, PromotionError
from components.storage import ObjectStore

from ._evidence import PROMOTED, read_evidence, release_key
from ._repository import ReleaseRepository
from ._states import is_halted, save_rollout

log = logging.getLogger(__name__)

_LIMIT = 64 * 2**20


def take(
    store: ObjectStore, repository: ReleaseRepository, state: RolloutState, following: RolloutState, assign: list[str]
) -> RolloutState:
    """Do what a step decided, and keep it."""
    if assign and not is_halted(store, state.plan.deployment):  # by a person, since it was read
        following = _assign(repository, following, assign)
    if following.status == "completed":
        _promote(store, following)  # before it is saved: a completed rollout is not looked at again
    if following != state:
        log.info("rollout %s: %s, %s", state.plan.deployment, following.status, following.reason)
        save_rollout(store, following)
    if following.status == "halted":
        following = roll_back(store, repository, following)
    return following


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


def roll_back(store: ObjectStore, repository: ReleaseRepository, state: RolloutState) -> RolloutState:
    """Assign anew: a higher seq that names the previous release, or the one that a person ordered.

    The robots are those that the repository says drive it, also where the rollout's document was not saved after they
    were assigned; one that a newer rollout reached keeps what that assigned.
    """
    plan = state.plan
    to = state.rollback.release if state.rollback else plan.previous
    previous = _release(repository, to) if to else None
    assignments = repository.assignments()
    reached = [
        robot for robot in plan.robots if (item := assignments.get(robot)) and item.deployment == plan.deployment
    ]
    if reached:
        repository.assign_all(reached, previous, deployment=plan.deployment)
    if state.rollback:
        _demote(store, previous)
    told = f"{', '.join(reached)} back to {to or 'the built-in safe stop'}" if reached else "no robot drives it"
    assigned = tuple(dict.fromkeys((*state.assigned, *reached)))
    facts = {"status": "rolled-back", "reason": f"{state.reason}; {told}", "assigned": assigned}
    state = state.model_copy(update=facts)
    save_rollout(store, state)
    return state


def _promote(store: ObjectStore, state: RolloutState) -> None:
    with suppress(ObjectNotFoundError):  # byte for byte: a report of an older Drover stays what it is
        store.put("models", PROMOTED, store.get("models", release_key(state.plan.release), limit=_LIMIT))


def _demote(store: ObjectStore, target: Release | None) -> None:
    """Let the incumbent be what robots go back to, where it is newer than that."""
    promoted = read_evidence(store, PROMOTED)
    if promoted is None or (target and promoted.release.number <= target.number):
        return
    if target is None:
        store.remove("models", PROMOTED)
        return
    try:
        store.put("models", PROMOTED, store.get("models", release_key(target.name), limit=_LIMIT))
    except ObjectNotFoundError:
        log.warning("there is no evidence of %s: %s stays the incumbent", target.name, promoted.release.name)


def _release(repository: ReleaseRepository, name: str) -> Release:
    found = next((item for item in repository.releases() if item.name == name), None)
    if found is None:
        raise PromotionError(f"expected a signed release {name}, there is none; publish it first")
    return found
