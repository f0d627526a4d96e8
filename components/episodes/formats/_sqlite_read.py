"""One .db3 file of a rosbag2 recording: what is in it and where. Read as it lies there; a copy is made where SQLite
would have to mend it first."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import copyfile, disk_usage
from urllib.parse import quote

from components.contracts.errors import EpisodeError

from ._bag import USEFUL, Scanned, UnreadableMessageError
from ._conversion import Remarks
from ._references import OPEN_FILE_BYTES, Channel

_MESSAGE_BYTES = 128 * 2**20
_LOGS = ("-wal", "-journal")
"""What SQLite leaves beside a database that was not closed: its newest pages, or the old ones of a change half done."""


def scan_db3(path: Path, remarks: Remarks, workspace: Path, *, allow_partial: bool = False) -> Scanned:
    """Read times and topics of all messages, not their content.

    Args:
        workspace: for the copy of a file that was not closed.

    Raises:
        EpisodeError: `rosbag2`, no such database; or a damaged one and `allow_partial` is false.
    """
    remarks.begin(path.name)
    if path.stat().st_size == 0:
        remarks.note(f"{path.name} is empty")
        return Scanned(path, lambda _: _Database(path, lenient=False), fault=f"{path.name} is empty")
    real = _recovered(path, remarks, workspace)
    found = Scanned(path, lambda _: _Database(real, lenient=allow_partial))
    found.sizes.append(OPEN_FILE_BYTES)
    try:
        with _connected(real, path, lenient=allow_partial) as database:
            numbers = _topics(database, found, path)
            try:
                _messages(database, numbers, found)
            except sqlite3.Error as error:
                if not allow_partial:
                    raise
                found.fault = f"{path.name} is damaged: {error}"
                remarks.note(f"{path.name} is damaged: {error}; what could be read was taken (--allow-partial)")
    except sqlite3.Error as error:
        raise _wrong(path, error) from None
    return found


def _messages(database: sqlite3.Connection, numbers: dict[object, int], found: Scanned) -> None:
    unknown = -1
    for place, topic, time_ns in database.execute("SELECT id, topic_id, timestamp FROM messages ORDER BY id"):
        if (number := numbers.get(topic, unknown)) == unknown:
            unknown = number = len(found.channels)
            found.channels.append(Channel("", "", ""))
        channel = found.channels[number]
        found.counts[channel] += 1
        if channel.type in USEFUL:
            if not isinstance(time_ns, int):
                raise EpisodeError("rosbag2", f"{found.path.name}: expected times in nanoseconds, found {time_ns!r}")
            found.references.add(time_ns, 0, place, number)


def _topics(database: sqlite3.Connection, found: Scanned, path: Path) -> dict[object, int]:
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"topics", "messages"} <= tables:
        raise EpisodeError("rosbag2", f"{path}: expected a rosbag2 recording, found a database without its tables")
    numbers: dict[object, int] = {}
    for topic_id, name, kind, encoding in database.execute("SELECT id, name, type, serialization_format FROM topics"):
        numbers[topic_id] = len(found.channels)
        found.channels.append(Channel(str(name), str(kind), str(encoding)))
    return numbers


def _recovered(path: Path, remarks: Remarks, workspace: Path) -> Path:
    """The file, or a copy of it and of what lies beside it, which SQLite mends when it opens it."""
    logs = [log for end in _LOGS if (log := path.with_name(path.name + end)).is_file() and log.stat().st_size]
    if not logs:
        return path
    needed = sum(file.stat().st_size for file in (path, *logs))
    if disk_usage(workspace).free < 2 * needed:
        raise EpisodeError(
            "rosbag2", f"{path.name} was not closed and has to be copied: expected {2 * needed} bytes free beside the "
            f"episodes, found {disk_usage(workspace).free}; choose another --out"
        )  # fmt: skip
    copy = workspace / f"{len(list(workspace.iterdir())):04d}-{path.name}"
    for file in (path, *logs):
        copyfile(file, copy.with_name(copy.name + file.name.removeprefix(path.name)))
    try:
        with closing(sqlite3.connect(copy)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            database.execute("PRAGMA journal_mode = DELETE")  # what the log holds goes into the copy
    except sqlite3.Error as error:
        raise _wrong(path, error) from None
    remarks.note(f"{path.name} was not closed: what {' and '.join(log.name for log in logs)} holds was taken too")
    return copy


@contextmanager
def _connected(real: Path, path: Path, *, lenient: bool) -> Iterator[sqlite3.Connection]:
    with closing(_open(real, lenient=lenient)) as database:
        try:
            yield database
        except (UnicodeError, OverflowError) as error:
            raise _wrong(path, error) from None


def _open(path: Path, *, lenient: bool) -> sqlite3.Connection:
    """Read-only, as it lies there: nothing in its schema runs, nothing is written beside it.

    Args:
        lenient: take a file that lost its end for as long as it is.
    """
    database = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1", uri=True)
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA query_only = ON")
    if lenient:
        database.execute("PRAGMA writable_schema = ON")  # without it SQLite refuses a file of fewer pages than it says
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MESSAGE_BYTES)
    return database


def _wrong(path: Path, error: Exception) -> EpisodeError:
    return EpisodeError(
        "rosbag2",
        f"{path.name}: expected a rosbag2 recording, but: {error}; copy it again, or take what can be "
        "read with --allow-partial",
    )


class _Database:
    """An open file."""

    def __init__(self, path: Path, *, lenient: bool) -> None:
        self._path, self._database = path, _open(path, lenient=lenient)

    def message(self, place: int) -> bytes:
        try:
            (data,) = self._database.execute("SELECT data FROM messages WHERE id = ?", (place,)).fetchone()
        except (sqlite3.Error, TypeError) as error:
            raise UnreadableMessageError(str(_wrong(self._path, error))) from None
        if not isinstance(data, bytes):
            raise UnreadableMessageError(f"{self._path.name}: expected message {place} as bytes, found {type(data)}")
        return data

    def close(self) -> None:
        self._database.close()
