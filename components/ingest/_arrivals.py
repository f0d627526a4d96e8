"""Uploads into the inbox. Nothing is remembered here: what is open and which parts are there, the store says.

So a robot that was cut off, one whose links expired, and one that meets a restarted gateway all ask the same question
again and go on where they stopped.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from components.contracts import (
    PART_BYTES,
    PartLink,
    SignedReceipt,
    UploadAnswer,
    UploadCompletion,
    UploadedPart,
    UploadRequest,
    UploadTicket,
)
from components.contracts.errors import (
    AlreadyExistsError,
    BrokenUploadError,
    InvalidDocumentError,
    ObjectNotFoundError,
)
from components.storage import ObjectInfo, S3Store

from ._problems import Code, Refused
from ._quota import UploadLimits, UploadQuota
from ._unreadable import is_asked_again

_INBOX = "inbox"
_NOT_OPEN: tuple[Code, str] = ("not-found", "no such upload is open: ask for one (POST /v1/uploads)")


class Arrivals:
    """Opens, goes on with and completes robots' uploads.

    Args:
        store: with the gateway's identity.
        links: the same store under the name that robots know it by: a link holds for one name alone.
    """

    def __init__(self, store: S3Store, links: S3Store, limits: UploadLimits, now: Callable[[], datetime]) -> None:
        self._store, self._links, self._limits, self._now = store, links, limits, now
        self._quota = UploadQuota(store, limits)

    def open(self, robot: str, request: UploadRequest) -> UploadAnswer:
        """Where this upload stands, with links to the parts that are missing.

        Raises:
            Refused: `too-large`, `conflict`, `busy`.
            StorageError: the store failed.
        """
        if answer := self._arrived(robot, request):
            return answer
        key = inbox_key(robot, request)
        uploads = self._store.open_uploads(_INBOX, key)
        if uploads:
            upload = uploads[-1]
            parts = self._parts(key, upload)
        else:
            self._quota.take(robot, key, request.size, self._now())
            upload, parts = self._store.begin_parts(_INBOX, key), []
        sizes = part_sizes(request.size)
        done = tuple(part for part in parts if sizes.get(part.number) == part.size)
        missing = sorted(sizes.keys() - {part.number for part in done})[: self._limits.links]
        life = self._limits.link_life
        expires_at = self._now() + life
        links = tuple(
            PartLink(
                number=number,
                size=sizes[number],
                url=self._links.part_link(_INBOX, key, upload, number, expires=life, size=sizes[number]),
            )
            for number in missing
        )
        ticket = UploadTicket(upload_id=upload, part_bytes=PART_BYTES, done=done, links=links, expires_at=expires_at)
        return UploadAnswer(state="open", ticket=ticket)

    def complete(self, robot: str, completion: UploadCompletion) -> UploadAnswer:
        """Make the parts one object, if they are what was declared. Asked again, the same answer.

        Raises:
            Refused: `too-large`, `conflict`, `not-found` (no such upload: ask for one), `incomplete`.
            StorageError: the store failed.
        """
        if answer := self._arrived(robot, completion):
            return answer
        key = inbox_key(robot, completion)
        uploads = self._store.open_uploads(_INBOX, key)
        problem = self._make_whole(robot, key, completion) if completion.upload_id in uploads else _NOT_OPEN
        if problem:
            if answer := self._arrived(robot, completion):  # another request was first
                return answer
            raise Refused(*problem)
        for other in uploads:
            if other != completion.upload_id:
                self._store.abandon_parts(_INBOX, key, other)
        self._quota.forget(robot, key)
        return UploadAnswer(state="waiting")

    def _make_whole(self, robot: str, key: str, completion: UploadCompletion) -> tuple[Code, str] | None:
        """Why it could not be; perhaps only because it has just been."""
        try:
            there = {part.number: part for part in self._store.list_parts(_INBOX, key, completion.upload_id)}
            expected = part_sizes(completion.size)
            wrong = [n for n, size in expected.items() if n not in there or there[n].size != size]
            if wrong:
                shown = ", ".join(map(str, wrong[:10]))
                return "incomplete", f"{len(wrong)} of {len(expected)} parts are missing or of another size: {shown}"
            parts = [there[number] for number in expected]
            replaces = any(self._is_asked_again(robot, completion, info) for info in self._listed(key))
            try:
                self._store.complete_parts(_INBOX, key, completion.upload_id, parts, if_absent=not replaces)
            except BrokenUploadError:  # it would be found again, listed as before, and never become whole
                self._store.abandon_parts(_INBOX, key, completion.upload_id)
                return _NOT_OPEN
        except (AlreadyExistsError, ObjectNotFoundError):
            return _NOT_OPEN
        return None

    def _arrived(self, robot: str, upload: UploadRequest | UploadCompletion) -> UploadAnswer | None:
        """`settled` or `waiting`. The inbox is looked at first: ingest writes the receipt before it empties it."""
        if upload.size > self._limits.file_bytes:
            raise Refused("too-large", f"expected an episode of at most {self._limits.file_bytes} bytes")
        key = inbox_key(robot, upload)
        there = self._listed(key)
        receipt = self._receipt(robot, upload.sha256)
        if receipt:
            if receipt.receipt.size != upload.size:
                raise Refused("conflict", "bytes of this SHA-256 have another size: hash the file again")
            return UploadAnswer(state="settled", receipt=receipt)
        there = [info for info in there if not self._is_asked_again(robot, upload, info)]
        if not there:
            return None
        if there[0].size != upload.size:
            raise Refused("conflict", "an upload of another size waits under this name: ask again once it is settled")
        return UploadAnswer(state="waiting")

    def _listed(self, key: str) -> list[ObjectInfo]:
        """The object of this key in the inbox, if it is there.

        Listed, not asked for: whoever may ask for an object's head may read it, and the gateway may not.
        """
        return [info for info in self._store.list(_INBOX, key) if info.key == key]

    def _is_asked_again(self, robot: str, upload: UploadRequest | UploadCompletion, info: ObjectInfo) -> bool:
        """It could not be read and could not be removed: a new sending takes its place."""
        return is_asked_again(self._store, robot, upload.sha256, info.key, info.modified_at)

    def _receipt(self, robot: str, sha256: str) -> SignedReceipt | None:
        """None also for one that cannot be read: the robot keeps its copy, and ingest writes it anew."""
        try:
            document = self._store.get("receipts", f"{robot}/{sha256}.json", limit=64 * 1024)
            return SignedReceipt.parse(document, source=f"receipts/{robot}/{sha256}.json")
        except (ObjectNotFoundError, InvalidDocumentError):
            return None

    def _parts(self, key: str, upload: str) -> Sequence[UploadedPart]:
        try:
            return self._store.list_parts(_INBOX, key, upload)
        except ObjectNotFoundError:
            raise Refused(*_NOT_OPEN) from None


def inbox_key(robot: str, upload: UploadRequest | UploadCompletion) -> str:
    """The gateway alone makes keys: the robot's part of one comes from who signed the request."""
    return f"{robot}/{upload.sha256}/{upload.name}.h5"


def part_sizes(size: int) -> dict[int, int]:
    """Part number -> bytes, for an upload of `size` bytes."""
    starts = range(0, size, PART_BYTES)
    return {number: min(PART_BYTES, size - start) for number, start in enumerate(starts, 1)}
