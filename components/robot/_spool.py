"""The robot's own store of episodes: everything that was recorded and not yet confirmed by a receipt."""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from components.contracts import EpisodeName, Frozen, RobotId
from components.contracts.errors import ConfigurationError, EpisodeError, SpoolFullError
from components.episodes import JOURNAL_SUFFIX, EpisodeAttributes, EpisodeWriter, recover
from components.episodes.formats import files_in
from components.storage import fsync_folder, open_plain

from ._slots import make_private
from ._upload_journal import FILE as JOURNAL_FILE
from ._upload_journal import Alarm, UploadJournal

_log = logging.getLogger(__name__)
_NAME: TypeAdapter[str] = TypeAdapter(EpisodeName)
_ROBOT: TypeAdapter[str] = TypeAdapter(RobotId)

_COPY = ".copy"
DEFAULT_CAPACITY = 20 * 2**30
FULL = "spool-full"
DAMAGED = "recording-damaged"


class SpoolStatus(Frozen):
    """What a person asks a robot."""

    folder: str
    used_bytes: int
    capacity_bytes: int
    disk_free_bytes: int
    pending: int
    """Finished episodes that no receipt has confirmed."""
    sent: int
    """Of them: in the platform's inbox, not judged yet."""
    recording: int
    """Journals: being recorded, or left by a killed recorder."""
    quarantined: int
    """On this robot: what is no whole episode."""
    confirmed: int
    """Receipts that were kept, of copies that were deleted."""
    alarms: tuple[Alarm, ...]


