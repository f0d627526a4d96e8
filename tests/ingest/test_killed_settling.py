"""SIGKILL at every write of `settle`: nothing is lost, and a rerun finishes."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from components import ingest
from components.storage import FolderStore, sha256_of_file
from tests.ingest.dying import DyingStore, dies

Make = Callable[..., Path]
Upload = Callable[..., str]


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
        if not dies(lambda trial=trial, left=deaths: ingest.settle(DyingStore(trial, left), candidates, key=key)):
            break
        deaths += 1
        assert held(trial.root) == everything
        ingest.settle(trial, ingest.inspect_inbox(trial, workers=1), key=key)
        assert counted(trial) == expected
        assert held(trial.root) == everything
    assert deaths >= 13
