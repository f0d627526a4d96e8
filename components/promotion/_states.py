"""Rollouts in the store: `models/rollouts/<deployment>.json` is where one stands, `models/halts/<deployment>.json` says
for good that it halted.

A halt is written once, before anything else is done about it: a process that read the rollout earlier and saves it
later takes no halt back.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from components.contracts import Frozen, RobotId, RollbackOrder, RolloutState
from components.contracts.errors import AlreadyExistsError, DroverError, InvalidDocumentError
from components.storage import ObjectStore

from ._evidence import read_rollout

log = logging.getLogger(__name__)

_BUCKET, _ROLLOUTS, _HALTS = "models", "rollouts/", "halts/"
_LIMIT = 64 * 2**20


class Halt(Frozen):
    """Why a rollout halted."""

    reason: str
    failed: tuple[RobotId, ...]
    rollback: RollbackOrder | None = None


class Faults:
    """Faults of single rollouts, kept so that the others go on."""

    def __init__(self) -> None:
        self._found: list[DroverError] = []

    @contextmanager
    def kept(self) -> Iterator[None]:
        try:
            yield
        except DroverError as error:
            log.error("ALARM %s", error)  # noqa: TRY400  # raised at the end
            self._found.append(error)

    def raise_first(self) -> None:
        if self._found:
            raise self._found[0]


def read_rollouts(store: ObjectStore, faults: Faults) -> list[RolloutState]:
    """Every rollout there was, by name; one that has a halt on record is halted, whatever was saved since."""
    halted = {info.key for info in store.list(_BUCKET, _HALTS)}
    found = []
    for info in store.list(_BUCKET, _ROLLOUTS):
        with faults.kept():
            state = RolloutState.parse(store.get(_BUCKET, info.key, limit=_LIMIT), source=f"{_BUCKET}/{info.key}")
            found.append(_halted(store, state) if _halt_key(state.plan.deployment) in halted else state)
    return found


def known_rollout(store: ObjectStore, deployment: str) -> RolloutState | None:
    """One rollout as `read_rollouts` gives it; None: no such."""
    state = read_rollout(store, deployment)
    return _halted(store, state) if state and is_halted(store, deployment) else state


def save_rollout(store: ObjectStore, state: RolloutState) -> None:
    """Keep where a rollout stands; a halt goes on record first."""
    if state.status == "halted":
        halt = Halt(reason=state.reason, failed=state.failed, rollback=state.rollback)
        with suppress(AlreadyExistsError):
            store.put(_BUCKET, _halt_key(state.plan.deployment), halt.canonical_json(), if_absent=True)
    store.put(_BUCKET, f"{_ROLLOUTS}{state.plan.deployment}.json", state.canonical_json())


def is_halted(store: ObjectStore, deployment: str) -> bool:
    """True if a halt is on record, by anybody."""
    return store.stat(_BUCKET, _halt_key(deployment)) is not None


def _halted(store: ObjectStore, state: RolloutState) -> RolloutState:
    if state.status in {"halted", "rolled-back"}:
        return state
    key = _halt_key(state.plan.deployment)
    try:
        halt = Halt.parse(store.get(_BUCKET, key, limit=_LIMIT), source=f"{_BUCKET}/{key}")
    except InvalidDocumentError as error:
        halt = Halt(reason=f"halted; why cannot be read ({error})", failed=())
    failed = tuple(dict.fromkeys((*state.failed, *halt.failed)))
    facts = {"status": "halted", "reason": halt.reason, "failed": failed, "rollback": halt.rollback}
    return state.model_copy(update=facts)


def _halt_key(deployment: str) -> str:
    return f"{_HALTS}{deployment}.json"
