"""A store that is read from and a folder that is written to: what is tried leaves no trace in the store."""

from collections.abc import Iterator
from pathlib import Path

from components.contracts import ObjectRef
from components.contracts.errors import AlreadyExistsError, StorageError

from ._folder import FolderStore
from ._protocol import BUCKETS, ObjectInfo, ObjectStore


class OverlayStore:
    """Reads what was written here, and else what `below` holds; nothing is ever written to or removed from `below`."""

    def __init__(self, below: ObjectStore, folder: Path, *, hidden: tuple[str, ...] = ()) -> None:
        """
        Args:
            below: Read alone.
            folder: What is written.
            hidden: `bucket/prefix` of objects of `below` that are not to be found, e.g. what was remembered.
        """
        self.below, self.own, self._hidden = below, FolderStore(folder), hidden

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> ObjectRef:
        self._free(bucket, key, if_absent)
        return self.own.put(bucket, key, data, if_absent=if_absent)

    def put_file(self, bucket: str, key: str, path: Path, *, if_absent: bool = False) -> ObjectRef:
        self._free(bucket, key, if_absent)
        return self.own.put_file(bucket, key, path, if_absent=if_absent)

    def get(self, bucket: str, key: str, *, limit: int = 64 * 2**20) -> bytes:
        return self._holder(bucket, key).get(bucket, key, limit=limit)

    def get_file(
        self, bucket: str, key: str, path: Path, *, limit: int | None = None, resume: bool = False
    ) -> ObjectRef:
        return self._holder(bucket, key).get_file(bucket, key, path, limit=limit, resume=resume)

    def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        return self._holder(bucket, key).stat(bucket, key)

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        found = {info.key: info for info in self.below.list(bucket, prefix) if not self._hides(bucket, info.key)}
        found |= {info.key: info for info in self.own.list(bucket, prefix)}
        return (found[key] for key in sorted(found))

    def remove(self, bucket: str, key: str) -> None:
        """
        Raises:
            StorageError: the object is in the store below.
        """
        if self._holder(bucket, key) is self.below:
            raise StorageError(f"s3://{bucket}/{key} lies in a store that is only read here; remove it there")
        self.own.remove(bucket, key)

    def link(self, bucket: str, key: str, *, hours: int = 24) -> str:
        return self._holder(bucket, key).link(bucket, key, hours=hours)

    def written(self) -> Iterator[ObjectInfo]:
        """All that was written here."""
        return (info for bucket in BUCKETS for info in self.own.list(bucket))

    def _hides(self, bucket: str, key: str) -> bool:
        return f"{bucket}/{key}".startswith(self._hidden)

    def _holder(self, bucket: str, key: str) -> ObjectStore:
        if self.own.stat(bucket, key) is None and not self._hides(bucket, key) and self.below.stat(bucket, key):
            return self.below
        return self.own

    def _free(self, bucket: str, key: str, if_absent: bool) -> None:
        if if_absent and self.stat(bucket, key) is not None:
            raise AlreadyExistsError(f"s3://{bucket}/{key} is there already; it was not touched")
