"""A store whose process is killed in the middle of its work."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from components.contracts import ObjectRef
from components.storage import FolderStore, ObjectInfo


class DyingStore:
    """A folder store whose process is killed just before its n-th change."""

    def __init__(self, store: FolderStore, changes: int) -> None:
        self._store = store
        self._left = changes

    def _change(self) -> None:
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> ObjectRef:
        self._change()
        return self._store.put(bucket, key, data, if_absent=if_absent)

    def put_file(self, bucket: str, key: str, path: Path, *, if_absent: bool = False) -> ObjectRef:
        self._change()
        return self._store.put_file(bucket, key, path, if_absent=if_absent)

    def get(self, bucket: str, key: str, *, limit: int = 64 * 2**20) -> bytes:
        return self._store.get(bucket, key, limit=limit)

    def get_file(self, bucket: str, key: str, path: Path, *, limit: int | None = None) -> ObjectRef:
        return self._store.get_file(bucket, key, path, limit=limit)

    def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        return self._store.stat(bucket, key)

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._store.list(bucket, prefix)

    def remove(self, bucket: str, key: str) -> None:
        self._change()
        self._store.remove(bucket, key)

    def link(self, bucket: str, key: str, *, hours: int = 24) -> str:
        return self._store.link(bucket, key, hours=hours)


def dies(work: Callable[[], object]) -> bool:
    """Do the work in a child process; True if that was killed."""
    child = os.fork()
    if child == 0:
        done = 1
        try:
            work()
            done = 0
        finally:
            os._exit(done)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)
