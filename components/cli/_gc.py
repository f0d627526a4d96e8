"""`drover gc`: what nothing refers to any more."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from components.contracts import Settings

from ._console import console


def gc(
    *,
    delete: Annotated[bool, typer.Option("--delete/--dry-run", help="Delete, or only say what would go.")] = False,
    grace_days: Annotated[int, typer.Option(min=2, help="What is younger stays, whatever refers to it.")] = 14,
    quarantine_days: Annotated[int, typer.Option(min=2, help="Episodes in quarantine stay for so long.")] = 90,
    names: Annotated[bool, typer.Option("--names", help="Each thing by its name, not only sizes.")] = False,
) -> None:
    """Free the disk of what nothing refers to and what is old (docs/retention.md). Without --delete nothing changes.

    Receipts, episodes, signed releases, reports, and what they refer to are never deleted.
    """
    from components import storage

    settings = Settings()
    grace, quarantine = timedelta(days=grace_days), timedelta(days=quarantine_days)
    store, find = storage.connect(settings), storage.sweep if delete else storage.find_garbage
    found = [(item.kind, item.uri, item.size) for item in find(store, grace=grace, quarantine=quarantine)]
    for kind, path in _local(settings.home, datetime.now(UTC) - grace):
        found.append((kind, str(path), _size(path)))
        if delete:
            _remove(path)
    table = Table("kind", "things", "MB", box=None, header_style="dim")
    for kind in dict.fromkeys(kind for kind, _, _ in found):
        sizes = [size for other, _, size in found if other == kind]
        table.add_row(kind, str(len(sizes)), f"{sum(sizes) / 1e6:,.1f}")
    table.add_row("all", str(len(found)), f"{sum(size for _, _, size in found) / 1e6:,.1f}")
    console.print(table)
    if names:
        for kind, uri, size in found:
            console.print(f"{kind}  {size:,}  {uri}")
    console.print("deleted" if delete else "nothing was deleted: `drover gc --delete` does it")


def _local(home: Path, before: datetime) -> Iterator[tuple[str, Path]]:
    """Old things in the home: runs' checkpoints, packages that are not served, logs that no process has open."""
    for run in _children(home / "training"):
        if _newest(run) < before:
            yield "checkpoints", run
    served = (home / "serving" / "package").resolve()
    for package in _children(home / "serving" / "packages"):
        if package.name.partition(".")[0] != served.name and _newest(package) < before:
            yield "served packages", package
    old = [log for log in _children(home / "logs") if log.is_file() and _newest(log) < before]
    opened = _open_files() if old else set()
    for log in old:
        if log.resolve() not in opened:
            yield "logs", log


def _children(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.is_symlink()) if folder.is_dir() else []


def _newest(path: Path) -> datetime:
    """When anything in it was last written."""
    times = [path.lstat().st_mtime, *(child.lstat().st_mtime for child in path.rglob("*"))]
    return datetime.fromtimestamp(max(times), UTC)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [child for child in path.rglob("*") if child.is_file()]
    return sum(file.lstat().st_size for file in files)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _open_files() -> set[Path]:
    """Files that processes of this user have open."""
    import psutil

    found: set[Path] = set()
    for process in psutil.process_iter():
        try:
            if process.uids().real == os.getuid():
                found |= {Path(file.path).resolve() for file in process.open_files()}
        except psutil.Error:
            continue
    return found
