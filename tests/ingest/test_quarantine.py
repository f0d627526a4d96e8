"""What stands in quarantine: kept with its rule, judged anew, released by a person's word, under kill and twice."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import pytest

from components import ingest
from components.contracts import Finding, Receipt, SignedReceipt
from components.contracts.errors import EpisodeError
from components.ingest import ReceiptKey
from components.storage import FolderStore, fetch, sha256_of_file
from tests.ingest.dying import DyingStore, dies

Make = Callable[..., Path]
Upload = Callable[..., str]


def dark(path: Path) -> Finding:
    return Finding(
        sha256=sha256_of_file(path), rule="exposure", severity="error", expected="light", observed="brightness 3"
    )  # fmt: skip


def drain(store: FolderStore, key: ReceiptKey, findings: Sequence[Finding] = ()) -> list[Receipt]:
    return ingest.settle(store, ingest.inspect_inbox(store), findings, key=key)


def replay(store: FolderStore, key: ReceiptKey, findings: Sequence[Finding] = ()) -> list[Receipt]:
    return ingest.settle(store, ingest.inspect_quarantine(store), findings, key=key)


def told(store: FolderStore, sha256: str, robot: str = "r1") -> Receipt:
    return SignedReceipt.parse(store.get("receipts", f"{robot}/{sha256}.json"), source="test").receipt


@pytest.fixture
def put_aside(store: FolderStore, key: ReceiptKey, record: Make, upload: Upload) -> Path:
    path = record("dim", robot="r1")
    upload(path)
    drain(store, key, [dark(path)])
    return path


def test_quarantine_keeps_bytes_rule_and_observed_value(store: FolderStore, put_aside: Path) -> None:
    (entry,) = ingest.quarantined(store)
    assert fetch(store, entry.file) == put_aside.read_bytes()
    assert (entry.finding, entry.robot, entry.name) == (dark(put_aside), "r1", "dim")
    assert entry.summary is not None


def test_replay_admits_what_passes_now_and_its_record_keeps_what_it_broke(
    store: FolderStore, key: ReceiptKey, put_aside: Path
) -> None:
    (receipt,) = replay(store, key)
    assert (receipt.status, told(store, receipt.sha256)) == ("accepted", receipt)
    (admitted,) = ingest.records(store)
    assert fetch(store, admitted.file) == put_aside.read_bytes()
    assert admitted.warnings == ("quarantined before by exposure: expected light, found brightness 3",)
    assert ingest.quarantined(store) == []
    assert list(store.list("quarantine")) == []
    assert replay(store, key) == []


def test_replay_leaves_what_still_breaks_a_rule_and_notes_another_one(
    store: FolderStore, key: ReceiptKey, put_aside: Path
) -> None:
    before = told(store, sha256_of_file(put_aside))
    assert replay(store, key, [dark(put_aside)]) == [before]
    assert [entry.earlier for entry in ingest.quarantined(store)] == [()]
    blurred = dark(put_aside).model_copy(update={"rule": "blur"})
    for _ in range(2):
        (receipt,) = replay(store, key, [blurred])
        assert (receipt.status, receipt.rule) == ("quarantined", "blur")
        (entry,) = ingest.quarantined(store)
        assert (entry.finding, entry.earlier) == (blurred, (dark(put_aside),))
    assert fetch(store, entry.file) == put_aside.read_bytes()


def test_replay_judges_structure_by_todays_limits(
    store: FolderStore, key: ReceiptKey, record: Make, upload: Upload
) -> None:
    upload(record("large"))
    ingest.settle(store, ingest.inspect_inbox(store, limits=ingest.Limits(file_bytes=1000)), key=key)
    assert [entry.finding.rule for entry in ingest.quarantined(store)] == ["too-large"]
    assert [receipt.status for receipt in replay(store, key)] == ["accepted"]


def test_bytes_that_were_not_meant_and_keys_of_no_robot_are_never_replayed(
    store: FolderStore, key: ReceiptKey, record: Make, upload: Upload
) -> None:
    upload(record("torn", seed=1), sha256="a" * 64)
    store.put_file("inbox", "elsewhere.h5", record("lost", seed=2))
    drain(store, key)
    assert replay(store, key) == []
    assert sorted(entry.finding.rule for entry in ingest.quarantined(store)) == ["bad-key", "hash-mismatch"]
    for entry in ingest.quarantined(store):
        with pytest.raises(EpisodeError, match="expected an upload of a robot"):
            ingest.release(store, entry.file.sha256, by="ada", reason="it looks fine", key=key)


def test_release_admits_what_broke_a_check_and_says_who_and_why(
    store: FolderStore, key: ReceiptKey, put_aside: Path
) -> None:
    sha256 = sha256_of_file(put_aside)
    receipt = ingest.release(store, sha256, by="ada", reason="dusk is wanted", key=key)
    assert (receipt.status, told(store, sha256)) == ("accepted", receipt)
    (admitted,) = ingest.records(store)
    assert admitted.warnings == (
        "quarantined before by exposure: expected light, found brightness 3",
        "released by ada: dusk is wanted",
    )
    assert ingest.release(store, sha256, by="bob", reason="again", key=key) == receipt
    assert ingest.records(store) == [admitted]
    assert list(store.list("quarantine")) == []


def test_release_refuses_what_is_no_episode_another_robots_or_of_a_taken_name(
    store: FolderStore, key: ReceiptKey, record: Make, upload: Upload
) -> None:
    torn, foreign, first, second = (
        record("torn", seed=1), record("foreign", robot="r2", seed=2), record("same", seed=3), record("same", seed=4)
    )  # fmt: skip
    os.truncate(torn, 5000)
    for path in (torn, foreign, first):
        upload(path)
    drain(store, key)
    upload(second)
    drain(store, key)
    for path, rule in ((torn, "unreadable"), (foreign, "robot-mismatch"), (second, "name-conflict")):
        with pytest.raises(EpisodeError, match="cannot be released") as caught:
            ingest.release(store, sha256_of_file(path), by="ada", reason="please", key=key)
        assert caught.value.rule == rule
    with pytest.raises(EpisodeError) as caught:
        ingest.release(store, "0" * 64, by="ada", reason="please", key=key)
    assert caught.value.rule == "not-quarantined"
    assert len(ingest.quarantined(store)) == 3


@pytest.mark.parametrize("how", ["replay", "release", "upload"])
def test_leaving_quarantine_killed_at_every_write_is_finished_by_doing_it_again(
    store: FolderStore, key: ReceiptKey, put_aside: Path, tmp_path: Path, how: str
) -> None:
    sha256, deaths = sha256_of_file(put_aside), 0
    if how == "upload":
        store.put_file("inbox", f"r1/{sha256}/dim.h5", put_aside)

    def leave(target: FolderStore | DyingStore) -> None:
        if how == "release":
            ingest.release(target, sha256, by="ada", reason="wanted", key=key)
            return
        inspect = ingest.inspect_inbox if how == "upload" else ingest.inspect_quarantine
        ingest.settle(target, inspect(target), key=key)

    while True:
        trial = FolderStore(tmp_path / f"killed-{deaths}")
        shutil.copytree(store.root, trial.root)
        if not dies(lambda trial=trial, left=deaths: leave(DyingStore(trial, left))):
            break
        deaths += 1
        assert {sha256_of_file(path) for path in trial.root.rglob("*.h5")} == {sha256}
        leave(trial)
        replay(trial, key)
        (admitted,) = ingest.records(trial)
        assert len(admitted.warnings) == (2 if how == "release" else 1)
        assert (told(trial, sha256).status, list(trial.list("quarantine"))) == ("accepted", [])
    assert deaths >= 6


def test_same_name_with_other_bytes_raises_an_alarm(
    store: FolderStore, key: ReceiptKey, record: Make, upload: Upload, caplog: pytest.LogCaptureFixture
) -> None:
    upload(record("same", seed=1))
    drain(store, key)
    upload(record("same", seed=2))
    drain(store, key)
    (alarm,) = [item for item in caplog.records if item.levelname == "ERROR"]
    assert "same of r1 came again with other bytes" in alarm.getMessage()


def test_name_of_an_upload_that_vanished_goes_to_the_next_one(
    store: FolderStore, key: ReceiptKey, record: Make, upload: Upload, tmp_path: Path
) -> None:
    first, second = record("same", seed=1), record("same", seed=2)
    upload_key = upload(first)
    (slow,) = ingest.inspect_inbox(store)
    assert dies(lambda: ingest.settle(DyingStore(store, 1), [slow], key=key))  # it claimed the name, and no more
    store.remove("inbox", upload_key)
    upload(second)
    assert [item.status for item in drain(store, key)] == ["accepted"]
    upload(first)
    assert [item.rule for item in drain(store, key)] == ["name-conflict"]


def test_replaying_two_files_of_one_name_admits_one(
    store: FolderStore, key: ReceiptKey, record: Make, upload: Upload
) -> None:
    paths = [record("same", seed=seed) for seed in (1, 2)]
    for path in paths:
        upload(path)
    drain(store, key, [dark(path) for path in paths])
    assert sorted(item.status for item in replay(store, key)) == ["accepted", "quarantined"]
    assert len(ingest.records(store)) == len(ingest.quarantined(store)) == 1


def test_same_bytes_of_another_robot_stay_in_quarantine_when_the_owner_sends_them(
    store: FolderStore, key: ReceiptKey, record: Make, upload: Upload
) -> None:
    path = record("mine", robot="r2")
    upload(path, robot="r1")
    upload(path, robot="r2")
    drain(store, key)
    (entry,) = ingest.quarantined(store)
    assert (entry.robot, entry.finding.rule) == ("r1", "robot-mismatch")
    assert len(ingest.records(store)) == 1


def test_finding_of_a_second_run_does_not_quarantine_what_the_first_admitted(
    store: FolderStore, key: ReceiptKey, record: Make, upload: Upload
) -> None:
    path = record("once")
    upload(path)
    late = [item.model_copy(update={"path": None}) for item in ingest.inspect_inbox(store)]
    drain(store, key)
    upload(path)
    assert [item.status for item in ingest.settle(store, late, [dark(path)], key=key)] == ["accepted"]
    assert ingest.quarantined(store) == []


def test_attributes_tell_versions_of_one_episode_apart(
    store: FolderStore, key: ReceiptKey, record: Make, upload: Upload
) -> None:
    path = record("noted")
    upload(path)
    with h5py.File(path, "a") as file:
        file.attrs["operator_note"] = "wet floor"
    upload(path)
    candidates = ingest.inspect_inbox(store)
    assert len({item.sha256 for item in candidates}) == 2
    assert len({item.summary.content_sha256 for item in candidates if item.summary}) == 1
