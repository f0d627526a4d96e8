"""The invitations by which a robot gets into the registry, and how one is shut out.

models/invitations/<robot>/<hash>.json             Invitation: a one-time token, which only its bearer knows
models/invitations/<robot>/<hash>.used.json        InvitationUse: written once, so that of two keys one wins
"""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from components.contracts import (
    UNKNOWN_HARDWARE,
    EnrolledRobot,
    Enrolment,
    EnrolmentRequest,
    Frozen,
    PublicKey,
    RobotId,
    Sha256,
)
from components.contracts.errors import AlreadyExistsError, PromotionError
from components.storage import ObjectStore

from ._problems import Refused
from ._registry import (
    check_name,
    enrolled_robot,
    entry_key,
    entry_to_change,
    fleet,
    index_keys,
    published_receipt_keys,
    write_entry,
)
from ._robot_keys import claim_key, foreign_key, key_holder, read_document

INVITATION_LIFE = timedelta(hours=24)


class Invitation(Frozen):
    """What the platform remembers of a token: never the token itself."""

    robot: RobotId
    expires_at: datetime
    replaces: Sha256 | None = None
    """The key that is enrolled now, and that the robot's new one takes the place of; None: it must not be enrolled."""


class InvitationUse(Frozen):
    """Whose key a token went to."""

    public_key: PublicKey


def revoke_robot(store: ObjectStore, robot: str) -> tuple[str, ...]:
    """No uploads, no assignments, and its reports are ignored, from now on; its invitations are void.

    Returns:
        Robots with the same key that still count, as an earlier version let them in.

    Raises:
        PromotionError: it is not enrolled.
    """
    known = entry_to_change(store, robot, replace=True)
    if known is None:
        raise PromotionError(f"{robot} is not enrolled; `drover robot list` shows who is")
    write_entry(store, known.model_copy(update={"revoked": True}))
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
    check_name(robot)
    known = entry_to_change(store, robot, replace=replace)
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
    invitation = read_document(store, _invitation(request.robot, request.token), Invitation)
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
    use = read_document(store, key, InvitationUse)
    if use is None:
        if now > invitation.expires_at:
            raise _bad_token(request.robot)
        try:
            store.put("models", key, InvitationUse(public_key=request.public_key).canonical_json(), if_absent=True)
        except AlreadyExistsError:
            use = read_document(store, key, InvitationUse)
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
            store.put("models", entry_key(request.robot), entry.canonical_json(), if_absent=True)
        except AlreadyExistsError:
            known = enrolled_robot(store, request.robot)
        else:
            return
    if known and known.public_key == request.public_key and not known.revoked:
        if invitation.replaces == known.public_key and request.hardware not in {UNKNOWN_HARDWARE, known.hardware}:
            write_entry(store, known.model_copy(update={"hardware": request.hardware}))
        return
    if known is None or known.public_key != invitation.replaces:
        raise _bad_token(request.robot)
    write_entry(store, entry)


def _bad_token(robot: str) -> Refused:
    """One answer for every reason: who guesses learns nothing."""
    why = f"it is used, expired, or not for {robot} and this key"
    return Refused("bad-token", f"the token is not good: {why}; ask the operator for another (`drover robot invite`)")


def _invitation(robot: str, token: str) -> str:
    """A token is 24 random bytes: one hash keeps it secret."""
    return f"invitations/{robot}/{hashlib.sha256(token.encode()).hexdigest()}.json"


def _void_invitations(store: ObjectStore, robot: str) -> None:
    for info in list(store.list("models", f"invitations/{robot}/")):
        store.remove("models", info.key)
