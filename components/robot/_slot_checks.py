"""Checks of a slot that do not read its files, and the target of a link."""

import stat
from collections.abc import Collection, Iterable
from pathlib import Path

Stamp = tuple[tuple[str, int, int, int, int, int, int], ...]


def misshapen(folder: Path, names: Collection[str]) -> str | None:
    """Why a folder does not hold exactly these plain files; None: it does."""
    try:
        for place in (folder.parent, folder):
            if not stat.S_ISDIR(place.lstat().st_mode):
                return f"{place}: expected a folder, found a link or something else"
        found = {path.name: path.lstat() for path in folder.iterdir()}
    except OSError as error:
        return f"{folder} cannot be read ({error})"
    if set(found) != set(names):
        odd = sorted(set(found) ^ set(names))
        return f"{folder}: expected its {len(names)} files, found others or fewer ({odd[0][:80]!r})"
    for name, facts in found.items():
        if not stat.S_ISREG(facts.st_mode):
            return f"{folder / name}: expected a plain file, found a link, folder or device"
        if facts.st_nlink != 1:
            return f"{folder / name}: expected a file of one name, it has {facts.st_nlink}"
    return None


def stamp_of(paths: Iterable[Path]) -> Stamp | None:
    """A value that changes when somebody writes to one of them: cheap to compare; None: they cannot be looked at."""
    try:
        facts = [(path.name, path.lstat()) for path in paths]
    except OSError:
        return None
    return tuple((name, f.st_mode, f.st_ino, f.st_nlink, f.st_size, f.st_mtime_ns, f.st_ctime_ns) for name, f in facts)


def misled(link: Path, target: str | None) -> str | None:
    """Why a link does not lead where it was made to; None: it does, or there is none and none was made."""
    expected = f"a link to {target}" if target else "nothing"
    if link.is_symlink():
        found = str(link.readlink())
        return None if found == target else f"{link}: expected {expected}, it leads to {found[:80]!r}"
    if link.exists():
        return f"{link}: expected {expected}, found a folder or file"
    return f"{link}: expected {expected}, found nothing" if target else None
