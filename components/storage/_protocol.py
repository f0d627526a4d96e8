"""What Drover asks of an object store. Two things implement it: an S3 server, and a folder for tests."""

import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from components.contracts import Frozen, ObjectRef
from components.contracts.errors import StorageError

_LOG = logging.getLogger(__name__)
BUCKETS = ("inbox", "episodes", "quarantine", "receipts", "datasets", "models", "releases", "reports")
"""`inbox`: robots write by the gateway's links. `releases`: robots read. The rest: the platform's and the gateway's."""


def uri_of(bucket: str, key: str) -> str:
    """`s3://bucket/key`, for names that mean the same in every store.

    Raises:
        StorageError: an empty part, `.` or `..`: a server and a folder would take them differently.
    """
    if any(part in {"", ".", ".."} for part in (bucket, *key.split("/"))) or "/" in bucket:
        raise StorageError(f"expected a bucket and a key without empty, '.' or '..' parts, got {bucket!r}, {key!r}")
    return f"s3://{bucket}/{key}"


class ObjectInfo(Frozen):
    """One listed object. No hash: an ETag is none under multipart."""

    bucket: str
    key: str
    size: int
    modified_at: datetime


def listed(bucket: str, key: str, size: int | str, modified_at: datetime | str) -> ObjectInfo | None:
    """One object of a listing. One whose name or date means nothing here is left out, and the log says so: it must not
    end the listing of all others."""
    try:
        return ObjectInfo.model_validate({"bucket": bucket, "key": key, "size": size, "modified_at": modified_at})
    except ValidationError as error:
        fault = error.errors()[0]["msg"]
        _LOG.error("ALARM store: an object of %s is left out, its listing is damaged (%s): %a", bucket, fault, key)
        return None


class ObjectStore(Protocol):
    """Objects in buckets. Every write is whole or not there at all.

    Errors of all calls: `ObjectNotFoundError`, and `StorageError` when the server cannot be reached or
    refuses, after bounded retries.
    """

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> ObjectRef:
        """Write `data`.

        Raises:
            AlreadyExistsError: `if_absent`, and the object is there; it is untouched.
        """

    def put_file(self, bucket: str, key: str, path: Path, *, if_absent: bool = False) -> ObjectRef:
        """`put` from a file; memory stays under 32 MiB. A large one goes up in parts, a conditional one whole."""

    def get(self, bucket: str, key: str, *, limit: int = 64 * 2**20) -> bytes:
        """Read a whole object of at most `limit` bytes (larger: `StorageError`)."""

    def get_file(
        self, bucket: str, key: str, path: Path, *, limit: int | None = None, resume: bool = False
    ) -> ObjectRef:
        """Read into a file (written beside it first, then renamed); the SHA-256 is computed on the way.

        A connection that is cut is taken up again where it broke, for as long as each brings something.

        Args:
            resume: what had come when this fails stays in `<path>.part`, and the next call goes on from there. Only for
                keys whose bytes never change, and the caller checks the hash.
        """

    def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        """None if there is no such object."""

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects under `prefix`, by key."""

    def remove(self, bucket: str, key: str) -> None:
        """Remove; no error if it is not there."""

    def link(self, bucket: str, key: str, *, hours: int = 24) -> str:
        """A URL a browser can open for that long."""
