"""Rollback by a person's order: every robot that runs something newer than the target gets the target, at once.

The target is an older release at or above the security floor; robots get it by assignments with higher numbers.
Rollouts that brought something newer end with a halt on record, which names the target: what is interrupted, `advance`
finishes.
"""

from dataclasses import dataclass

from components.contracts import Release, RollbackOrder, RolloutState
from components.contracts.errors import PromotionError
from components.ingest import fleet
from components.storage import ObjectStore

from ._evidence import read_rollout
from ._repository import ReleaseRepository
from ._states import Faults, read_rollouts, save_rollout
from ._taking import roll_back

_UNDER_WAY = ("running", "paused", "halted")


@dataclass(frozen=True)
class RobotChange:
    """What a rollback changes on one robot."""

    robot: str
    before: str
    """Release that it is assigned now."""
    note: str = ""
    """Why it will not take the target; empty: it can."""


@dataclass(frozen=True)
class Rollback:
    """What a rollback would do."""

    target: Release | None
    """None: the built-in safe stop."""
    changes: tuple[RobotChange, ...]
    ends: tuple[str, ...]
    """Rollouts that end with it."""


def plan_rollback(
    store: ObjectStore, repository: ReleaseRepository, *, to: str | None = None, safe_stop: bool = False
) -> Rollback:
    """Say what a rollback would do; nothing is changed.

    Args:
        store: with the platform's identity.
        repository: the release repository.
        to: release to go back to; None: the one before the newest that a robot is assigned.
        safe_stop: to no release at all.

    Raises:
        PromotionError: no robot is assigned a release, there is no such release before it, it is below the security
            floor, or it was itself taken back.
    """
    trusted = {entry.robot: entry for entry in fleet(store)}
    assigned = {robot: item for robot, item in repository.assignments().items() if robot in trusted and item.release}
    states = _rollouts(store)
    newest = max(
        [item.number for item in assigned.values()]
        + [state.plan.number for state in states if state.status in _UNDER_WAY],
        default=0,
    )
    if newest == 0:
        raise PromotionError("expected a release to roll back, found no robot that is assigned one")
    target = None if safe_stop else _target(store, repository, newest, to)
    number = target.number if target else 0
    changes = tuple(
        RobotChange(robot, item.release or "", _misfit(target, trusted[robot].hardware))
        for robot, item in sorted(assigned.items())
        if item.number > number
    )
    deployments = {assigned[change.robot].deployment for change in changes}
    ends = tuple(state.plan.deployment for state in states if _ends(state, number, deployments))
    return Rollback(target, changes, ends)


def order_rollback(store: ObjectStore, repository: ReleaseRepository, target: Release | None) -> list[RolloutState]:
    """Do it: halt what brought something newer than the target, and assign the target. Again, it changes nothing.

    Args:
        store: with the platform's identity.
        repository: the release repository.
        target: None: the built-in safe stop.

    Returns:
        The rollouts that ended with it.

    Raises:
        PromotionError: the target is below the security floor.
    """
    name = target.name if target else None
    plan = plan_rollback(store, repository, to=name, safe_stop=target is None)
    order = RollbackOrder(release=name)
    reason = f"rolled back to {name or 'the built-in safe stop'} by a person"
    ended = []
    for deployment in plan.ends:
        state = read_rollout(store, deployment)
        assert state is not None
        ended.append(state.model_copy(update={"status": "halted", "reason": reason, "rollback": order}))
    for state in ended:  # all on record before the first robot is assigned anything
        save_rollout(store, state)
    done = [roll_back(store, repository, state) for state in ended]
    left = [robot for robot, item in repository.assignments().items() if _is_left(robot, item.number, plan)]
    if left:  # assigned by hand, without a rollout
        repository.assign_all(left, target, deployment=f"back-to-{name}"[:63] if name else "safe-stop")
    return done


def _is_left(robot: str, number: int, plan: Rollback) -> bool:
    wanted = {change.robot for change in plan.changes}
    return robot in wanted and number > (plan.target.number if plan.target else 0)


def _ends(state: RolloutState, number: int, deployments: set[str]) -> bool:
    """True for what is under way with something newer, and for what brought it to a robot."""
    if state.plan.deployment in deployments:
        return True
    return state.status in _UNDER_WAY and state.plan.number > number


def _target(store: ObjectStore, repository: ReleaseRepository, newest: int, to: str | None) -> Release:
    releases = {item.name: item for item in repository.releases()}
    current = next((item.name for item in releases.values() if item.number == newest), None)
    name = to or _before(store, current)
    if name is None:
        raise PromotionError(
            f"there is no release before {current} that was not taken back; name one with --to "
            f"({', '.join(releases)}), or stop the robots with --safe-stop"
        )
    target = releases.get(name)
    if target is None:
        raise PromotionError(f"expected a signed release, {name} is none; there are {', '.join(releases)}")
    if target.number >= newest:
        raise PromotionError(
            f"expected a release before {current}, {name} is not older; a release goes forward by a rollout alone"
        )
    floor = repository.security_floor()
    if target.number < floor:
        raise PromotionError(f"{name} is number {target.number}, the security floor is {floor}: no robot takes it")
    state = read_rollout(store, name)
    if state is not None and state.status == "rolled-back":
        raise PromotionError(f"{name} was itself taken back ({state.reason}); name an older one with --to")
    return target


def _before(store: ObjectStore, name: str | None) -> str | None:
    """The release before this one that was not taken back itself."""
    seen: set[str] = set()
    while name is not None and name not in seen:
        seen.add(name)
        state = read_rollout(store, name)
        name = state.plan.previous if state else None
        before = read_rollout(store, name) if name else None
        if before is None or before.status != "rolled-back":
            return name
    return None


def _misfit(target: Release | None, hardware: str) -> str:
    if target is None or hardware in target.hardware:
        return ""
    named = ", ".join(target.hardware)
    return f"it will refuse it and drive on: {target.name} is for {named}, this robot is {hardware}"


def _rollouts(store: ObjectStore) -> list[RolloutState]:
    faults = Faults()
    found = read_rollouts(store, faults)
    faults.raise_first()
    return found
