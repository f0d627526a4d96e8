"""Which robots there are: `models/fleet/<robot>.json`, and the invitations by which a robot gets in.

models/fleet/<robot>.json                          EnrolledRobot: whose key it is, and whether it still counts
models/robot-keys/<key>.json                       KeyHolder: the one robot that a key belongs to (`_robot_keys`)
models/invitations/<robot>/<hash>.json             Invitation: a one-time token, which only its bearer knows
models/invitations/<robot>/<hash>.used.json        InvitationUse: written once, so that of two keys one wins
"""

import hashlib
import logging
import secrets
from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from components.contracts import (
    EnrolledRobot,
    Enrolment,
    EnrolmentRequest,
    Frozen,
    PublicKey,
    RobotId,
    Sha256,
    hardware_id,
    is_sound_key,
)
from components.contracts.errors import AlreadyExistsError, InvalidDocumentError, PromotionError
from components.storage import ObjectStore

from ._problems import Refused
from ._robot_keys import claim_key, foreign_key, key_holder, noted_keys, read_registry

_LOG = logging.getLogger(__name__)
INVITATION_LIFE = timedelta(hours=24)
RECEIPT_KEYS = "receipt-keys/published.json"
"""In `models`: the public keys whose receipts count. The platform writes it; the gateway hands it to robots."""

_ROBOT: TypeAdapter[str] = TypeAdapter(RobotId)


class Invitation(Frozen):
    """What the platform remembers of a token: never the token itself."""

    robot: RobotId
    expires_at: datetime
    replaces: Sha256 | None = None
    """The key that is enrolled now, and that the robot's new one takes the place of; None: it must not be enrolled."""


class InvitationUse(Frozen):
    """Whose key a token went to."""

    public_key: PublicKey


class ReceiptKeys(Frozen):
    """The public keys that sign receipts, oldest first."""

    keys: tuple[PublicKey, ...]


def enrolled_robot(store: ObjectStore, robot: str) -> EnrolledRobot | None:
    """What the registry says of a robot; None if it was never enrolled."""
    return read_registry(store, _entry(robot), EnrolledRobot)


def fleet(store: ObjectStore, *, with_revoked: bool = False) -> list[EnrolledRobot]:
    """Every enrolled robot, by id; without those that were revoked."""
    names = [info.key.removeprefix("fleet/").removesuffix(".json") for info in store.list("models", "fleet/")]
    found = [_sound_entry(store, name) for name in names]
    return [entry for entry in found if entry and (with_revoked or not entry.revoked)]


def _sound_entry(store: ObjectStore, robot: str) -> EnrolledRobot | None:
    """One damaged entry does not end the list of all others."""
    try:
        return enrolled_robot(store, robot)
    except InvalidDocumentError as error:
        _LOG.error("ALARM fleet: %a is left out: %s", robot, error)
        return None


def register_robot(
    store: ObjectStore, robot: str, public_key: str, *, hardware: str, replace: bool = False
) -> EnrolledRobot:
    """Write down whose key a robot has, without an invitation: for who holds the platform's identity.

    Raises:
        PromotionError: no id, no key, or no hardware id; another robot has the key; enrolled with another key, or
            revoked, and `replace` is not set.
    """
    _check_name(robot)
    if not is_sound_key(public_key):
        raise PromotionError(
            f"{robot}: expected an Ed25519 public key that only its holder signs for, got {public_key!a}"
        )
    if hardware_id(hardware) != hardware:
        raise PromotionError(f"expected a hardware id such as jetson-orin-nx-16gb, got {hardware!r}")
    known = enrolled_robot(store, robot)
    if known and not replace:
        if known.revoked:
            raise PromotionError(f"{robot} was revoked; enrol it with replace=True if it is trusted again")
        if known.public_key != public_key:
            raise PromotionError(f"{robot} is enrolled with another key; if that is meant: replace=True")
        return known
    entry = EnrolledRobot(robot=robot, public_key=public_key, hardware=hardware, enrolled_at=datetime.now(UTC))
    index_keys(store)
    if (holder := claim_key(store, public_key, robot)) != robot:
        raise PromotionError(foreign_key(holder))
    store.put("models", _entry(robot), entry.canonical_json())
    return entry


def index_keys(store: ObjectStore) -> None:
    """Note whose each key of the registry is, revoked robots' too. Earlier versions did not. Safe to repeat."""
    noted = noted_keys(store)
    for entry in fleet(store, with_revoked=True):
        if entry.public_key not in noted:
            claim_key(store, entry.public_key, entry.robot)


def revoke_robot(store: ObjectStore, robot: str) -> tuple[str, ...]:
    """No uploads, no assignments, and its reports are ignored, from now on; its invitations are void.

    Returns:
        Robots with the same key that still count, as an earlier version let them in.

    Raises:
        PromotionError: it is not enrolled.
    """
    known = enrolled_robot(store, robot)
    if known is None:
        raise PromotionError(f"{robot} is not enrolled; `drover robot list` shows who is")
    store.put("models", _entry(robot), known.model_copy(update={"revoked": True}).canonical_json())
    _void_invitations(store, robot)
    return tuple(entry.robot for entry in fleet(store) if entry.public_key == known.public_key)


