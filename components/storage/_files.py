"""Local files at paths that somebody else may have written to: durable writes, and reads that neither hang nor follow.

What is opened here is a regular file or an error: no link is followed, and a pipe, device or socket is never waited
for. What is written gets a temporary name that nobody can foresee, so that no link can be laid in its way. What is not
covered: the folders above a file are followed as they are, links included.
"""

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, cast

_PART = ".part"
_LEFT_OVER_S = 3600.0
"""A temporary file that is older was left by a killed process."""


def open_plain(path: Path, flags: int = os.O_RDONLY, *, mode: int = 0o600) -> BinaryIO:
    """Open a regular file; anything else in its place is an error at once.

    Args:
        path: of the file; its last part may not be a link.
        flags: as of `os.open`, e.g. `os.O_RDWR | os.O_CREAT`.
        mode: of a file that is made.

    Raises:
        OSError: there is none, it may not be opened, or it is a link, folder, pipe, socket or device.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    try:
        _expect_regular(descriptor, path)
        kind = {os.O_RDONLY: "rb", os.O_WRONLY: "wb", os.O_RDWR: "r+b"}[flags & os.O_ACCMODE]
        return cast("BinaryIO", os.fdopen(descriptor, "ab" if flags & os.O_APPEND else kind))
    except BaseException:
        os.close(descriptor)
        raise


def _expect_regular(descriptor: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "expected a plain file, found a folder, pipe, socket or device", str(path))


def read_plain(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        OSError: as `open_plain`; EFBIG: it has more bytes.
    """
    with open_plain(path) as file:
        data = bytearray()
        while len(data) <= limit and (block := file.read(min(2**20, limit + 1 - len(data)))):
            data += block
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"expected at most {limit} bytes, found more", str(path))
    return bytes(data)


def sha256_of_plain(path: Path) -> str:
    """SHA-256 of a regular file, lower-case hex. Raises OSError as `open_plain`."""
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a file: whole and on disk when it returns, or as it was. A link in its place is replaced, not followed.

    Raises:
        OSError: e.g. the disk is full, or a folder has that name.
    """
    _remove_left_overs(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def copy_durably(source: Path, target: Path) -> None:
    """Copy a regular file, and have its bytes on disk; as `write_durably` in all else."""
    _remove_left_overs(target)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=_PART)
    try:
        with os.fdopen(descriptor, "wb") as copy, open_plain(source) as original:
            shutil.copyfileobj(original, copy, 2**20)
            copy.flush()
            os.fsync(copy.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def fsync_folder(folder: Path) -> None:
    """Have the folder's entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(path: Path, *, keep: int = 3) -> Path:
    """Rename whatever is at a path, so that a person can look at it; the oldest of more than `keep` is removed.

    Returns:
        Its new name, `<name>.damaged-1`; the one before it is then `-2`.
    """
    names = [path.with_name(f"{path.name}.damaged-{number}") for number in range(1, keep + 1)]
    remove_any(names[-1])
    for newer, older in reversed(list(itertools.pairwise(names))):
        if os.path.lexists(newer):
            newer.rename(older)
    path.rename(names[0])
    fsync_folder(path.parent)
    return names[0]


def remove_any(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; nothing there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_left_overs(path: Path) -> None:
    """Temporary files of this very name that a killed process left; those of a living one are younger."""
    oldest = time.time() - _LEFT_OVER_S
    with os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(f".{path.name}.") and entry.name.endswith(_PART):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        Path(entry.path).unlink()
