"""The records of an MCAP file, without trusting a length in it, and what was cut off told from what is damaged.

Layout: https://mcap.dev/spec. A record is an opcode (1 byte), a length (8 bytes) and its content. Loads `mcap`.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import lz4.frame  # type: ignore[import-untyped]
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Footer, McapRecord, Metadata, Schema, Statistics

from components.contracts.errors import EpisodeError

RECORD_BYTES = 128 * 2**20
"""Of one record and of one chunk unpacked; recorders write chunks of about 1 to 16 MiB."""
HEAD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")
"""Channel, sequence, log time, publish time; the payload follows."""
_MAGIC = b"\x89MCAP0\r\n"
_READ: dict[Opcode, Callable[[ReadDataStream], McapRecord]] = {
    Opcode.CHANNEL: Channel.read, Opcode.CHUNK: Chunk.read, Opcode.METADATA: Metadata.read, Opcode.SCHEMA: Schema.read,
    Opcode.STATISTICS: Statistics.read, Opcode.FOOTER: Footer.read,
}  # fmt: skip
_NEEDED = {*_READ, Opcode.MESSAGE}
"""Anything else, attachments and indexes, is skipped, whatever its size."""
_BROKEN = (McapError, struct.error, ValueError, OverflowError, zstandard.ZstdError, RuntimeError)


class DamagedRecordError(EpisodeError):
    """One record makes no sense; those after it may."""

    def __init__(self, message: str) -> None:
        super().__init__("mcap", message)


@dataclass(frozen=True)
class Record:
    """One record of a file, still in bytes; `content` is empty where nobody needs it."""

    opcode: int
    start: int
    """Where its content begins."""
    content: bytes


def records(file: IO[bytes], path: Path) -> Iterator[Record | None]:
    """All records up to the footer. None ends those of a file that was cut off: by its length, or because a disk that
    lost its power left zeros at its end.

    Raises:
        EpisodeError: `mcap`, no MCAP file, or a damaged one: its closing magic is there and a length passes its end.
    """
    size = path.stat().st_size
    finished = _check_magic(file, path, size)
    at = len(_MAGIC)
    while True:
        file.seek(at)
        head = file.read(HEAD.size)
        if len(head) < HEAD.size and not finished:
            yield None
            return
        opcode, length = HEAD.unpack(head) if len(head) == HEAD.size else (0, 0)
        start = at + HEAD.size
        if length > size - start or opcode == 0:
            if finished or (opcode == 0 and not _only_zeros(file, at)):
                raise DamagedRecordError(
                    f"{path.name} is damaged: expected a record at byte {at}, found none; copy it again"
                )
            yield None
            return
        if opcode in _NEEDED and length > RECORD_BYTES:
            raise EpisodeError(
                "mcap", f"{path.name}: expected records of at most {RECORD_BYTES} bytes, one at byte {at} has {length}"
            )
        yield Record(opcode, start, file.read(length) if opcode in _NEEDED else b"")
        if opcode == Opcode.FOOTER:
            if not finished:
                yield None
            return
        at = start + length


def _check_magic(file: IO[bytes], path: Path, size: int) -> bool:
    """True if the file was finished: it ends as it begins."""
    begin = file.read(len(_MAGIC))
    if not _MAGIC.startswith(begin):
        raise EpisodeError("mcap", f"{path.name}: expected an MCAP file (it begins with {_MAGIC!r}), got {begin!r}")
    if size < 2 * len(_MAGIC):
        return False
    file.seek(size - len(_MAGIC))
    return file.read() == _MAGIC


def _only_zeros(file: IO[bytes], at: int) -> bool:
    file.seek(at)
    while piece := file.read(2**20):
        if piece.strip(b"\0"):
            return False
    return True


def parsed(record: Record, path: Path) -> McapRecord:
    """A record that `mcap` reads.

    Raises:
        DamagedRecordError: its content makes no sense.
    """
    try:
        return _READ[Opcode(record.opcode)](ReadDataStream(BytesIO(record.content)))
    except _BROKEN as error:
        what = Opcode(record.opcode).name.lower()
        raise DamagedRecordError(
            f"{path.name}: expected a {what} at byte {record.start}, but: {error or error!r}; copy the file again"
        ) from None


def unpacked(chunk: Chunk, path: Path) -> bytes:
    """A chunk's records; never more than the limit, whatever its headers say.

    Raises:
        DamagedRecordError: it is not what it claims to be.
        EpisodeError: `mcap`, too large, or of a compression that is not known.
    """
    size = chunk.uncompressed_size
    if size > RECORD_BYTES:
        raise EpisodeError("mcap", f"{path.name}: expected chunks of at most {RECORD_BYTES} bytes, one claims {size}")
    try:
        if chunk.compression == "zstd":
            data = zstandard.ZstdDecompressor().stream_reader(chunk.data).read(size + 1)
        elif chunk.compression == "lz4":
            data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
        elif chunk.compression == "":
            data = chunk.data
        else:
            raise EpisodeError("mcap", f"{path.name}: expected zstd, lz4 or no compression, got {chunk.compression!r}")
    except _BROKEN as error:
        raise DamagedRecordError(
            f"{path.name} is damaged: a chunk cannot be unpacked: {error}; copy it again"
        ) from None
    if len(data) != size:
        raise DamagedRecordError(f"{path.name} is damaged: a chunk claims {size} bytes and holds others; copy it again")
    if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
        raise DamagedRecordError(f"{path.name} is damaged: a chunk's checksum is wrong; copy it again")
    return data


def within(chunk: bytes, path: Path) -> Iterator[Record]:
    """The records in an unpacked chunk; a message's content is its head alone."""
    at, size = 0, len(chunk)
    while at < size:
        opcode, length = HEAD.unpack_from(chunk, at) if size - at >= HEAD.size else (0, 0)
        start = at + HEAD.size
        if opcode == 0 or length > size - start:
            raise DamagedRecordError(f"{path.name} is damaged: a chunk's records do not fill it; copy it again")
        end = start + (min(length, MESSAGE_HEAD.size) if opcode == Opcode.MESSAGE else length)
        yield Record(opcode, start, chunk[start:end] if opcode in _NEEDED else b"")
        at = start + length
