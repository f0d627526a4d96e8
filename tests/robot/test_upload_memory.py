"""What a spool remembers: hashes, open uploads, proofs, alarms. It helps, and it is never needed."""

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from components.contracts import Receipt, SignedReceipt
from components.contracts.errors import SpoolFullError
from components.episodes import KEYS, EpisodeAttributes
from components.robot import Recorder, Spool
from components.robot._receipts import why_not_trusted
from components.robot._upload_journal import FILE, Entry, UploadJournal

SHA, OTHER = "a" * 64, "b" * 64
ENTRY = Entry(name="one", size=3, modified_ns=5, sha256=SHA)


def _receipt(key: Ed25519PrivateKey, **changes: object) -> SignedReceipt:
    facts = {
        "robot": "robot-1", "name": "one", "sha256": SHA, "size": 3, "status": "accepted",
        "issued_at": datetime.now(UTC),
    } | changes  # fmt: skip
    receipt = Receipt.model_validate(facts)
    public = key.public_key().public_bytes_raw().hex()
    return SignedReceipt(receipt=receipt, key=public, signature=key.sign(receipt.canonical_json()).hex())


def _why(signed: SignedReceipt, key: Ed25519PrivateKey) -> str | None:
    return why_not_trusted(
        signed, robot="robot-1", sha256=SHA, size=3, keys=(OTHER, key.public_key().public_bytes_raw().hex())
    )


def test_a_receipt_counts_only_with_a_pinned_key_over_these_very_words() -> None:
    key, thief = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    good = _receipt(key)
    assert _why(good, key) is None
    assert "a key that this robot was not told of" in str(_why(_receipt(thief), key))
    claimed = _receipt(thief).model_copy(update={"key": good.key})
    assert "not of these words" in str(_why(claimed, key))
    altered = good.model_copy(update={"receipt": good.receipt.model_copy(update={"name": "two"})})
    assert "not of these words" in str(_why(altered, key))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"robot": "robot-2"}, "for robot-2"), ({"sha256": OTHER}, "other bytes"), ({"size": 4}, "other bytes")],
    ids=["robot", "sha256", "size"],
)
def test_a_well_signed_receipt_for_anything_else_is_none(changes: dict[str, object], words: str) -> None:
    key = Ed25519PrivateKey.generate()
    assert words in str(_why(_receipt(key, **changes), key))


def test_what_was_noted_is_there_for_the_next_process(tmp_path: Path) -> None:
    journal = UploadJournal(tmp_path)
    journal.save(ENTRY)
    journal.save(ENTRY.model_copy(update={"state": "open", "upload_id": "u", "parts_done": 2}))
    journal.alarm("gateway", "away")
    again = UploadJournal(tmp_path)
    assert [entry.parts_done for entry in again.entries()] == [2]
    assert [alarm.kind for alarm in again.alarms()] == ["gateway"]
    again.clear("gateway")
    again.forget("one")
    assert (journal.entries(), journal.alarms()) == ([], [])


def test_an_alarm_keeps_the_time_of_its_first_word(tmp_path: Path) -> None:
    journal = UploadJournal(tmp_path)
    journal.alarm("gateway", "away")
    (first,) = journal.alarms()
    journal.alarm("gateway", "still away")
    (second,) = journal.alarms()
    assert (second.text, second.since) == ("still away", first.since)


def test_a_confirmation_keeps_the_proof_and_forgets_the_work(tmp_path: Path) -> None:
    journal, signed = UploadJournal(tmp_path), _receipt(Ed25519PrivateKey.generate())
    journal.save(ENTRY)
    journal.confirm("one", signed)
    assert journal.confirmed(SHA) == signed
    assert journal.confirmed(OTHER) is None
    assert (journal.entries(), journal.count_confirmed()) == ([], 1)


@pytest.mark.parametrize("where", [0, 100, 4096])
def test_a_damaged_journal_is_put_aside_and_work_goes_on(tmp_path: Path, where: int) -> None:
    journal = UploadJournal(tmp_path)
    journal.save(ENTRY)
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(where)
        file.write(os.urandom(4096))
    again = UploadJournal(tmp_path)
    for _ in range(3):
        again.save(ENTRY)
    assert again.entry("one") == ENTRY
    assert (tmp_path / f"{FILE}.damaged").exists()


def test_a_journal_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    journal = UploadJournal(tmp_path)
    journal.save(ENTRY)
    journal.alarm("gateway", "away")
    assert (journal.entry("one"), journal.confirmed(SHA), journal.alarms()) == (None, None, [])


def test_the_status_shows_a_full_spool_until_there_is_room(tmp_path: Path) -> None:
    recorder = Recorder(Spool(tmp_path), "robot-1")
    image = np.random.default_rng(0).integers(0, 256, (54, 96, 3), dtype=np.uint8)
    recorder.start(EpisodeAttributes(name="one"), height=54, width=96)
    recorder.append(image, KEYS["space"], "episode_start")
    path = recorder.finish()
    full = Spool(tmp_path, capacity_bytes=path.stat().st_size)
    with pytest.raises(SpoolFullError):
        Recorder(full, "robot-1").start(EpisodeAttributes(name="two"), height=54, width=96)
    status = full.status()
    assert (status.pending, status.sent, status.recording, status.quarantined, status.confirmed) == (1, 0, 0, 0, 0)
    assert [alarm.kind for alarm in status.alarms] == ["spool-full"]
    assert "nothing was deleted" in status.alarms[0].text
    full.remove(path)
    assert full.status().alarms == ()