def invite_robot(store: ObjectStore, robot: str, *, replace: bool = False, life: timedelta = INVITATION_LIFE) -> str:
    """A token with which this robot enrols once; earlier ones are void.

    Args:
        store: with the platform's identity.
        replace: it is enrolled or was revoked, and comes with a new key, or is trusted again.

    Returns:
        The token. It is kept nowhere: bring it to the robot, and only there.

    Raises:
        PromotionError: no id; or it is enrolled, and `replace` is not set.
    """
    _check_name(robot)
    known = enrolled_robot(store, robot)
    if known and not replace:
        what = "was revoked" if known.revoked else "is enrolled"
        raise PromotionError(f"{robot} {what}; if it is to enrol anew, with a key of its own: replace=True (--replace)")
    index_keys(store)  # the gateway cannot list the registry
    _void_invitations(store, robot)
    token = secrets.token_urlsafe(24)
    invitation = Invitation(
        robot=robot, expires_at=datetime.now(UTC) + life, replaces=known.public_key if known else None
    )
    store.put("models", _invitation(robot, token), invitation.canonical_json(), if_absent=True)
    return token


def accept(store: ObjectStore, request: EnrolmentRequest, *, now: datetime) -> Enrolment:
    """Enrol the bearer of a token. The same robot, key and token again is the same answer.

    Args:
        store: with the gateway's identity.
        request: signed by the key that it brings (`Doorkeeper.check_possession`).
        now: the gateway's time.

    Raises:
        Refused: `bad-token`, `revoked`, `conflict` if another robot has or had this key, or `store` while no receipt
            key is published.
    """
    receipt_keys = published_receipt_keys(store)
    if not receipt_keys:
        raise Refused("store", "the platform has published no receipt key yet: try again once it has started")
    invitation = read_registry(store, _invitation(request.robot, request.token), Invitation)
    if invitation is None:
        raise _bad_token(request.robot)
    known_holder = key_holder(store, request.public_key)
    if known_holder and known_holder != request.robot:
        raise Refused("conflict", foreign_key(known_holder))  # the token stays good
    _use(store, request, invitation, now)
    if (holder := claim_key(store, request.public_key, request.robot)) != request.robot:
        raise Refused("conflict", foreign_key(holder))
    _enter(store, request, invitation, now)
    return Enrolment(robot=request.robot, receipt_keys=receipt_keys)


def _use(store: ObjectStore, request: EnrolmentRequest, invitation: Invitation, now: datetime) -> None:
    """Claim the token for this key, or find that it has it."""
    key = _invitation(request.robot, request.token).removesuffix(".json") + ".used.json"
    use = read_registry(store, key, InvitationUse)
    if use is None:
        if now > invitation.expires_at:
            raise _bad_token(request.robot)
        try:
            store.put("models", key, InvitationUse(public_key=request.public_key).canonical_json(), if_absent=True)
        except AlreadyExistsError:
            use = read_registry(store, key, InvitationUse)
        else:
            return
    if use is None or use.public_key != request.public_key:
        raise _bad_token(request.robot)


def _enter(store: ObjectStore, request: EnrolmentRequest, invitation: Invitation, now: datetime) -> None:
    """Into the registry; an entry that the invitation does not know of is never overwritten."""
    entry = EnrolledRobot(
        robot=request.robot, public_key=request.public_key, hardware=request.hardware, enrolled_at=now
    )
    known = enrolled_robot(store, request.robot)
    if known is None and invitation.replaces is None:
        try:
            store.put("models", _entry(request.robot), entry.canonical_json(), if_absent=True)
        except AlreadyExistsError:
            known = enrolled_robot(store, request.robot)
        else:
            return
    if known and known.public_key == request.public_key and not known.revoked:
        return
    if known is None or known.public_key != invitation.replaces:
        raise _bad_token(request.robot)
    store.put("models", _entry(request.robot), entry.canonical_json())


def publish_receipt_key(store: ObjectStore, public_key: str) -> None:
    """Let robots that enrol from now on believe receipts of this key. The same again is no change."""
    keys = published_receipt_keys(store)
    if public_key not in keys:
        store.put("models", RECEIPT_KEYS, ReceiptKeys(keys=(*keys, public_key)).canonical_json())


def published_receipt_keys(store: ObjectStore) -> tuple[str, ...]:
    known = read_registry(store, RECEIPT_KEYS, ReceiptKeys)
    return known.keys if known else ()


def _check_name(robot: str) -> None:
    try:
        _ROBOT.validate_python(robot)
    except ValidationError:
        raise PromotionError(
            f"expected a robot's id of lower-case letters, digits and '-' such as robot-7, got {robot!r}"
        ) from None


def _bad_token(robot: str) -> Refused:
    """One answer for every reason: who guesses learns nothing."""
    why = f"it is used, expired, or not for {robot} and this key"
    return Refused("bad-token", f"the token is not good: {why}; ask the operator for another (`drover robot invite`)")


def _entry(robot: str) -> str:
    return f"fleet/{robot}.json"


def _invitation(robot: str, token: str) -> str:
    """A token is 24 random bytes: one hash keeps it secret."""
    return f"invitations/{robot}/{hashlib.sha256(token.encode()).hexdigest()}.json"


def _void_invitations(store: ObjectStore, robot: str) -> None:
    for info in list(store.list("models", f"invitations/{robot}/")):
        store.remove("models", info.key)
