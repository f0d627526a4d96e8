"""Two slots and one symlink: a robot has its old policy or its new one, never neither and never a half of one.

    <home>/slots/a/            files of a package        <home>/slots/a.json    what is in it; written last
    <home>/slots/b/            the other one             <home>/current -> slots/a

Whatever drives opens `<home>/current` once and keeps the folder that it found. No link: the built-in safe stop.
"""

import contextlib
import itertools
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from components.contracts import Frozen, Release, Sha256
from components.contracts.errors import InvalidDocumentError
from components.storage import sha256_of_file

from ._fingerprint import Fingerprint
from ._slot_checks import Stamp, misled, misshapen, stamp_of

Slot = Literal["a", "b"]
SLOTS: tuple[Slot, Slot] = ("a", "b")


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


class Slots:
    """The two slots of one robot's home."""

    def __init__(self, home: Path) -> None:
        self.link = home / "current"
        self.folder = home / "slots"
        self.folder.mkdir(parents=True, exist_ok=True)

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
        """The record of a slot's contents; None: nothing that was finished, or it is damaged."""
        record = self._known(slot)
        return None if record is None or record.damaged else record

    def note(self, slot: Slot, **facts: object) -> None:
        """Change a slot's record; without one there is nothing to change."""
        if record := self._known(slot):
            write_durably(self._record_path(slot), record.model_copy(update=facts).canonical_json())

    def _record_path(self, slot: Slot | None) -> Path:
        return self.folder / f"{slot}.json"

    def _known(self, slot: Slot | None) -> SlotRecord | None:
        try:
            return SlotRecord.parse(self._record_path(slot).read_bytes(), source=f"slot {slot}")
        except (OSError, InvalidDocumentError):
            return None

    def intact(self, slot: Slot) -> bool:
        """Every file is there with its hash, and nothing beside them."""
        record = self.record(slot)
        if record is None or self.misshapen(slot):
            return False
        try:
            return all(sha256_of_file(self.path(slot) / name) == sha256 for name, sha256 in record.files.items())
        except OSError:
            return False

    def misshapen(self, slot: Slot) -> str | None:
        """Why a slot cannot hold what its record says, without reading its files; None: it may."""
        record = self.record(slot)
        if record is None:
            return f"slot {slot} has no record of what it holds, or a damaged one"
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
        for slot in SLOTS:
            record = self._known(slot)
            for name, known in record.files.items() if record else ():
                path = self.path(slot) / name
                with contextlib.suppress(OSError):
                    if known == sha256 and stat.S_ISREG(path.lstat().st_mode) and sha256_of_file(path) == sha256:
                        return path
        return None

    def stage(self, release: Release, files: Mapping[str, Path]) -> Slot:
        """Copy a verified package into the slot that does not drive.

        Raises:
            OSError: e.g. the disk is full; the slot then holds nothing, and the driving one is untouched.
        """
        slot = self.other()
        record = self._record_path(slot)
        staging = self.folder / f".{slot}.staging"
        remove_any(record)
        for folder in (staging, self.path(slot)):
            remove_any(folder)
        staging.mkdir()
        try:
            for name, source in files.items():
                copy_durably(source, staging / name)
        except OSError:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        staging.rename(self.path(slot))
        fsync_folder(self.folder)
        hashes = {name: sha256_of_file(self.path(slot) / name) for name in files}
        write_durably(record, SlotRecord(release=release, files=hashes).canonical_json())
        return slot

    def activate(self, slot: Slot | None) -> None:
        """Let `slot` drive; None: nothing. Atomic, on disk when it returns, and harmless to repeat."""
        if self.link.exists() and not self.link.is_symlink():  # nobody's business there; kept for a person to see
            self.link.rename(_free_name(self.link.with_name("current.strange")))
        if slot is None:
            self.link.unlink(missing_ok=True)
        else:
            fresh = self.link.with_name("current.new")
            remove_any(fresh)
            fresh.symlink_to(Path("slots") / slot)
            fresh.replace(self.link)
        fsync_folder(self.link.parent)


def remove_any(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; nothing there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _free_name(path: Path) -> Path:
    return next(
        free for number in itertools.count() if not os.path.lexists(free := path.with_name(f"{path.name}-{number}"))
    )


def make_private(folder: Path) -> None:
    """Make a folder and its missing parents, for their owner alone; what is there stays as it is."""
    for missing in (path for path in (*reversed(folder.parents), folder) if not path.exists()):
        missing.mkdir(mode=0o700, exist_ok=True)


def write_durably(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Whole and on disk, or not there at all."""
    part = path.with_name(f"{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    fsync_folder(path.parent)


def copy_durably(source: Path, target: Path) -> None:
    """Copy, and have it on disk."""
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    """Have the folder's entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
