"""Writes that count once the store has given the same bytes back.

A checksum that a server computes while it receives says nothing about what it keeps: the bytes are read back and
hashed. What is read may come from a cache of the server: a medium that loses its content later is not noticed here.
"""

import logging
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from components.contracts import ObjectRef
from components.contracts.errors import (
    AlreadyExistsError,
    IntegrityError,
    ObjectNotFoundError,
    StorageError,
)
from components.storage import ObjectStore, expect_answers

_LOG = logging.getLogger(__name__)
_WRITES = 3


def keep_file(store: ObjectStore, ref: ObjectRef, path: Path, folder: Path) -> None:
    """Store a file under the name of its content, once, and read it back; a wrong copy that is there is replaced.

    Args:
        store: where to.
        ref: where to, with the SHA-256 and size that count.
        path: the file.
        folder: for the bytes that are read back.

    Raises:
        IntegrityError: the store gave other bytes back each time, and they were removed; or the file itself changed.
        StorageError: the store failed.
    """
    for attempt in range(_WRITES):
        with suppress(AlreadyExistsError):
            written = store.put_file(ref.bucket, ref.key, path, if_absent=attempt == 0)
            if (written.sha256, written.size) != (ref.sha256, ref.size):
                store.remove(ref.bucket, ref.key)
                raise IntegrityError(f"{path} changed on this machine between inspection and settling; inspect again")
        if holds(store, ref, folder):
            return
        _LOG.error("ALARM store: %s holds other bytes than were written; it is written again", ref.uri)
    with suppress(StorageError):
        store.remove(ref.bucket, ref.key)
    raise IntegrityError(
        f"{ref.uri}: expected the store to give back {ref.size} bytes of SHA-256 {ref.sha256}, found others after "
        f"{_WRITES} writes; they were removed: look at the store's disks"
    )


def holds(store: ObjectStore, ref: ObjectRef, folder: Path) -> bool:
    """The store gives these bytes back now. An object that it cannot read counts as another one.

    Raises:
        StorageError: the store gives nothing back at all.
    """
    try:
        info = store.stat(ref.bucket, ref.key)
        if info is None or info.size != ref.size:
            return False
        with tempfile.TemporaryDirectory(dir=folder) as place:
            found = store.get_file(ref.bucket, ref.key, Path(place) / "copy", limit=ref.size)
    except ObjectNotFoundError:
        return False
    except StorageError as error:
        expect_answers(store)
        _LOG.error("ALARM store: %s cannot be read: %s", ref.uri, error)
        return False
    return (found.sha256, found.size) == (ref.sha256, ref.size)


def keep_document(
    store: ObjectStore,
    bucket: str,
    key: str,
    document: bytes,
    *,
    if_absent: bool = False,
    accepts: Callable[[bytes], bool] = lambda _found: False,
) -> None:
    """Write a document and read it back.

    Args:
        store, bucket, key, document: what goes where.
        if_absent: what is there already stays, if `accepts` takes it; otherwise it is replaced.
        accepts: takes other bytes than `document`, of another writer.

    Raises:
        IntegrityError: the store gave something else back each time.
        StorageError: the store failed.
    """
    for attempt in range(_WRITES):
        with suppress(AlreadyExistsError):
            store.put(bucket, key, document, if_absent=if_absent and attempt == 0)
        with suppress(ObjectNotFoundError):
            found = store.get(bucket, key)
            if found == document or accepts(found):
                return
        _LOG.error("ALARM store: s3://%s/%s holds another document than was written; it is written again", bucket, key)
    raise IntegrityError(
        f"s3://{bucket}/{key}: expected the store to give back the {len(document)} bytes that were written, found "
        f"others after {_WRITES} writes; look at the store's disks"
    )
