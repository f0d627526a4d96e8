"""Local copies of what is in work, in folders that name the process that made them."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from components.contracts import ObjectRef
from components.contracts.errors import ObjectNotFoundError
from components.storage import ObjectStore

from ._candidate import Candidate

_SCRATCH = "drover-ingest-"


def local_file(store: ObjectStore, candidate: Candidate, folder: Path) -> Path | None:
    """The candidate's bytes as a local file: the copy that the inspection made, or fetched again into `folder`.

    None if they are gone, or are others by now: then there is nothing to settle, and the next inspection finds what is.
    """
    if candidate.path and (path := Path(candidate.path)).is_file() and path.stat().st_size == candidate.size:
        return path
    path = folder / f"{candidate.sha256}.h5"
    try:
        ref: ObjectRef = store.get_file(candidate.bucket, candidate.key, path)
    except ObjectNotFoundError:
        return None
    return path if ref.sha256 == candidate.sha256 else None


def scratch_folder(scratch: Path | None) -> Path:
    """A folder of this run, named by its process; those of processes that are gone are removed."""
    base = scratch or Path(tempfile.gettempdir())
    base.mkdir(parents=True, exist_ok=True)
    for old in base.glob(f"{_SCRATCH}*"):
        owner = old.name.removeprefix(_SCRATCH).partition("-")[0]
        if owner.isdecimal() and not _alive(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-", dir=base))


def _alive(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
