"""What the update agent must not forget: SQLite, synchronous=FULL, one transaction a step.

A journal that is no database any more, or of which a fact cannot be read, is set aside (the newest three are kept) and
begun anew with what can still be read of it; its floors are also in `floors.json` beside it. What is lost then makes
nothing drive: see `_driving.py`.
"""

import contextlib
import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from components.contracts import MAX_NUMBER, AgentState, Assignment, Frozen, Release, RobotReport, Sha256, SignedReport
from components.contracts.errors import InvalidDocumentError
from components.storage import read_plain, set_aside, write_durably

from ._fingerprint import Fingerprint
from ._slots import SLOTS, Slot, SlotRecord

FLOORS_FILE = "floors.json"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS floors (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (package TEXT, fingerprint TEXT, reason TEXT, PRIMARY KEY (package, fingerprint));
CREATE TABLE IF NOT EXISTS outbox (count INTEGER PRIMARY KEY, report TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS slots (slot TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
"""
_MAX_FLOORS_BYTES = 2**18

_NUMBERS_LEFT_OUT = 1000
"""When a report's number is taken: about as many as one journal may have used before it was lost."""


class FileEntry(Frozen):
    """One file of a package, as the release's metadata signs it."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0, le=2**40)]


class Job(Frozen):
    """The assignment in hand, and how far it is. It stays after it ended, so that its counters outlive a restart."""

    state: AgentState = "IDLE"
    assignment: Assignment | None = None
    release: Release | None = None
    scope: str = ""
    """Of the director's keys: a seq means something among equals only."""
    files: dict[str, FileEntry] = Field(default_factory=dict)
    slot: Slot | None = None
    """Where the new policy is; None: no policy is asked for."""
    previous: Slot | None = None
    """What drove before ACTIVATE, and drives again after ROLLBACK."""
    starts: dict[AgentState, int] = Field(default_factory=dict)
    """How often a state was begun; outside the policy process, so that its crashes are counted."""
    trials: int = 0
    successes: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    provider: str | None = None
    reason: str = ""
    fingerprint: Fingerprint | None = None
    """Of the device on which this release is tested; None: in an earlier version's time, so it is tested again."""
    driving: Slot | Literal["none"] | None = None
    """The slot that `current` has to lead to; None: an earlier version did not say."""
    healing: Sha256 | None = None
    """The package that was trusted here and whose slot is damaged or fails: to be fetched again."""
    retests: int = 0
    """Self-tests of a slot that drives which were begun and did not end."""


Row = tuple[str, tuple[object, ...]]
"""A statement and its values."""


class Journal:
    """One robot's memory. Every write is one transaction and on disk when it returns.

    Args:
        path: of the database; `floors.json` lies beside it.

    Raises:
        InvalidDocumentError, sqlite3.Error: it is damaged (`open_journal` sets it aside), busy, or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._floors_file = path.with_name(FLOORS_FILE)
        expect_plain(path)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.text_factory = lambda data: data.decode(errors="replace")  # what is no text does not parse
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(_SCHEMA)
            self._check()
            self._even_floors()
        except BaseException:
            self._connection.close()
            raise

    def _check(self) -> None:
        """Read everything once, so that what cannot be read is found before it is needed."""
        (found,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise InvalidDocumentError(f"the journal: expected a whole database, found {str(found)[:200]}")
        self.job()
        self.unsent()
        for slot in SLOTS:
            self.slot(slot)
        facts = self._connection.execute("SELECT value FROM facts WHERE name = 'count' OR name LIKE 'handled:%'")
        floors = self._connection.execute("SELECT value FROM floors")
        for (number,) in (*facts, *floors):
            number_of(number)

    def close(self) -> None:
        self._connection.close()

    def job(self) -> Job:
        document = self._fact("job")
        return Job.parse(document, source="the journal's job") if document else Job()

    @property
    def lost(self) -> str | None:
        """Why what an earlier journal held is not known, until `found_again`; None: it is."""
        return self._fact("lost")

    def lose(self, reason: str) -> None:
        with self._connection:
            self._set("lost", reason)

    def adopts(self) -> bool:
        """Slots may hold what this journal has no record of: it is new, or an earlier version's."""
        return self.lost is not None or self._fact("records") is None

    def found_again(self) -> None:
        """What the slots hold was judged without the earlier journal."""
        if not self.adopts():
            return
        with self._connection as db:
            db.execute("BEGIN IMMEDIATE")
            self._set("records", "kept")
            db.execute("DELETE FROM facts WHERE name = 'lost'")

    def slot(self, slot: Slot) -> SlotRecord | None:
        """What the slot has to hold, from the signed release; None: nothing may drive from it."""
        row = self._connection.execute("SELECT record FROM slots WHERE slot = ?", (slot,)).fetchone()
        return None if row is None else SlotRecord.parse(row[0], source=f"the journal's slot {slot}")

    def set_slot(self, slot: Slot, record: SlotRecord | None) -> None:
        with self._connection as db:
            if record is None:
                db.execute("DELETE FROM slots WHERE slot = ?", (slot,))
            else:
                document = record.canonical_json().decode()
                db.execute("INSERT OR REPLACE INTO slots VALUES (?, ?)", (slot, document))

    def take_over(self, rows: Iterable[Row]) -> None:
        """Keep what could be read of an earlier journal."""
        with self._connection as db:
            db.execute("BEGIN IMMEDIATE")
            for statement, values in rows:
                with contextlib.suppress(sqlite3.IntegrityError):
                    db.execute(statement, values)
        self._even_floors()

    def has_job(self) -> bool:
        return self._fact("job") is not None

    def save(
        self,
        job: Job,
        *,
        reports: Iterable[SignedReport] = (),
        quarantine: tuple[Sha256, str] | None = None,
        handled: bool = False,
    ) -> None:
        """Keep the job, with all that has to become true together with it.

        Args:
            job: as it is now.
            reports: to be sent when there is a network.
            quarantine: package and device fingerprint that must not meet again.
            handled: this assignment is settled; only a newer one is taken up.
        """
        with self._connection as db:
            db.execute("BEGIN IMMEDIATE")
            self._set("job", job.canonical_json().decode())
            if handled and job.assignment:
                self._set(f"handled:{job.scope}", str(job.assignment.seq))
            if quarantine:
                db.execute("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?)", (*quarantine, job.reason))
            self._queue(reports)

    def queue(self, report: SignedReport) -> None:
        """Keep a report that changes nothing else, until it is sent."""
        with self._connection as db:
            db.execute("BEGIN IMMEDIATE")
            self._queue([report])

    def _queue(self, reports: Iterable[SignedReport]) -> None:
        for report in reports:
            self._set("count", str(report.report.count))
            row = (report.report.count, report.canonical_json().decode())
            self._connection.execute("INSERT INTO outbox VALUES (?, ?)", row)

    def next_count(self) -> int:
        return int(self._fact("count") or 0) + 1

    def unsent(self) -> list[SignedReport]:
        rows = self._connection.execute("SELECT report FROM outbox ORDER BY count").fetchall()
        return [SignedReport.parse(row[0], source="the journal's outbox") for row in rows]

    def sent(self, report: RobotReport) -> None:
        with self._connection as db:
            db.execute("DELETE FROM outbox WHERE count = ?", (report.count,))

    def renumber(self, sign: Callable[[RobotReport], SignedReport]) -> None:
        """Give every report that waits a new number, far above those that are taken."""
        waiting, first = self.unsent(), self.next_count() + _NUMBERS_LEFT_OUT
        with self._connection as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM outbox")
            for count, signed in enumerate(waiting, first):
                document = sign(signed.report.model_copy(update={"count": count})).canonical_json().decode()
                self._set("count", str(count))
                db.execute("INSERT INTO outbox VALUES (?, ?)", (count, document))

    def handled(self, scope: str) -> int:
        """The last settled seq under these director's keys."""
        return int(self._fact(f"handled:{scope}") or 0)

    def quarantined(self, package: Sha256, fingerprint: str) -> str | None:
        """Why this package must not run on this device again; None: it may."""
        row = self._connection.execute(
            "SELECT reason FROM quarantine WHERE package = ? AND fingerprint = ?", (package, fingerprint)
        ).fetchone()
        return None if row is None else str(row[0])

    def floor(self, name: str) -> int:
        """The lowest number that is still accepted under that name."""
        row = self._connection.execute("SELECT value FROM floors WHERE name = ?", (name,)).fetchone()
        return 0 if row is None else int(row[0])

    def raise_floors(self, floors: Mapping[str, int]) -> None:
        """Floors only rise; those that stand already are not written again."""
        floors = {name: value for name, value in floors.items() if value > self.floor(name)}
        if not floors:
            return
        with self._connection as db:
            db.execute("BEGIN IMMEDIATE")
            for name, value in floors.items():
                db.execute(
                    "INSERT INTO floors VALUES (?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
                    (name, value),
                )
        self._even_floors()

    def knows_floors(self) -> bool:
        """Some metadata was accepted here once, and what it said of floors is known."""
        return self._connection.execute("SELECT 1 FROM floors LIMIT 1").fetchone() is not None

    def _even_floors(self) -> None:
        """Let the journal and `floors.json` say the same: of each floor the higher one."""
        copy = _read_floors(self._floors_file)
        known = dict(self._connection.execute("SELECT name, value FROM floors").fetchall())
        both = known | {name: max(value, known.get(name, 0)) for name, value in (copy or {}).items()}
        if both != known:
            with self._connection as db:
                db.execute("BEGIN IMMEDIATE")
                db.executemany("INSERT OR REPLACE INTO floors VALUES (?, ?)", both.items())
        if both != (copy or {}):
            if self._floors_file.is_dir() and not self._floors_file.is_symlink():
                set_aside(self._floors_file)
            write_durably(self._floors_file, json.dumps(both, sort_keys=True).encode())

    def alarms(self) -> frozenset[str]:
        """The alarms that were reported and are not over, so that each is reported once."""
        return frozenset(filter(None, (self._fact("alarms") or "").split("\n")))

    def set_alarms(self, kinds: Iterable[str]) -> None:
        value = "\n".join(sorted(kinds))
        if value == (self._fact("alarms") or ""):
            return
        with self._connection:
            self._set("alarms", value)

    def _fact(self, name: str) -> str | None:
        row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _set(self, name: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


class NotPlainError(OSError):
    pass


def expect_plain(path: Path) -> None:
    """SQLite itself follows links, and waits for pipes."""
    for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if os.path.lexists(name) and not stat.S_ISREG(name.lstat().st_mode):
            raise NotPlainError(f"{name}: expected a plain file, found a link, folder, pipe or device")


def number_of(value: object) -> int:
    number = int(str(value))
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError(f"expected a number of 0 to {MAX_NUMBER}, found {str(value)[:40]}")
    return number


def _read_floors(path: Path) -> dict[str, int] | None:
    """None: there is no such file, or it cannot be read."""
    try:
        found = json.loads(read_plain(path, _MAX_FLOORS_BYTES))
        return {str(name): number_of(value) for name, value in found.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
