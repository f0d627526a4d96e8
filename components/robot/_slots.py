"""Two slots and one symlink: a robot has its old policy or its new one, never neither and never a half of one.

    <home>/slots/a/            files of a package        <home>/slots/a.json    what is in it; written last
    <home>/slots/b/            the other one             <home>/current -> slots/a

Whatever drives opens `<home>/current` once and keeps the folder that it found. No link: the built-in safe stop.
What vouches for a slot is in the agent's journal, taken from the signed release: nothing in `slots/` says what may be
there. `a.json` is a copy; where it differs the slot is damaged, and where the journal was lost it is the hint that is
compared with the signed metadata.
"""

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol

from components.contracts import Frozen, Release, Sha256
from components.contracts.errors import InvalidDocumentError
from components.storage import (
    copy_durably,
    fsync_folder,
    read_plain,
    remove_any,
    set_aside,
    sha256_of_plain,
    write_durably,
)

from ._fingerprint import Fingerprint
from ._slot_checks import Stamp, misled, misshapen, stamp_of

Slot = Literal["a", "b"]
SLOTS: tuple[Slot, Slot] = ("a", "b")
_MAX_RECORD_BYTES = 2**18


class SlotRecord(Frozen):
    """What a slot holds, complete and on disk."""

    release: Release
    files: dict[str, Sha256]
    fingerprint: Fingerprint | None = None
    """Of the device on which it passed the self-test; None: it did not, or in an earlier version's time."""
    committed: bool = False
    """It was trusted here once, so that it may drive again without trials."""
    damaged: bool = False
    """Its files are no longer these; those that are may be copied."""


class SlotRecords(Protocol):
    """Where the records that count are kept, out of reach of who writes in `slots/`; the journal is one."""

    def slot(self, slot: Slot) -> SlotRecord | None: ...
    def set_slot(self, slot: Slot, record: SlotRecord | None) -> None: ...