class Spool:
    """A folder of finished episodes (`<name>.h5`), the journals of those being recorded, and `quarantine/` for what no
    one can read. A file has its name only when all of it is on the disk. Nothing is deleted here but by `remove`.
    `journal` remembers uploads and alarms.

    One robot, any number of processes: a lock keeps recorders, uploader and recovery apart.
    """

    def __init__(self, folder: Path, capacity_bytes: int = DEFAULT_CAPACITY) -> None:
        """Open the spool, creating the folder where there is none. Call `recover` once after a start."""
        self.folder = folder
        self.capacity_bytes = capacity_bytes
        self._quarantine = folder / "quarantine"
        make_private(self._quarantine)
        self.journal = UploadJournal(folder)

    @property
    def used_bytes(self) -> int:
        """Episodes, unfinished and quarantined files too; not the journal, and not what else a robot keeps below."""
        files = (path for folder in (self.folder, self._quarantine) for path in folder.iterdir())
        return sum(_size(path) for path in files if not path.name.startswith(JOURNAL_FILE))

    def pending(self) -> list[Path]:
        """Finished episodes that no receipt has confirmed, oldest name first."""
        return files_in(self.folder, ".h5")

    def quarantined(self) -> list[Path]:
        """What `recover` could not make an episode of."""
        return sorted(path for path in self._quarantine.iterdir() if path.is_file())

    def status(self) -> SpoolStatus:
        """As it is now; a full spool is an alarm even if nobody has tried to record."""
        self._note_room(self._lack_of_room(0))
        entries = {entry.name: entry for entry in self.journal.entries()}
        pending = [path.stem for path in self.pending()]
        return SpoolStatus(
            folder=str(self.folder),
            used_bytes=self.used_bytes,
            capacity_bytes=self.capacity_bytes,
            disk_free_bytes=shutil.disk_usage(self.folder).free,
            pending=len(pending),
            sent=sum(name in entries and entries[name].state == "sent" for name in pending),
            recording=len(list(self.folder.glob("*" + JOURNAL_SUFFIX))),
            quarantined=len(self.quarantined()),
            confirmed=self.journal.count_confirmed(),
            alarms=tuple(self.journal.alarms()),
        )

    def ensure_room(self, needed_bytes: int = 0) -> None:
        """Check the budget and the disk before `needed_bytes` more are written.

        Raises:
            SpoolFullError: they would not fit; nothing was deleted, and the alarm `spool-full` stands.
        """
        lack = self._lack_of_room(needed_bytes)
        self._note_room(lack)
        if lack:
            raise SpoolFullError(lack)

    def _lack_of_room(self, needed_bytes: int) -> str | None:
        used = self.used_bytes
        if used + needed_bytes >= self.capacity_bytes:
            return (
                f"{self.folder}: expected room for {needed_bytes} bytes within the budget of {self.capacity_bytes}, "
                f"{used} are used by {len(self.pending())} unconfirmed episodes; nothing was deleted: upload them "
                "(`drover robot upload`), or raise the budget"
            )
        free = shutil.disk_usage(self.folder).free
        if free <= needed_bytes:
            return (
                f"{self.folder}: expected {needed_bytes} free bytes on the disk, found {free}; nothing was deleted: "
                "free some, or upload what is waiting"
            )
        return None

    def _note_room(self, lack: str | None) -> None:
        if lack:
            self.journal.alarm(FULL, lack)
        else:
            self.journal.clear(FULL)

    def begin(self, attributes: EpisodeAttributes, height: int, width: int) -> EpisodeWriter:
        """A writer for a new episode of this spool.

        Raises:
            SpoolFullError: the budget is spent, or the disk full.
            EpisodeError: `exists`, the name is taken.
        """
        self.ensure_room()
        with self._locked():
            try:
                return EpisodeWriter(self.path_of(attributes.name), attributes, height, width)
            except OSError as error:
                raise SpoolFullError(f"{self.folder}: the recording cannot begin ({error}); nothing was lost") from None

    def add(self, source: Path) -> Path:
        """Copy a file into the spool, whole or not at all; the original is not touched.

        Raises:
            SpoolFullError: it does not fit.
            EpisodeError: `name`, no valid episode name; `exists`, other bytes have that name here.
        """
        name = source.stem
        try:
            _NAME.validate_python(name)
        except ValidationError:
            raise EpisodeError(
                "name", f"{source}: expected a name of letters, digits, '.', '_' and '-' (128 at most); rename the file"
            ) from None
        with self._locked():
            target = self.path_of(name)
            if not target.exists():
                self._copy(source, target)
            elif not _same_bytes(source, target):
                raise EpisodeError(
                    "exists", f"{source}: other bytes of that name wait in {self.folder}; rename the file"
                )
        return target

    def _copy(self, source: Path, target: Path) -> None:
        self.ensure_room(source.stat().st_size)
        part = target.with_name(target.name + _COPY)
        try:
            part.unlink(missing_ok=True)  # what is there may be a link; a new file is nobody else's
            with source.open("rb") as original, open_plain(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as copy:
                shutil.copyfileobj(original, copy, 2**20)
                copy.flush()
                os.fsync(copy.fileno())
            part.replace(target)
            fsync_folder(self.folder)
        except OSError as error:
            raise SpoolFullError(
                f"{source} could not be copied to {self.folder} ({error}); it was not touched"
            ) from None
        finally:
            part.unlink(missing_ok=True)

    def recover(self) -> list[Path]:
        """Finish what killed recorders left: each journal becomes an episode of its whole frames. A journal without a
        whole frame goes to `quarantine/`. Recordings whose recorder lives are left alone.

        Returns:
            The episodes that were recovered.
        """
        recovered = []
        with self._locked():
            for copy in self.folder.glob("*" + _COPY):  # cut off; the original is where it was
                copy.unlink()
            for note in self.folder.glob("*.h5.sent"):  # of earlier versions; the gateway knows what arrived
                note.unlink()
            for journal in sorted(self.folder.glob("*" + JOURNAL_SUFFIX)):
                try:
                    recovered.append(recover(journal, keep=self._keep_damaged))
                except FileNotFoundError:
                    continue
                except EpisodeError as error:
                    if error.rule != "recording":
                        _log.warning("%s; the journal is kept in %s", error, self._quarantine)
                        journal.replace(_free_name(self._quarantine / journal.name))
                        fsync_folder(self._quarantine)
                except Exception as error:  # noqa: BLE001  # one odd journal must not keep the others from recovery
                    _log.warning("%s could not be recovered (%s); it is kept for the next time", journal, error)
        return recovered

    def _keep_damaged(self, journal: Path) -> None:
        """Frames may hide behind a hole in it: its file is kept beside the episode that was made of those before."""
        kept = _free_name(self._quarantine / journal.name)
        kept.hardlink_to(journal)
        fsync_folder(self._quarantine)
        self.journal.alarm(DAMAGED, f"{journal.name} has a hole; the frames before it are an episode, {kept} is kept")

    def remove(self, path: Path) -> None:
        """Delete a finished episode: only ever for a receipt that names its bytes."""
        path.unlink(missing_ok=True)

    def path_of(self, name: str) -> Path:
        return self.folder / f"{name}.h5"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open_plain(self.folder / ".lock", os.O_RDWR | os.O_CREAT) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def checked_robot(robot: str) -> str:
    """The robot's id, as names of objects are made of it.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return _ROBOT.validate_python(robot)
    except ValidationError:
        raise ConfigurationError(
            f"expected a robot id of lower-case letters, digits and '-' (63 at most), e.g. robot-1, got {robot!r}"
        ) from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:  # confirmed and removed, or finished, meanwhile
        return 0


def _same_bytes(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while block := first.read(2**20):
            if block != second.read(2**20):
                return False
    return True


def _free_name(path: Path) -> Path:
    """The path itself, or with a number where something is there: nothing in quarantine is overwritten."""
    candidate, number = path, 1
    while candidate.exists():
        candidate = path.with_name(f"{path.name}.{number}")
        number += 1
    return candidate
