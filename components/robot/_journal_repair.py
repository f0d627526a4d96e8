"""Opens the agent's journal whatever it holds: a damaged one is set aside, and what can be read of it is taken over."""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from components.contracts import Sha256, SignedReport
from components.contracts.errors import InvalidDocumentError
from components.storage import set_aside

from ._agent_home import JOURNAL_FILE
from ._journal import Job, Journal, NotPlainError, Row, expect_plain, number_of
from ._slots import SLOTS, SlotRecord

log = logging.getLogger(__name__)

_MAX_ROWS = 10_000
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_ERROR}
"""SQLite's primary codes for a file that is not, or not wholly, our database. Busy or full is none of them."""


def open_journal(home: Path) -> Journal:
    """Open a robot's journal; one that is damaged is set aside, and `Journal.lost` says why.

    Raises:
        sqlite3.Error, OSError: it cannot be opened now, e.g. the disk is full or another process holds it.
    """
    path = home / JOURNAL_FILE
    known = os.path.lexists(path)
    try:
        journal = Journal(path)
    except (InvalidDocumentError, sqlite3.DatabaseError, ValueError, OSError) as found:
        if not known or not is_damage(found):
            raise
        error, reason = found, f"the journal is damaged ({str(found)[:200]})"
    else:
        if os.path.lexists(home / "current") and not journal.has_job():
            journal.lose("what the journal held is gone" if known else "the journal is gone")
        return journal
    rest = _readable(path) if not isinstance(error, NotPlainError) else []
    for name in (f"{JOURNAL_FILE}-wal", f"{JOURNAL_FILE}-shm"):
        if os.path.lexists(home / name):
            set_aside(home / name)
    kept = set_aside(path)
    log.error("%s; it is kept as %s", reason, kept)
    journal = Journal(path)
    journal.lose(f"{reason}; it is kept as {kept.name}")
    journal.take_over(rest)
    return journal


def driving_package(home: Path) -> tuple[Path, Sha256] | None:
    """The folder that drives and the digest that its manifest has to have; None: nothing may drive.

    For the policy process: `Runtime(folder, sha256=digest)` drives no other bytes, whoever writes in `slots/`.

    Raises:
        sqlite3.Error, InvalidDocumentError: the agent's journal cannot be read; nothing may drive then.
    """
    link, path = home / "current", home / JOURNAL_FILE
    try:
        slot = next((slot for slot in SLOTS if link.readlink() == Path("slots") / slot), None)
    except OSError:
        return None
    expect_plain(path)
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as db:
        row = db.execute("SELECT record FROM slots WHERE slot = ?", (slot,)).fetchone()
    record = SlotRecord.parse(row[0], source=f"the journal's slot {slot}") if row else None
    return (home / "slots" / str(slot), record.release.package) if record and not record.damaged else None


def is_damage(error: Exception) -> bool:
    """The journal has to be set aside; any other error is worth another try."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _DAMAGED
    return isinstance(error, InvalidDocumentError | ValueError | NotPlainError)


def _readable(path: Path) -> list[Row]:
    """Rows that can still be read of a damaged journal, each row for itself."""
    rows: list[Row] = []
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as old:
        old.text_factory = lambda data: data.decode(errors="replace")
        for table, is_sound in _SOUND.items():
            with contextlib.suppress(sqlite3.Error):
                for row in old.execute(f"SELECT * FROM {table} LIMIT {_MAX_ROWS}"):  # noqa: S608  # our own tables
                    if _parses(is_sound, row):
                        places = ", ".join("?" * len(row))
                        rows.append((f"INSERT OR REPLACE INTO {table} VALUES ({places})", row))  # noqa: S608
    return rows


def _parses(is_sound: Callable[..., object], row: tuple[object, ...]) -> bool:
    try:
        return is_sound(*row) is not False
    except (InvalidDocumentError, ValueError, TypeError):
        return False


def _sound_fact(name: str, value: str) -> bool:
    if name == "job":
        Job.parse(value, source="the damaged journal")
    elif name == "count" or name.startswith("handled:"):
        number_of(value)
    return name != "lost"


_SOUND: dict[str, Callable[..., object]] = {
    "facts": _sound_fact,
    "floors": lambda _name, value: number_of(value),
    "quarantine": lambda _package, _fingerprint, _reason: True,
    "slots": lambda _slot, record: SlotRecord.parse(record, source="the damaged journal"),
    "outbox": lambda count, report: (number_of(count), SignedReport.parse(report, source="the damaged journal")),
}
