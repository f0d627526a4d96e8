"""SIGKILL at every write of `settle`: nothing is lost, and a rerun finishes."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from components import ingest
from components.contracts import ObjectRef
from components.storage import FolderStore, ObjectInfo, sha256_of_file

Make = Callable[..., Path]
Upload = Callable[..., str]


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


def settle_and_die(
    store: FolderStore, candidates: list[ingest.Candidate], key: ingest.ReceiptKey, changes: int
) -> bool:
    """In a child process; True if it was killed."""
    child = os.fork()
    if child == 0:
        ingest.settle(DyingStore(store, changes), candidates, key=key)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def held(root: Path) -> set[str]:
    """SHA-256 of every episode file that the store holds, wherever."""
    return {sha256_of_file(path) for path in root.rglob("*.h5")}


def counted(store: FolderStore) -> tuple[list[str], list[tuple[str, str]], list[str], list[str]]:
    return (
        sorted(item.summary.name for item in ingest.records(store)),
        sorted((item.name, item.finding.rule) for item in ingest.quarantined(store)),
        sorted(info.key for info in store.list("receipts")),
        [info.key for info in store.list("inbox")],
    )


def test_settling_killed_at_every_write_loses_nothing_and_is_finished_by_a_rerun(
    store: FolderStore, key: ingest.ReceiptKey, record: Make, upload: Upload, tmp_path: Path
) -> None:
    good, rival, torn = record("same", seed=1), record("same", seed=2), record("torn", seed=3)
    os.truncate(torn, 5000)
    keys = [upload(good), upload(rival), upload(torn), upload(good, name="again")]
    for age, upload_key in enumerate(reversed(keys)):  # so that every copy of the inbox has the same order of arrival
        os.utime(store.root / "inbox" / upload_key, (1e9 - age, 1e9 - age))
    everything = held(store.root)
    candidates = [
        candidate.model_copy(update={"path": None}) for candidate in ingest.inspect_inbox(store, scratch_bytes=0)
    ]

    reference = FolderStore(tmp_path / "reference")
    shutil.copytree(store.root, reference.root)
    ingest.settle(reference, candidates, key=key)
    expected = counted(reference)
    assert expected[:2] == (["same"], [("same", "name-conflict"), ("torn", "unreadable")])

    deaths = 0
    while True:
        trial = FolderStore(tmp_path / f"killed-{deaths}")
        shutil.copytree(store.root, trial.root)
        if not settle_and_die(trial, candidates, key, deaths):
            break
        deaths += 1
        assert held(trial.root) == everything
        ingest.settle(trial, ingest.inspect_inbox(trial, workers=1), key=key)
        assert counted(trial) == expected
        assert held(trial.root) == everything
    assert deaths >= 13
