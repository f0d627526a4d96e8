"""Objects of the inbox that cannot be read: counted over runs, then set aside, so that their robot is asked again.

quarantine/unreadable/<SHA-256 of the key>.json    UnreadableUpload: how often it failed, and with which error
receipts/<robot>/<sha256>.again.json               SendAgain, where the object could not even be removed

A set-aside object is removed from the inbox: there are no bytes to keep, and the robot, which has no receipt, has its
copy. The gateway then finds nothing and opens a new upload. Where the store does not remove it either, `SendAgain`
tells the gateway to take a new sending in its place. One whose key names no robot stays: nobody would send it again.
"""

import errno
import hashlib
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from components.contracts import Frozen, RobotId
from components.contracts.errors import InvalidDocumentError, ObjectNotFoundError, StorageError
from components.storage import ObjectStore

from ._candidate import Upload

_LOG = logging.getLogger(__name__)
_FOLDER = "unreadable/"
_TRY_AGAIN = timedelta(hours=1)
"""Number of further looks at a set-aside object that could not be removed."""
_OF_THIS_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.ENOMEM})


class UnreadableUpload(Frozen):
    """An object of the inbox that failed to be read. `inbox_key` is escaped: the key may be no text at all."""

    inbox_key: str
    robot: RobotId | None
    name: str
    size: int
    modified_at: datetime
    failed_reads: int
    error: str
    first_at: datetime
    last_at: datetime
    set_aside: bool = False
    removed: bool = False
    """From the inbox; otherwise the store refused that, too."""


class SendAgain(Frozen):
    """The object in the inbox that a new sending takes the place of."""

    inbox_key: str
    modified_at: datetime


def unreadable(store: ObjectStore) -> list[UnreadableUpload]:
    """Every object of the inbox that failed to be read and was not replaced by a good sending, oldest first."""
    found = (_read(store, info.key) for info in list(store.list("quarantine", _FOLDER)))
    return sorted((item for item in found if item), key=lambda item: (item.first_at, item.inbox_key))


class FailedReads:
    """The failed reads of one inbox, kept in the store, because each run is a process of its own.

    Args:
        store: with the platform's identity.
        limit: failed reads after which an object is set aside.
        uploads: all that the inbox holds now.
    """

    def __init__(self, store: ObjectStore, limit: int, uploads: Sequence[Upload]) -> None:
        self._store, self._limit = store, limit
        self._noted = {info.key for info in store.list("quarantine", _FOLDER)}
        for key in self._noted - {_key(upload) for upload in uploads}:
            if (known := _read(store, key)) and not known.set_aside:  # it was read by another run, or removed
                store.remove("quarantine", key)

    def due(self, upload: Upload) -> bool:
        """Try to read it now. An object that was set aside and could not be removed is tried once an hour."""
        if _key(upload) not in self._noted:
            return True
        known = self._known(upload)
        return known is None or not known.set_aside or datetime.now(UTC) - known.last_at >= _TRY_AGAIN

    def note(self, upload: Upload, error: Exception) -> None:
        """Count a failed read, and set the object aside after the last one.

        Raises:
            StorageError: the store does not take or give back the count: then it is the store that fails.
        """
        words = " ".join(f"{type(error).__name__}: {error}".encode("unicode_escape").decode().split())[:500]
        if _is_local(error):
            _LOG.error("ALARM inbox: %a was not read, for want of room on this machine: %s", upload.key, words)
            return
        known, now = self._known(upload), datetime.now(UTC)
        entry = UnreadableUpload(
            inbox_key=ascii(upload.key)[1:-1], robot=upload.robot, name=upload.name, size=upload.size,
            modified_at=upload.modified_at, failed_reads=(known.failed_reads if known else 0) + 1, error=words,
            first_at=known.first_at if known else now, last_at=now,
        )  # fmt: skip
        self._keep(upload, entry)
        if entry.failed_reads < self._limit:
            _LOG.error(
                "ALARM inbox: %a could not be read (%d of %d times): %s", upload.key, entry.failed_reads, self._limit,
                words,
            )  # fmt: skip
        else:
            self._set_aside(upload, entry)

    def forget(self, upload: Upload) -> None:
        """It was read: what was noted of it is over."""
        if _key(upload) not in self._noted:
            return
        try:
            self._store.remove("quarantine", _key(upload))
            if upload.robot and upload.sha256:
                self._store.remove("receipts", send_again_key(upload.robot, upload.sha256))
        except StorageError as error:
            _LOG.warning("s3://quarantine/%s could not be removed, the next run tries again: %s", _key(upload), error)

    def _set_aside(self, upload: Upload, entry: UnreadableUpload) -> None:
        removed = upload.robot is not None
        try:
            if removed:
                self._store.remove("inbox", upload.key)
        except Exception as error:  # noqa: BLE001 - a name or an object that a server chokes on
            removed = False
            _LOG.error("ALARM inbox: %a could not be removed: %a", upload.key, str(error))
            if upload.robot and upload.sha256:  # always both or neither
                again = SendAgain(inbox_key=upload.key, modified_at=upload.modified_at)
                key = send_again_key(upload.robot, upload.sha256)
                self._store.put("receipts", key, again.canonical_json())
        self._keep(upload, entry.model_copy(update={"set_aside": True, "removed": removed}))
        _LOG.error(
            "ALARM inbox: %a was set aside after %d failed reads: %s. %s; look at the store's disks "
            "(`drover quarantine list`)", upload.key, entry.failed_reads, entry.error,
            f"{upload.robot} is asked to send it again" if upload.robot else "its key names no robot: it stays there",
        )  # fmt: skip

    def _known(self, upload: Upload) -> UnreadableUpload | None:
        """Of this very object: a later one of the same name is counted anew."""
        known = _read(self._store, _key(upload))
        return known if known and (known.size, known.modified_at) == (upload.size, upload.modified_at) else None

    def _keep(self, upload: Upload, entry: UnreadableUpload) -> None:
        self._store.put("quarantine", _key(upload), entry.canonical_json())
        if self._store.get("quarantine", _key(upload)) != entry.canonical_json():
            raise StorageError(f"s3://quarantine/{_key(upload)}: expected the document just written, found another")
        self._noted.add(_key(upload))


def send_again_key(robot: str, sha256: str) -> str:
    """In `receipts`, which the gateway may read."""
    return f"{robot}/{sha256}.again.json"


def is_asked_again(store: ObjectStore, robot: str, sha256: str, key: str, modified_at: datetime) -> bool:
    """This object of the inbox was set aside: a new sending takes its place."""
    with suppress(ObjectNotFoundError, InvalidDocumentError):
        place = send_again_key(robot, sha256)
        again = SendAgain.parse(store.get("receipts", place, limit=64 * 1024), source=f"s3://receipts/{place}")
        return (again.inbox_key, again.modified_at) == (key, modified_at)
    return False


def _key(upload: Upload) -> str:
    return f"{_FOLDER}{hashlib.sha256(upload.key.encode('utf-8', 'surrogatepass')).hexdigest()}.json"


def _read(store: ObjectStore, key: str) -> UnreadableUpload | None:
    try:
        return UnreadableUpload.parse(store.get("quarantine", key), source=f"s3://quarantine/{key}")
    except (ObjectNotFoundError, InvalidDocumentError):
        return None


def _is_local(error: BaseException | None) -> bool:
    """A full disk or too many open files here say nothing about the object."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _OF_THIS_MACHINE):
            return True
        error = error.__cause__ or error.__context__
    return False
