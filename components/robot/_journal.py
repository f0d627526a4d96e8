"""What the update agent must not forget: SQLite, synchronous=FULL, one transaction a step."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from components.contracts import AgentState, Assignment, Frozen, Release, RobotReport, Sha256, SignedReport

from ._fingerprint import Fingerprint
from ._slots import Slot

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS floors (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (package TEXT, fingerprint TEXT, reason TEXT, PRIMARY KEY (package, fingerprint));
CREATE TABLE IF NOT EXISTS outbox (count INTEGER PRIMARY KEY, report TEXT NOT NULL);
"""

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


class Journal:
    """One robot's memory. Every write is one transaction and on disk when it returns."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        self._connection.close()

    def job(self) -> Job:
        document = self._fact("job")
        return Job.parse(document, source="the journal's job") if document else Job()

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
            for report in reports:
                self._set("count", str(report.report.count))
                db.execute("INSERT INTO outbox VALUES (?, ?)", (report.report.count, report.canonical_json().decode()))

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
