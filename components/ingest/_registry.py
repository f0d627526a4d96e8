"""Which robots there are: `models/fleet/<robot>.json`, an EnrolledRobot: whose key it is, and whether it still counts.

An entry that cannot be read (damaged, or with a key that anybody can sign for) counts for nothing. It is mended by
`register_robot(replace=True)`, `invite_robot(replace=True)` or `revoke_robot`.
"""

import logging
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import TypeAdapter, ValidationError

from components.contracts import (
    UNKNOWN_HARDWARE,
    EnrolledRobot,
    Frozen,
    PublicKey,
    RobotId,
    hardware_id,
    is_sound_key,
)
from components.contracts.errors import InvalidDocumentError, PromotionError
from components.storage import ObjectStore

from ._robot_keys import claim_key, foreign_key, noted_keys, read_document

RECEIPT_KEYS = "receipt-keys/published.json"
"""In `models`: the public keys whose receipts count. The platform writes it; the gateway hands it to robots."""

_LOG = logging.getLogger(__name__)
_FLEET = "fleet/"
_ROBOT: TypeAdapter[str] = TypeAdapter(RobotId)


class ReceiptKeys(Frozen):
    """The public keys that sign receipts, oldest first."""

    keys: tuple[PublicKey, ...]


def enrolled_robot(store: ObjectStore, robot: str) -> EnrolledRobot | None:
    """What the registry says of a robot; None if it was never enrolled.

    Raises:
        InvalidDocumentError: its entry cannot be read.
    """
    return read_document(store, entry_key(robot), EnrolledRobot)


def entry_to_change(store: ObjectStore, robot: str, *, replace: bool) -> EnrolledRobot | None:
    """`enrolled_robot`, for who is about to change the entry.

    Args:
        store: with the platform's identity.
        robot: its id.
        replace: an entry that cannot be read gives way to one that is revoked, with a key that nobody holds.

    Raises:
        PromotionError: it cannot be read, and `replace` is not set.
    """
    try:
        return enrolled_robot(store, robot)
    except InvalidDocumentError as error:
        if not replace:
            raise PromotionError(
                f"the entry of {robot} cannot be read and counts for nothing ({error}); "
                f"`drover robot invite {robot} --replace` lets it in again with a new key, "
                f"`drover robot revoke {robot}` shuts it out"
            ) from None
        _LOG.warning("the entry of %s cannot be read and is replaced: %s", robot, error)
    nobody = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    entry = EnrolledRobot(
        robot=robot, public_key=nobody, hardware=UNKNOWN_HARDWARE, enrolled_at=datetime.now(UTC), revoked=True
    )
    write_entry(store, entry)
    return entry


def fleet(store: ObjectStore, *, with_revoked: bool = False) -> list[EnrolledRobot]:
    """Every enrolled robot, by id; without those that were revoked. Entries that cannot be read are left out."""
    entries, damaged = read_fleet(store)
    for robot, error in damaged.items():
        _LOG.error("ALARM fleet: %a is left out: %s", robot, error)
    return [entry for entry in entries if with_revoked or not entry.revoked]


def read_fleet(store: ObjectStore) -> tuple[list[EnrolledRobot], dict[str, str]]:
    """Every entry by id, revoked ones included, and of each that cannot be read the reason."""
    entries, damaged = [], {}
    for robot in [info.key.removeprefix(_FLEET).removesuffix(".json") for info in store.list("models", _FLEET)]:
        try:
            if entry := enrolled_robot(store, robot):
                entries.append(entry)
        except InvalidDocumentError as error:
            damaged[robot] = str(error)
    return entries, damaged


def register_robot(
    store: ObjectStore, robot: str, public_key: str, *, hardware: str, replace: bool = False
) -> EnrolledRobot:
    """Write down whose key a robot has, without an invitation: for who holds the platform's identity.

    The same key with other hardware changes the hardware alone.

    Raises:
        PromotionError: no id, no key, or no hardware id; another robot has the key; enrolled with another key, or
            revoked, and `replace` is not set.
    """
    check_name(robot)
    if not is_sound_key(public_key):
        raise PromotionError(
            f"{robot}: expected an Ed25519 public key that only its holder signs for, got {public_key!a}"
        )
    if hardware_id(hardware) != hardware:
        raise PromotionError(f"expected a hardware id such as jetson-orin-nx-16gb, got {hardware!r}")
    known = entry_to_change(store, robot, replace=replace)
    if known and not replace:
        if known.revoked:
            raise PromotionError(f"{robot} was revoked; enrol it with replace=True if it is trusted again")
        if known.public_key != public_key:
            raise PromotionError(f"{robot} is enrolled with another key; if that is meant: replace=True")
        if known.hardware == hardware:
            return known
        entry = known.model_copy(update={"hardware": hardware})
    else:
        entry = EnrolledRobot(robot=robot, public_key=public_key, hardware=hardware, enrolled_at=datetime.now(UTC))
        index_keys(store)
        if (holder := claim_key(store, public_key, robot)) != robot:
            raise PromotionError(foreign_key(holder))
    write_entry(store, entry)
    return entry


def index_keys(store: ObjectStore) -> None:
    """Note whose each key of the registry is, revoked robots' too. Earlier versions did not. Safe to repeat."""
    noted = noted_keys(store)
    for entry in fleet(store, with_revoked=True):
        if entry.public_key not in noted:
            claim_key(store, entry.public_key, entry.robot)


def publish_receipt_key(store: ObjectStore, public_key: str) -> None:
    """Let robots that enrol from now on believe receipts of this key. The same again is no change."""
    keys = published_receipt_keys(store)
    if public_key not in keys:
        store.put("models", RECEIPT_KEYS, ReceiptKeys(keys=(*keys, public_key)).canonical_json())


def published_receipt_keys(store: ObjectStore) -> tuple[str, ...]:
    known = read_document(store, RECEIPT_KEYS, ReceiptKeys)
    return known.keys if known else ()


def check_name(robot: str) -> None:
    try:
        _ROBOT.validate_python(robot)
    except ValidationError:
        raise PromotionError(
            f"expected a robot's id of lower-case letters, digits and '-' such as robot-7, got {robot!r}"
        ) from None


def entry_key(robot: str) -> str:
    """In the bucket `models`."""
    return f"{_FLEET}{robot}.json"


def write_entry(store: ObjectStore, entry: EnrolledRobot) -> None:
    store.put("models", entry_key(entry.robot), entry.canonical_json())
