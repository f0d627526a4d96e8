"""The robot that a key belongs to: `models/robot-keys/<key>.json`, written once for each key that was ever registered.

The gateway may not list the registry; and of two robots that bring one key at the same moment, one has to win.
"""

from typing import TypeVar

from components.contracts import Frozen, RobotId
from components.contracts.errors import AlreadyExistsError, ObjectNotFoundError
from components.storage import ObjectStore

KEY_HOLDERS = "robot-keys/"
"""In `models`."""
MAX_DOCUMENT_BYTES = 64 * 1024
T = TypeVar("T", bound=Frozen)


class KeyHolder(Frozen):
    """The holder of a key. One that was revoked or replaced stays its robot's."""

    robot: RobotId


def key_holder(store: ObjectStore, public_key: str) -> str | None:
    """The robot that a key belongs to; None for a key that is new."""
    noted = read_document(store, _name(public_key), KeyHolder)
    return noted.robot if noted else None


def claim_key(store: ObjectStore, public_key: str, robot: str) -> str:
    """Note that a key is this robot's, unless it is another's. Returns whose it is."""
    try:
        store.put("models", _name(public_key), KeyHolder(robot=robot).canonical_json(), if_absent=True)
    except AlreadyExistsError:
        return key_holder(store, public_key) or robot
    return robot


def noted_keys(store: ObjectStore) -> set[str]:
    """Every key whose robot is noted. Needs the platform's identity."""
    names = (info.key for info in store.list("models", KEY_HOLDERS))
    return {name.removeprefix(KEY_HOLDERS).removesuffix(".json") for name in names}


def foreign_key(holder: str) -> str:
    """The message to a robot that brings another's key."""
    return (
        f"expected a key of the robot's own, got one that the registry knows as {holder}'s (enrolled, revoked or "
        "replaced); remove robot_key.pem from the robot's home, so that it makes another, and enrol it again"
    )


def read_document(store: ObjectStore, key: str, kind: type[T]) -> T | None:
    """A document of the registry in `models`; None if it is not there.

    Raises:
        InvalidDocumentError: it is damaged.
    """
    try:
        document = store.get("models", key, limit=MAX_DOCUMENT_BYTES)
    except ObjectNotFoundError:
        return None
    return kind.parse(document, source=f"s3://models/{key}")


def _name(public_key: str) -> str:
    return f"{KEY_HOLDERS}{public_key}.json"
