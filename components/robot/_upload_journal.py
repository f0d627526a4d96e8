"""What a spool remembers of its uploads: SQLite, synchronous=FULL.

The files are the truth; this saves work (hashes, open uploads) and keeps the proofs of what was deleted and the alarms.
So a journal that cannot be read or written, on a full disk for example, never stops an upload: that is logged, and the
platform is asked again.
"""

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from components.contracts import EpisodeName, Frozen, Sha256, SignedReceipt
from components.contracts.errors import InvalidDocumentError

_log = logging.getLogger(__name__)

FILE = "uploads.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS episodes (name TEXT PRIMARY KEY, entry TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS confirmed (sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, receipt TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alarms (kind TEXT PRIMARY KEY, text TEXT NOT NULL, since TEXT NOT NULL) WITHOUT ROWID;
"""
State = Literal["recorded", "open", "sent", "refused"]


class Entry(Frozen):
    """What is known of one finished episode in the spool."""

    name: EpisodeName
    size: int
    modified_ns: int
    """Of the file when it was hashed: another size or time means other bytes."""
    sha256: Sha256
    state: State = "recorded"
    upload_id: str | None = None
    parts_done: int = 0
    parts: int = 0
    sent_at: datetime | None = None
    """By this robot's clock."""
    trouble: str = ""


class Alarm(Frozen):
    """Something a person should see; it stands until it is over."""

    kind: str
    text: str
    since: datetime


class UploadJournal:
    """One spool's memory. Threads may share one; a forked child opens the file anew."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = -1

    def entry(self, name: str) -> Entry | None:
        """None: nothing is known of it, or nothing that can be read."""
        return next(iter(self._entries("WHERE name = ?", name)), None)

    def entries(self) -> list[Entry]:
        return self._entries("ORDER BY name")

    def save(self, entry: Entry) -> None:
        self._write(("INSERT OR REPLACE INTO episodes VALUES (?, ?)", (entry.name, entry.canonical_json().decode())))

    def forget(self, name: str) -> None:
        self._write(("DELETE FROM episodes WHERE name = ?", (name,)))

    def confirm(self, name: str, receipt: SignedReceipt) -> None:
        """Keep the proof, before the copy goes."""
        document = receipt.canonical_json().decode()
        self._write(
            ("INSERT OR REPLACE INTO confirmed VALUES (?, ?, ?)", (receipt.receipt.sha256, name, document)),
            ("DELETE FROM episodes WHERE name = ?", (name,)),
        )

    def confirmed(self, sha256: str) -> SignedReceipt | None:
        """The receipt that was kept for these bytes. Whoever acts on it verifies it again."""
        for (document,) in self._read("SELECT receipt FROM confirmed WHERE sha256 = ?", sha256):
            try:
                return SignedReceipt.parse(document, source=f"the receipt in {self._path}")
            except InvalidDocumentError as error:
                _log.warning("%s; the platform is asked again", error)
        return None

    def count_confirmed(self) -> int:
        return int(next(iter(self._read("SELECT count(*) FROM confirmed")), (0,))[0])

    def alarm(self, kind: str, text: str) -> None:
        """Raise it, or say it in newer words; it keeps the time of its first."""
        if text not in {alarm.text for alarm in self.alarms() if alarm.kind == kind}:
            _log.error("ALARM %s: %s", kind, text)
            statement = "INSERT INTO alarms VALUES (?, ?, ?) ON CONFLICT (kind) DO UPDATE SET text = excluded.text"
            self._write((statement, (kind, text[:500], datetime.now(UTC).isoformat())))

    def clear(self, kind: str) -> None:
        """It is over."""
        if self._read("SELECT 1 FROM alarms WHERE kind = ?", kind):
            self._write(("DELETE FROM alarms WHERE kind = ?", (kind,)))

    def alarms(self) -> list[Alarm]:
        rows = self._read("SELECT kind, text, since FROM alarms ORDER BY since, kind")
        return [Alarm(kind=kind, text=text, since=datetime.fromisoformat(since)) for kind, text, since in rows]

    def _entries(self, where: str, *values: str) -> list[Entry]:
        found = []
        for (document,) in self._read(f"SELECT entry FROM episodes {where}", *values):  # noqa: S608  # our own words
            try:
                found.append(Entry.parse(document, source=f"an entry of {self._path}"))
            except InvalidDocumentError as error:
                _log.warning("%s; it is made anew", error)
        return found

    def _read(self, statement: str, *values: str) -> list[Any]:
        try:
            with self._opened() as db:
                return db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            _log.warning("%s cannot be read (%s); the platform is asked again", self._path, error)
            return []

    def _write(self, *statements: tuple[str, tuple[str, ...]]) -> None:
        try:
            with self._opened() as db, db:
                db.execute("BEGIN IMMEDIATE")
                for statement, values in statements:
                    db.execute(statement, values)
        except sqlite3.Error as error:
            _log.warning("%s cannot be written (%s); what it forgets is asked for again", self._path, error)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None or self._pid != os.getpid():
                    self._connection, self._pid = _open(self._path), os.getpid()
                yield self._connection
            except sqlite3.OperationalError:  # locked, full, read-only: not its content's fault
                raise
            except sqlite3.DatabaseError:
                self._connection = None
                _put_aside(self._path)
                raise


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.executescript(_SCHEMA)
    return connection


def _put_aside(path: Path) -> None:
    _log.error("%s is damaged: it is kept as %s.damaged, and a new one is begun", path, path.name)
    with suppress(FileNotFoundError):
        path.replace(path.with_name(f"{path.name}.damaged"))
    for suffix in ("-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
