"""A folder as an object store: same interface, same guarantees, no server. One process or many on one machine."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from components.contracts import ObjectRef
from components.contracts.errors import AlreadyExistsError, ObjectNotFoundError, StorageError

from ._content import sha256_of_file
from ._files import open_plain, remove_any
from ._protocol import ObjectInfo, listed, uri_of


class FolderStore:
    """Buckets are folders below `root`, a key's slashes too. A write is a temporary file, fsync, link or rename."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _path(self, bucket: str, key: str) -> Path:
        uri_of(bucket, key)
        return self.root / bucket / key

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> ObjectRef:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            return self.put_file(bucket, key, Path(file.name), if_absent=if_absent)

    def put_file(self, bucket: str, key: str, path: Path, *, if_absent: bool = False) -> ObjectRef:
        target = self._path(bucket, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = self.root / ".staging"
        staging.mkdir(exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=staging)
        try:
            with os.fdopen(descriptor, "wb") as file, path.open("rb") as source:
                shutil.copyfileobj(source, file, 2**20)
                file.flush()
                os.fsync(file.fileno())
            ref = ObjectRef(
                uri=f"s3://{bucket}/{key}", sha256=sha256_of_file(Path(name)), size=Path(name).stat().st_size
            )
            if if_absent:
                os.link(name, target)  # atomic, and fails if it is there
            else:
                Path(name).replace(target)
        except FileExistsError:
            raise AlreadyExistsError(f"s3://{bucket}/{key} is there already; it was not touched") from None
        finally:
            Path(name).unlink(missing_ok=True)
        return ref

    def get(self, bucket: str, key: str, *, limit: int = 64 * 2**20) -> bytes:
        with self._open(bucket, key, limit) as file:
            return file.read()

    def get_file(
        self, bucket: str, key: str, path: Path, *, limit: int | None = None, resume: bool = False
    ) -> ObjectRef:
        part = path.with_name(path.name + ".part")
        remove_any(part)  # what is there may be a link; a new file is nobody else's
        with (
            self._open(bucket, key, limit) as source,
            open_plain(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as target,
        ):
            shutil.copyfileobj(source, target, 2**20)
        ref = ObjectRef(uri=f"s3://{bucket}/{key}", sha256=sha256_of_file(part), size=part.stat().st_size)
        part.replace(path)
        return ref

    def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            status = self._path(bucket, key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not S_ISREG(status.st_mode):
            return None
        return listed(bucket, key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        base = self.root / bucket
        keys = sorted(path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file())
        for key in keys:
            if key.startswith(prefix) and (info := self.stat(bucket, key)):
                yield info

    def remove(self, bucket: str, key: str) -> None:
        self._path(bucket, key).unlink(missing_ok=True)

    def link(self, bucket: str, key: str, *, hours: int = 24) -> str:
        return self._path(bucket, key).absolute().as_uri()

    def _open(self, bucket: str, key: str, limit: int | None) -> BinaryIO:
        """Opened first and asked afterwards: another process may remove it at any moment."""
        try:
            file = self._path(bucket, key).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectNotFoundError(f"s3://{bucket}/{key} is not there") from None
        if limit is not None and (size := os.fstat(file.fileno()).st_size) > limit:
            file.close()
            raise StorageError(f"s3://{bucket}/{key}: expected at most {limit} bytes, found {size}")
        return file
