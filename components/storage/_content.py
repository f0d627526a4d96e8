"""Objects by content: written once, checked whenever they are read."""

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from components.contracts import Frozen, ObjectRef
from components.contracts.errors import AlreadyExistsError, IntegrityError

from ._protocol import ObjectInfo, ObjectStore

T = TypeVar("T", bound=Frozen)
COLLECTED = ("models", "datasets")
"""Buckets in which what nothing refers to is garbage once it is old."""
_REFRESHED_AFTER = timedelta(days=1)


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file, lower-case hex, in 1 MiB reads."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def put_once(store: ObjectStore, bucket: str, key: str, data: bytes) -> ObjectRef:
    """Write an immutable object whose key holds its content's name; to find it there already is success.

    Raises:
        IntegrityError: other bytes are there under that name.
    """
    ref = ObjectRef(uri=f"s3://{bucket}/{key}", sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    try:
        store.put(bucket, key, data, if_absent=True)
    except AlreadyExistsError:
        if hashlib.sha256(store.get(bucket, key, limit=max(len(data), 1) * 2)).hexdigest() != ref.sha256:
            raise IntegrityError(f"{ref.uri} holds other bytes than the {ref.size} that name it") from None
        refresh(store, bucket, key, data)
    return ref


def refresh(store: ObjectStore, bucket: str, key: str, data: bytes) -> None:
    """Write an immutable object again if that was a day ago: who found it will use it, and garbage collection goes by
    age. Only in the buckets that are collected."""
    if bucket not in COLLECTED:
        return
    info = store.stat(bucket, key)
    if info is None or info.modified_at < datetime.now(UTC) - _REFRESHED_AFTER:
        store.put(bucket, key, data)


def refresh_file(store: ObjectStore, info: ObjectInfo, path: Path) -> None:
    """`refresh` from a file that holds the object's bytes."""
    if info.bucket in COLLECTED and info.modified_at < datetime.now(UTC) - _REFRESHED_AFTER:
        store.put_file(info.bucket, info.key, path)


def fetch(store: ObjectStore, ref: ObjectRef) -> bytes:
    """Read the object behind a reference.

    Raises:
        IntegrityError: size or SHA-256 differ from the reference's.
    """
    data = store.get(ref.bucket, ref.key, limit=max(ref.size, 1))
    if len(data) != ref.size or hashlib.sha256(data).hexdigest() != ref.sha256:
        raise IntegrityError(f"{ref.uri}: expected {ref.size} bytes of SHA-256 {ref.sha256}, found others")
    return data


def fetch_file(store: ObjectStore, ref: ObjectRef, path: Path) -> Path:
    """`fetch` into a file.

    Raises:
        IntegrityError: size or SHA-256 differ; nothing is left at `path`.
    """
    found = store.get_file(ref.bucket, ref.key, path, limit=ref.size)
    if (found.sha256, found.size) != (ref.sha256, ref.size):
        path.unlink()
        raise IntegrityError(f"{ref.uri}: expected {ref.size} bytes of SHA-256 {ref.sha256}, found others")
    return path


def put_document(store: ObjectStore, bucket: str, prefix: str, document: Frozen) -> ObjectRef:
    """Keep a frozen document as `<prefix>/<digest>.json`."""
    return put_once(store, bucket, f"{prefix}/{document.digest()}.json", document.canonical_json())


def get_document(store: ObjectStore, ref: ObjectRef, kind: type[T]) -> T:
    """Read a document back as `kind`."""
    return kind.parse(fetch(store, ref), source=ref.uri)


def expect_answers(store: ObjectStore) -> None:
    """Make sure that the store takes and gives back a small object: then an object that fails, fails alone.

    Raises:
        StorageError: it does not.
    """
    key, data = f"probe/{uuid.uuid4().hex}", b"probe"
    store.put("quarantine", key, data)
    found = store.get("quarantine", key)
    store.remove("quarantine", key)
    if found != data:
        raise IntegrityError(f"s3://quarantine/{key}: expected the {len(data)} bytes just written, found others")
