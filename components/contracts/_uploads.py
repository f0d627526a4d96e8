"""What a robot and the upload gateway say to each other."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from ._base import Frozen
from ._episodes import EpisodeName, RobotId, SignedReceipt
from ._keys import PublicKey
from ._refs import Positive, Sha256
from ._robots import UNKNOWN_HARDWARE, HardwareId

PART_BYTES = 5 * 2**20
"""Of an upload's parts but the last: the smallest that S3 takes, so that a cut costs little."""
Etag = Annotated[str, Field(min_length=1, max_length=128)]


class EnrolmentRequest(Frozen):
    """A robot's first words: POST /v1/enrolments."""

    robot: RobotId
    token: Annotated[str, Field(min_length=16, max_length=128)]
    """Good once, for this robot."""
    public_key: PublicKey
    """Ed25519, 32 bytes, hex; the private half never leaves the robot."""
    hardware: HardwareId = UNKNOWN_HARDWARE


class Enrolment(Frozen):
    """The gateway's answer: whose word the robot may delete an episode on."""

    robot: RobotId
    receipt_keys: Annotated[tuple[PublicKey, ...], Field(min_length=1)]


class UploadRequest(Frozen):
    """POST /v1/uploads: these bytes wait on the robot. Asked again, it goes on where it stopped, with fresh links."""

    name: EpisodeName
    sha256: Sha256
    size: Positive


class UploadedPart(Frozen):
    """A part that the store holds."""

    number: Annotated[int, Field(ge=1, le=10_000)]
    etag: Etag
    size: Positive


class PartLink(Frozen):
    """Where a missing part goes: PUT these bytes to `url` before the ticket expires."""

    number: Annotated[int, Field(ge=1, le=10_000)]
    size: Positive
    url: str


class UploadTicket(Frozen):
    """An open upload: parts of `part_bytes` each, the last one shorter."""

    upload_id: Annotated[str, Field(min_length=1, max_length=1024)]
    part_bytes: Positive
    done: tuple[UploadedPart, ...]
    links: tuple[PartLink, ...]
    """Of parts that are missing, in order; perhaps only the first ones: ask again for the rest."""
    expires_at: datetime
    """By the gateway's clock."""


class UploadCompletion(Frozen):
    """POST /v1/uploads/complete: every part is there."""

    name: EpisodeName
    sha256: Sha256
    size: Positive
    upload_id: Annotated[str, Field(min_length=1, max_length=1024)]


class UploadAnswer(Frozen):
    """Where an upload stands. `open`: send what the ticket asks for. `waiting`: the bytes are in the inbox, not judged
    yet. `settled`: here is the receipt."""

    state: Literal["open", "waiting", "settled"]
    ticket: UploadTicket | None = None
    receipt: SignedReceipt | None = None


class GatewayProblem(Frozen):
    """Body of every answer that is not 2xx."""

    code: Literal[
        "malformed", "unauthenticated", "clock", "revoked", "bad-token", "conflict", "too-large", "busy", "incomplete",
        "not-found", "store",
    ]  # fmt: skip
    message: str
    now: datetime
    """The gateway's clock: a robot whose own is wrong dates its next request by it (`clock`)."""