class Slots:
    """The two slots of one robot's home.

    Args:
        home: the robot's folder.
        records: the journal.
    """

    def __init__(self, home: Path, records: SlotRecords) -> None:
        self.link = home / "current"
        self.folder = home / "slots"
        self._records = records
        if self.folder.is_symlink() or not self.folder.is_dir():
            remove_any(self.folder)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, slot: Slot) -> Path:
        return self.folder / slot

    def current(self) -> Slot | None:
        """The slot that drives; None: no policy."""
        try:
            target = self.link.readlink()
        except OSError:
            return None
        return next((slot for slot in SLOTS if target == Path("slots") / slot), None)

    def other(self) -> Slot:
        """The slot that may be overwritten: not the one that drives, nor one that could."""
        if current := self.current():
            return "b" if current == "a" else "a"
        return next((slot for slot in SLOTS if self.record(slot) is None), "a")

    def record(self, slot: Slot | None) -> SlotRecord | None:
        """What a slot has to hold; None: nothing that was finished, or it is damaged."""
        record = self._records.slot(slot) if slot else None
        return None if record is None or record.damaged else record

    def note(self, slot: Slot, **facts: object) -> None:
        """Change a slot's record; without one there is nothing to change."""
        if record := self._records.slot(slot):
            self.keep(slot, record.model_copy(update=facts))

    def keep(self, slot: Slot, record: SlotRecord) -> None:
        """Give a slot its record: first the one that counts, then its copy."""
        self._records.set_slot(slot, record)
        path = self._record_path(slot)
        if path.is_dir() and not path.is_symlink():
            remove_any(path)
        write_durably(path, record.canonical_json())

    def unrecorded(self, slot: Slot) -> SlotRecord | None:
        """The copy of a record that the journal does not have: nobody has vouched for it yet."""
        return None if self._records.slot(slot) else self._copy(slot)

    def _record_path(self, slot: Slot) -> Path:
        return self.folder / f"{slot}.json"

    def _copy(self, slot: Slot) -> SlotRecord | None:
        try:
            return SlotRecord.parse(read_plain(self._record_path(slot), _MAX_RECORD_BYTES), source=f"slot {slot}")
        except (OSError, InvalidDocumentError):
            return None

    def intact(self, slot: Slot) -> bool:
        """Every file is there with its hash, and nothing beside them."""
        record = self.record(slot)
        if record is None or self.misshapen(slot):
            return False
        try:
            return all(sha256_of_plain(self.path(slot) / name) == sha256 for name, sha256 in record.files.items())
        except OSError:
            return False

    def misshapen(self, slot: Slot) -> str | None:
        """Why a slot cannot hold what its record says, without reading its files; None: it may."""
        record, copy = self.record(slot), self._copy(slot)
        if record is None or copy is None:
            return f"slot {slot} has no record of what it holds, or a damaged one"
        if (copy.release, copy.files) != (record.release, record.files):
            return f"slot {slot}: expected the record of {record.release.name} that was signed, found another's"
        return misshapen(self.path(slot), record.files)

    def stamp(self, slot: Slot) -> Stamp | None:
        """A value that changes when somebody writes to a slot: cheap to compare; None: it cannot be read."""
        try:
            files = sorted(self.path(slot).iterdir())
        except OSError:
            return None
        return stamp_of([self._record_path(slot), self.path(slot), *files])

    def misled(self, slot: Slot | None) -> str | None:
        """Why `current` is not the link that `activate` made for `slot`; None: it is."""
        return misled(self.link, f"slots/{slot}" if slot else None)

    def find(self, sha256: Sha256) -> Path | None:
        """A file with these bytes in either slot, so that it need not be fetched again."""
        for slot, name, known in self._hints():
            path = self.path(slot) / name
            with contextlib.suppress(OSError):
                if known == sha256 and sha256_of_plain(path) == sha256:
                    return path
        return None

    def _hints(self) -> Iterator[tuple[Slot, str, Sha256]]:
        """Which files may be where; nothing vouches for it, so the bytes are hashed."""
        for slot in SLOTS:
            for record in (self._records.slot(slot), self._copy(slot)):
                for name, sha256 in record.files.items() if record else ():
                    if Path(name).name == name:
                        yield slot, name, sha256

    def stage(self, release: Release, folder: Path, files: Mapping[str, Sha256]) -> Slot:
        """Copy a verified package into the slot that does not drive.

        Args:
            release: as signed.
            folder: where the package is.
            files: name -> SHA-256, as signed; what is copied has to have it.

        Raises:
            OSError: e.g. the disk is full, or a copy has other bytes; the slot then holds nothing, and the driving one
                is untouched.
        """
        slot = self.other()
        staging = self.folder / f".{slot}.staging"
        self._records.set_slot(slot, None)
        for path in (self._record_path(slot), staging, self.path(slot)):
            remove_any(path)
        staging.mkdir(mode=0o700)
        try:
            for name, sha256 in files.items():
                copy_durably(folder / name, staging / name)
                _expect(staging / name, sha256)
        except OSError:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        fsync_folder(staging)
        staging.rename(self.path(slot))
        fsync_folder(self.folder)
        self.keep(slot, SlotRecord(release=release, files=dict(files)))
        return slot

    def activate(self, slot: Slot | None) -> None:
        """Let `slot` drive; None: nothing. Atomic, on disk when it returns, and harmless to repeat."""
        if self.link.exists() and not self.link.is_symlink():  # nobody's business there; kept for a person to see
            set_aside(self.link)
        if slot is None:
            self.link.unlink(missing_ok=True)
        else:
            fresh = self.link.with_name("current.new")
            remove_any(fresh)
            fresh.symlink_to(Path("slots") / slot)
            fresh.replace(self.link)
        fsync_folder(self.link.parent)


def _expect(path: Path, sha256: Sha256) -> None:
    if sha256_of_plain(path) != sha256:
        raise OSError(f"{path}: expected the bytes that were signed, found others")


def make_private(folder: Path) -> None:
    """Make a folder and its missing parents, for their owner alone; what is there stays as it is."""
    for missing in (path for path in (*reversed(folder.parents), folder) if not path.exists()):
        missing.mkdir(mode=0o700, exist_ok=True)
