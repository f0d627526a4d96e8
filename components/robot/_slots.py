"""Two slots and one symlink: a robot has its old policy or its new one, never neither and never a half of one.

    <home>/slots/a/            files of a package        <home>/slots/a.json    what is in it; written last
    <home>/slots/b/            the other one             <home>/current -> slots/a

Whatever drives opens `<home>/current` once and keeps the folder that it found. No link: the built-in safe stop.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from components.contracts import Frozen, Release, Sha256
from components.contracts.errors import InvalidDocumentError
from components.storage import sha256_of_file

Slot = Literal["a", "b"]
SLOTS: tuple[Slot, Slot] = ("a", "b")


class SlotRecord(Frozen):
    """What a slot holds, complete and on disk."""

    release: Release
    files: dict[str, Sha256]


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
            name = self.link.readlink().name
        except OSError:
            return None
        return next((slot for slot in SLOTS if slot == name), None)

    def other(self) -> Slot:
        """The slot that may be overwritten."""
        return "b" if self.current() == "a" else "a"

    def record(self, slot: Slot | None) -> SlotRecord | None:
        """What is in a slot; None: nothing that was finished."""
        try:
            return SlotRecord.parse((self.folder / f"{slot}.json").read_bytes(), source=f"slot {slot}")
        except (OSError, InvalidDocumentError):
            return None

    def intact(self, slot: Slot) -> bool:
        """Every file is there with its hash, and none beside them."""
        record = self.record(slot)
        if record is None or not self.path(slot).is_dir():
            return False
        found = {path.name: sha256_of_file(path) for path in self.path(slot).iterdir() if path.is_file()}
        return found == record.files

    def find(self, sha256: Sha256) -> Path | None:
        """A file with these bytes in either slot, so that it need not be fetched again."""
        for slot in SLOTS:
            record = self.record(slot)
            for name, known in record.files.items() if record else ():
                path = self.path(slot) / name
                if known == sha256 and path.is_file() and sha256_of_file(path) == sha256:
                    return path
        return None

    def stage(self, release: Release, files: Mapping[str, Path]) -> Slot:
        """Copy a verified package into the slot that does not drive.

        Raises:
            OSError: e.g. the disk is full; the slot then holds nothing, and the driving one is untouched.
        """
        slot = self.other()
        record = self.folder / f"{slot}.json"
        staging = self.folder / f".{slot}.staging"
        record.unlink(missing_ok=True)
        for folder in (staging, self.path(slot)):
            shutil.rmtree(folder, ignore_errors=True)
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
        if slot is None:
            self.link.unlink(missing_ok=True)
        else:
            fresh = self.link.with_name("current.new")
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
            fresh.symlink_to(Path("slots") / slot)
            fresh.replace(self.link)
        fsync_folder(self.link.parent)


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
