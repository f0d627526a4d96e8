"""Episode files on their way out: read one at a time, told when lost, and a target that is whole or not there."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from components.contracts.errors import EpisodeError
from components.episodes._episode import Episode
from components.episodes._hdf5 import read_episode


def read_episodes(files: Iterable[Path]) -> Iterator[Episode]:
    """One in memory at a time.

    Raises:
        EpisodeError: a file is no episode; `empty`, there is none.
    """
    found = False
    for path in files:
        found = True
        yield read_episode(path)
    if not found:
        raise EpisodeError("empty", "expected at least one episode to export, got none")


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A folder to fill; it becomes `out`, or vanishes if filling it fails.

    Raises:
        EpisodeError: `exists`, `out` holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EpisodeError("exists", f"{out} holds something already; export into a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        if out.exists():
            out.rmdir()
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def free_name(folder: Path, name: str, suffix: str) -> Path:
    """A path for an episode of that name: several robots may have one each."""
    path, number = folder / f"{name}{suffix}", 2
    while path.exists():
        path, number = folder / f"{name}-{number}{suffix}", number + 1
    return path
