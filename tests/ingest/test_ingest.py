"""From the inbox to an episode or to quarantine, over a real store with real files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from components import ingest
from components.contracts import Finding, Receipt, SignedReceipt
from components.storage import FolderStore, fetch, sha256_of_file

Make = Callable[..., Path]
Upload = Callable[..., str]
Keys = Callable[[], list[str]]
NAME = "episode_20250815_103000_1box_vert_left_core_medium"


def drain(store: FolderStore, findings: tuple[Finding, ...] = ()) -> list[Receipt]:
    return settle(store, ingest.inspect_inbox(store), findings)


def settle(store: FolderStore, candidates: list[ingest.Candidate], findings: tuple[Finding, ...] = ()) -> list[Receipt]:
    return ingest.settle(store, candidates, findings, key=key_of(store))


def key_of(store: FolderStore) -> ingest.ReceiptKey:
    return ingest.ReceiptKey(store.root.parent / "receipt-key.pem")


def signed(store: FolderStore, receipt: Receipt) -> SignedReceipt:
    key = f"{receipt.robot}/{receipt.sha256}.json"
    return SignedReceipt.parse(store.get("receipts", key), source="test")


def recompressed(path: Path) -> Path:
    """The same episode in other bytes."""
    copy = path.with_name("copy.h5")
    shutil.copy(path, copy)
    with h5py.File(copy, "a") as file:
        file.attrs["operator_note"] = "again"
    return copy


def test_upload_becomes_an_episode_with_record_and_receipt(
    store: FolderStore, record: Make, upload: Upload, inbox_keys: Keys
) -> None:
    path = record(NAME, robot="r1")
    upload(path)

    (receipt,) = drain(store)

    (entry,) = ingest.records(store)
    assert (receipt.status, receipt.sha256, receipt.size) == ("accepted", sha256_of_file(path), path.stat().st_size)
    assert fetch(store, entry.file) == path.read_bytes()
    assert (entry.summary.robot, entry.summary.scenario, entry.summary.frames) == ("r1", "1box_vert_left", 4)
    assert signed(store, receipt) == key_of(store).sign(receipt)
    assert inbox_keys() == []


def test_ten_uploads_of_one_episode_are_one_episode(
    store: FolderStore, record: Make, upload: Upload, inbox_keys: Keys
) -> None:
    path = record(NAME, robot="r1")
    for index in range(5):
        upload(path, name=f"try-{index}")
    first = drain(store)
    for index in range(4, 9):
        upload(path, name=f"try-{index}")
    second = drain(store)
    upload(path, name="try-0")
    third = drain(store)

    assert {receipt.status for receipt in first + second + third} == {"accepted"}
    assert len(ingest.records(store)) == 1
    assert len(list(store.list("receipts"))) == 1
    assert third[0] == first[0]
    assert inbox_keys() == []


def test_same_name_with_other_bytes_keeps_both_and_quarantines_the_second(
    store: FolderStore, record: Make, upload: Upload
) -> None:
    first, second = record(NAME, seed=1), record(NAME, seed=2)
    upload(first)
    drain(store)
    upload(second)
    (receipt,) = drain(store)

    assert (receipt.status, receipt.rule) == ("quarantined", "name-conflict")
    (entry,) = ingest.quarantined(store)
    assert fetch(store, entry.file) == second.read_bytes()
    assert entry.finding.observed.endswith(sha256_of_file(first))
    assert [item.summary.sha256 for item in ingest.records(store)] == [sha256_of_file(first)]


def test_same_name_twice_in_one_batch_admits_the_older_upload(store: FolderStore, record: Make, upload: Upload) -> None:
    first, second = record(NAME, seed=1), record(NAME, seed=2)
    upload(first)
    upload(second)
    assert {item.rule for item in drain(store)} == {None, "name-conflict"}


def test_same_name_from_another_robot_is_no_conflict(store: FolderStore, record: Make, upload: Upload) -> None:
    upload(record(NAME, robot="r1", seed=1), robot="r1")
    upload(record(NAME, robot="r2", seed=2), robot="r2")
    assert [item.status for item in drain(store)] == ["accepted", "accepted"]


def test_name_claimed_by_an_episode_that_never_came_is_free(store: FolderStore, record: Make, upload: Upload) -> None:
    store.put("episodes", f"names/r1/{NAME}.json", json.dumps({"sha256": "0" * 64}).encode())
    upload(record(NAME))
    assert [item.status for item in drain(store)] == ["accepted"]


def test_bytes_that_are_not_the_keys_get_no_receipt_that_frees_the_robots_copy(
    store: FolderStore, record: Make, upload: Upload, inbox_keys: Keys
) -> None:
    path = record(NAME)
    meant = sha256_of_file(path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(bytes(damaged))
    upload(path, sha256=meant)

    (receipt,) = drain(store)

    assert (receipt.rule, receipt.sha256) == ("hash-mismatch", sha256_of_file(path))
    assert store.stat("receipts", f"r1/{meant}.json") is None
    assert inbox_keys() == []
    (entry,) = ingest.quarantined(store)
    assert fetch(store, entry.file) == bytes(damaged)


@pytest.mark.parametrize(
    "key", ["loose.h5", "r1/short/name.h5", "R1/" + "0" * 64 + "/name.h5", "r1/" + "0" * 64 + "/na me.bin", "a/b/c/d/e"]
)
def test_key_of_another_shape_is_quarantined_without_a_receipt(
    store: FolderStore, record: Make, inbox_keys: Keys, key: str
) -> None:
    path = record(NAME)
    store.put_file("inbox", key, path)

    assert drain(store) == []

    (entry,) = ingest.quarantined(store)
    assert (entry.finding.rule, entry.inbox_key, entry.robot) == ("bad-key", key, None)
    assert fetch(store, entry.file) == path.read_bytes()
    assert inbox_keys() == []


def test_episode_of_another_robot_is_refused(store: FolderStore, record: Make, upload: Upload) -> None:
    upload(record(NAME, robot="r2"), robot="r1")
    (receipt,) = drain(store)
    assert (receipt.robot, receipt.rule) == ("r1", "robot-mismatch")
    assert ingest.records(store) == []


def test_admitted_episode_sent_again_by_another_robot_is_refused(
    store: FolderStore, record: Make, upload: Upload
) -> None:
    path = record(NAME, robot="r2")
    upload(path, robot="r2")
    drain(store)
    upload(path, robot="r1")
    (receipt,) = drain(store)
    assert (receipt.robot, receipt.rule) == ("r1", "robot-mismatch")
    assert len(ingest.records(store)) == 1


def test_error_finding_quarantines_and_warning_is_noted(store: FolderStore, record: Make, upload: Upload) -> None:
    good, bad = record("good", seed=1), record("bad", seed=2)
    upload(good)
    upload(bad)
    findings = (
        Finding(sha256=sha256_of_file(good), rule="exposure", severity="warning", expected="light", observed="dark"),
        Finding(sha256=sha256_of_file(bad), rule="exposure", severity="warning", expected="light", observed="dark"),
        Finding(sha256=sha256_of_file(bad), rule="finite", severity="error", expected="numbers", observed="NaN"),
    )
    receipts = drain(store, findings)

    assert {item.name: item.rule for item in receipts} == {"good": None, "bad": "finite"}
    assert [item.warnings for item in ingest.records(store)] == [("exposure: expected light, found dark",)]
    (entry,) = ingest.quarantined(store)
    assert entry.summary is not None


def test_quarantined_upload_is_admitted_once_the_rule_is_gone(store: FolderStore, record: Make, upload: Upload) -> None:
    path = record(NAME)
    finding = Finding(sha256=sha256_of_file(path), rule="exposure", severity="error", expected="light", observed="dark")
    upload(path)
    drain(store, (finding,))
    upload(path)
    (receipt,) = drain(store)
    assert receipt.status == "accepted"
    assert signed(store, receipt) == key_of(store).sign(receipt)


def test_file_above_the_cap_is_quarantined_unopened(store: FolderStore, record: Make, upload: Upload) -> None:
    upload(record(NAME))
    (candidate,) = ingest.inspect_inbox(store, limits=ingest.Limits(file_bytes=1000))
    assert candidate.finding is not None
    assert candidate.finding.rule == "too-large"


def test_object_too_large_to_fetch_stays_in_the_inbox(
    store: FolderStore, record: Make, upload: Upload, inbox_keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    key = upload(record(NAME))
    assert ingest.inspect_inbox(store, limits=ingest.Limits(fetch_bytes=1000)) == []
    assert inbox_keys() == [key]
    assert "stays where it is" in caplog.text


def test_file_that_takes_too_long_is_quarantined_and_the_next_ones_are_not_held_up(
    store: FolderStore, record: Make, upload: Upload
) -> None:
    upload(record(NAME))
    (late,) = ingest.inspect_inbox(store, limits=ingest.Limits(wall_s=1e-4))
    assert late.finding is not None
    assert late.finding.rule == "timeout"
    (in_time,) = ingest.inspect_inbox(store)
    assert in_time.finding is None


def test_candidates_survive_json_and_the_loss_of_their_local_copies(
    store: FolderStore, record: Make, upload: Upload
) -> None:
    upload(record("one", seed=1))
    upload(record("two", seed=2))
    candidates = ingest.inspect_inbox(store)
    for candidate in candidates:
        Path(candidate.path or "").unlink()
    again = [ingest.Candidate.parse(candidate.canonical_json(), source="test") for candidate in candidates]
    assert [item.status for item in settle(store, again)] == ["accepted", "accepted"]


def test_local_copies_stay_within_their_budget_and_are_removed(
    store: FolderStore, record: Make, upload: Upload, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    (scratch / "drover-ingest-999999999-old").mkdir(parents=True)
    for index in range(3):
        upload(record(f"e{index}", seed=index))
    candidates = ingest.inspect_inbox(store, scratch=scratch, scratch_bytes=60_000)

    kept = [Path(candidate.path) for candidate in candidates if candidate.path]
    assert 0 < len(kept) < 3
    assert sum(path.stat().st_size for path in kept) <= 60_000
    assert len(settle(store, candidates)) == 3
    assert list(scratch.iterdir()) == []


def test_settling_again_changes_nothing(store: FolderStore, record: Make, upload: Upload) -> None:
    upload(record("one", seed=1))
    upload(record("two", robot="r9", seed=2))
    candidates = ingest.inspect_inbox(store)
    first = settle(store, candidates)
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    again = settle(store, candidates)
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before
    assert all(receipt in first for receipt in again)


def test_unsigned_receipt_of_an_older_platform_is_replaced_by_a_signed_one(
    store: FolderStore, record: Make, upload: Upload
) -> None:
    path = record(NAME)
    upload(path)
    (receipt,) = drain(store)
    store.put("receipts", f"r1/{receipt.sha256}.json", receipt.canonical_json())
    upload(path)
    (again,) = drain(store)
    assert signed(store, again) == key_of(store).sign(again)


def test_empty_inbox_gives_no_candidates(store: FolderStore) -> None:
    assert ingest.inspect_inbox(store) == []
    assert settle(store, []) == []


def test_progress_counts_every_file(store: FolderStore, record: Make, upload: Upload) -> None:
    for index in range(3):
        upload(record(f"e{index}", seed=index))
    counted: list[tuple[int, int]] = []
    ingest.inspect_inbox(store, progress=lambda done, total: counted.append((done, total)))
    assert counted == [(1, 3), (2, 3), (3, 3)]
