"""A recording while it is being made: frames end to end in one file that only grows, each with its length and CRC.

HDF5 that was killed before a flush cannot be opened, and a flush can be cut off too. A journal cannot be hurt that way:
whatever is whole at its start is an episode.
"""

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from components.contracts.errors import EpisodeError

from ._episode import EpisodeAttributes

SUFFIX = ".journal"
_MAGIC = b"DROVER-JOURNAL-1\n"
_BLOCK = struct.Struct("<II")  # length of what follows, its CRC-32
_FRAME = struct.Struct("<d3fB")  # elapsed seconds, action, length of the event
_MAX_BLOCK = 64 * 2**20


@dataclass(frozen=True)
class JournalFrame:
    elapsed_s: float
    action: tuple[float, float, float]
    event: str
    compressed: bytes
    """zlib stream of (H, W, 3) uint8 BGR."""


@dataclass(frozen=True)
class JournalHeader:
    attributes: EpisodeAttributes
    height: int
    width: int


def header_block(header: JournalHeader) -> bytes:
    document = {
        "attributes": header.attributes.model_dump(mode="json"), "height": header.height, "width": header.width,
    }  # fmt: skip
    return _MAGIC + _block(json.dumps(document).encode())


def frame_block(elapsed_s: float, action: NDArray[np.float32], event: str, compressed: bytes) -> bytes:
    name = event.encode()
    return _block(_FRAME.pack(elapsed_s, *(float(value) for value in action), len(name)) + name + compressed)


def _block(payload: bytes) -> bytes:
    return _BLOCK.pack(len(payload), zlib.crc32(payload)) + payload


def read_header(path: Path) -> JournalHeader:
    """Raises EpisodeError (`journal`) if the header is torn: the recorder was killed before its first frame."""
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) == _MAGIC and (payload := _next(file)) is not None:
            try:
                document = json.loads(payload)
                attributes = EpisodeAttributes.model_validate(document["attributes"])
                return JournalHeader(attributes, int(document["height"]), int(document["width"]))
            except (ValueError, KeyError, TypeError, ValidationError):
                pass
    raise EpisodeError(
        "journal", f"{path.name}: expected a recording's journal, found no whole header; nothing to save"
    )


def read_frames(path: Path) -> Iterator[JournalFrame]:
    """All whole frames, in order; what a kill tore off at the end is left out. One frame in memory at a time."""
    with path.open("rb") as file:
        file.seek(len(_MAGIC))
        _next(file)
        while (payload := _next(file)) is not None:
            elapsed_s, x, y, z, length = _FRAME.unpack_from(payload)
            start = _FRAME.size + length
            event = payload[_FRAME.size : start].decode()
            yield JournalFrame(elapsed_s, (x, y, z), event, payload[start:])


def has_hole(path: Path) -> bool:
    """Whether something lies behind the last whole frame that is more than one frame cut off: not a kill, but a disk
    that lost or changed bytes in the middle. Whole frames may hide there."""
    with path.open("rb") as file:
        file.seek(whole := len(_MAGIC))
        while _next(file) is not None:
            whole = file.tell()
        file.seek(whole)
        rest = path.stat().st_size - whole
        prefix = file.read(_BLOCK.size)
    if len(prefix) < _BLOCK.size:
        return False
    length = int(_BLOCK.unpack(prefix)[0])
    return length > _MAX_BLOCK or rest > _BLOCK.size + length


def _next(file: Any) -> bytes | None:
    prefix = file.read(_BLOCK.size)
    if len(prefix) < _BLOCK.size:
        return None
    length, checksum = _BLOCK.unpack(prefix)
    if not _FRAME.size <= length <= _MAX_BLOCK:  # zeros, as after a power cut, would pass for an empty block
        return None
    payload: bytes = file.read(length)
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a journal whose writer is gone.

    Raises:
        EpisodeError: `recording`, its writer is alive.
        FileNotFoundError: the journal was finished meanwhile.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EpisodeError("recording", f"{path.name} is still being recorded; recover it when it ended") from None
        if not path.exists():
            raise FileNotFoundError(path)
        yield


class JournalFile:
    """The open journal, locked for as long as its writer lives. Every append is on the disk when it returns, or not in
    the journal at all."""

    def __init__(self, path: Path, header: JournalHeader, *, sync: bool) -> None:
        self.path = path
        self._sync = sync
        self.size = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.append(header_block(header))
        except OSError:
            self.close()
            path.unlink()
            raise

    def append(self, block: bytes) -> None:
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            if self._sync:
                os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self.size)  # a full disk must not leave half a frame before the next one
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
            raise
        self.size += len(block)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
