"""Archives of a recording's folder, unpacked without trusting them: tar (plain, gz, bz2, xz) and zip."""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from components.contracts.errors import EpisodeError

from ._sources import is_side_file

_MAX_FILES = 500_000
_MAX_FILE_BYTES = 64 * 2**20
_MAX_TOTAL_BYTES = 8 * 2**30
_BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError,
    OSError,
)  # fmt: skip
"""A zip with a password or of an unknown method raises RuntimeError or NotImplementedError."""


@dataclass(frozen=True)
class _Member:
    """One file of an archive; folders are made as files need them."""

    name: str
    size: int
    is_plain: bool
    """No link, no device."""


def unpack(archive: Path, target: Path) -> None:
    """Write the files of a tar or zip archive below `target`.

    Raises:
        EpisodeError: `tub`: no whole archive, or one with links, devices, names outside of it, or more than the limits.
    """
    try:
        opened = _zip(archive) if zipfile.is_zipfile(archive) else _tar(archive)
        with opened as members:
            total = 0
            for number, (member, content) in enumerate(members):
                parts = PurePosixPath(member.name).parts
                if is_side_file(PurePosixPath(member.name)):
                    continue
                total += member.size
                _check(archive, member, parts)
                if number >= _MAX_FILES or member.size > _MAX_FILE_BYTES or total > _MAX_TOTAL_BYTES:
                    raise EpisodeError(
                        "tub", f"{archive.name}: expected at most {_MAX_FILES} files of {_MAX_FILE_BYTES} bytes and "
                        f"{_MAX_TOTAL_BYTES} in all, found more at {member.name!r}; unpack it yourself if you trust it"
                    )  # fmt: skip
                _write(content, target.joinpath(*parts))
    except _BROKEN as error:
        raise EpisodeError(
            "tub", f"{archive.name}: expected a whole tar or zip archive of a tub, but: {_first_line(error)}; copy it "
            "again"
        ) from None  # fmt: skip


class _Content:
    """A member's bytes, opened when they are wanted."""

    def __init__(self, archive: tarfile.TarFile | zipfile.ZipFile, member: tarfile.TarInfo | zipfile.ZipInfo) -> None:
        self._archive, self._member = archive, member

    def open(self) -> IO[bytes]:
        if isinstance(self._archive, zipfile.ZipFile):
            assert isinstance(self._member, zipfile.ZipInfo)
            return self._archive.open(self._member)  # gives as many bytes as the directory states, and no more
        assert isinstance(self._member, tarfile.TarInfo)
        found = self._archive.extractfile(self._member)
        assert found is not None  # a regular file
        return found


@contextmanager
def _tar(path: Path) -> Iterator[Iterator[tuple[_Member, _Content]]]:
    with tarfile.open(path) as tar:
        yield (
            (_Member(member.name, member.size, member.isreg()), _Content(tar, member))
            for member in tar
            if not member.isdir()
        )


@contextmanager
def _zip(path: Path) -> Iterator[Iterator[tuple[_Member, _Content]]]:
    with zipfile.ZipFile(path) as archive:
        yield (
            (_Member(member.filename, member.file_size, _is_plain(member)), _Content(archive, member))
            for member in archive.infolist()
            if not member.is_dir()
        )


def _is_plain(member: zipfile.ZipInfo) -> bool:
    """Systems other than Unix leave the mode out."""
    mode = stat.S_IFMT(member.external_attr >> 16)
    return mode in {0, stat.S_IFREG}


def _check(archive: Path, member: _Member, parts: tuple[str, ...]) -> None:
    if not member.is_plain:
        raise EpisodeError(
            "tub", f"{archive.name}: expected files and folders alone, found a link or device: {member.name!r}"
        )
    if not parts or PurePosixPath(member.name).is_absolute() or ".." in parts or "\\" in member.name:
        raise EpisodeError("tub", f"{archive.name}: expected names inside the archive, found {member.name!r}")


def _write(content: _Content, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with content.open() as source, path.open("wb") as file:
        shutil.copyfileobj(source, file, 2**20)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(":")
