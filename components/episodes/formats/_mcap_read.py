"""MCAP files, message by message in the order in which they were recorded, without trusting a length in them. Loads
`mcap`."""

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import lz4.frame  # type: ignore[import-untyped]
import zstandard
from mcap.exceptions import EndOfFile, McapError
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, Message, Metadata, Schema
from mcap.stream_reader import CRCValidationError, StreamReader, breakup_chunk

from components.contracts.errors import EpisodeError

from ._bag import OWN, Bag
from ._conversion import Remarks
from ._ros_messages import RawMessage

_RECORD_BYTES = 128 * 2**20
"""Of one record and of one chunk unpacked; recorders write chunks of about 1 to 16 MiB."""
_BROKEN = (McapError, struct.error, zstandard.ZstdError, RuntimeError, ValueError, KeyError, OSError, OverflowError)


class _Bounded:
    """A file of which nobody reads more than there is: Python sets the memory aside before it looks."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._size = file, path.stat().st_size
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._file.tell(), 0)
        return self._file.read(left if size < 0 else min(size, left, _RECORD_BYTES))


def mcap_bag(paths: list[Path], remarks: Remarks) -> Bag:
    """Open files of one recording, in order.

    Raises:
        EpisodeError: `mcap`, one is no MCAP file or a damaged one.
    """
    topics: dict[str, str] = {}
    for path in paths:
        topics |= _topics_of(path, remarks)

    def read(chosen: dict[str, str]) -> Iterator[RawMessage]:
        for path in paths:
            yield from _messages(path, chosen, remarks)

    return Bag(paths[0].name, topics, read, _metadata(paths[0]) if len(paths) == 1 else None)


def _topics_of(path: Path, remarks: Remarks) -> dict[str, str]:
    """Topic -> ROS 2 type. From the summary at the file's end; a file that was cut off is read through for it."""
    with path.open("rb") as file:
        try:
            bounded: Any = _Bounded(file, path)
            summary = SeekingReader(bounded, record_size_limit=_RECORD_BYTES).get_summary()
            if summary is not None and summary.channels:
                return _topics(summary.channels.values(), summary.schemas)
        except _BROKEN:
            pass  # no summary, or a damaged one: what counts is in the data
        file.seek(0)
        channels: dict[int, Channel] = {}
        schemas: dict[int, Schema] = {}
        for record in _records(file, path, remarks):
            if isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Schema):
                schemas[record.id] = record
        return _topics(channels.values(), schemas)


def _messages(path: Path, topics: dict[str, str], remarks: Remarks) -> Iterator[RawMessage]:
    """Messages on `topics` (topic -> type) in file order."""
    wanted: dict[int, tuple[str, str]] = {}
    with path.open("rb") as file:
        for record in _records(file, path, remarks):
            if isinstance(record, Channel) and record.topic in topics:
                if record.message_encoding != "cdr":
                    raise EpisodeError(
                        "mcap", f"{path.name}, {record.topic}: expected ROS 2 messages (cdr), got "
                        f"{record.message_encoding!r}; record or convert it with ROS 2"
                    )  # fmt: skip
                wanted[record.id] = (record.topic, topics[record.topic])
            elif isinstance(record, Message) and record.channel_id in wanted:
                topic, kind = wanted[record.channel_id]
                yield RawMessage(topic, kind, record.log_time, record.data)


def _metadata(path: Path) -> dict[str, str] | None:
    """What an exported episode says about itself before its first message."""
    with path.open("rb") as file:
        for record in _records(file, path, Remarks()):
            if isinstance(record, Message):
                return None
            if isinstance(record, Metadata) and record.name == OWN:
                return dict(record.metadata)
    return None


def _topics(channels: Any, schemas: dict[int, Schema]) -> dict[str, str]:
    return {channel.topic: schemas[channel.schema_id].name for channel in channels if channel.schema_id in schemas}


def _records(file: IO[bytes], path: Path, remarks: Remarks) -> Iterator[Any]:
    """All records; chunks are unpacked one at a time. A file that was cut off gives what is whole."""
    bounded: Any = _Bounded(file, path)
    reader = StreamReader(bounded, emit_chunks=True, record_size_limit=_RECORD_BYTES)
    try:
        for record in reader.records:
            if isinstance(record, Chunk):
                yield from breakup_chunk(_unpacked(record, path), validate_crc=True)
            else:
                yield record
    except EndOfFile:
        if file.tell() == 0:
            raise EpisodeError("mcap", f"{path.name}: expected an MCAP file, got an empty one") from None
        remarks.note(f"{path.name} was cut off while it was recorded: what is whole before that was taken")
    except CRCValidationError as error:
        raise EpisodeError("mcap", f"{path.name} is damaged: {error}; copy it again") from None
    except _BROKEN as error:
        raise EpisodeError("mcap", f"{path.name}: expected an MCAP file, but: {error or error!r}") from None


def _unpacked(chunk: Chunk, path: Path) -> Chunk:
    """The same chunk, uncompressed; never more than the limit, whatever its headers say."""
    size = chunk.uncompressed_size
    if chunk.compression == "zstd" and size <= _RECORD_BYTES:
        data = zstandard.ZstdDecompressor().stream_reader(chunk.data).read(size + 1)
    elif chunk.compression == "lz4" and size <= _RECORD_BYTES:
        data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
    elif chunk.compression == "":
        return chunk
    elif size > _RECORD_BYTES:
        raise EpisodeError("mcap", f"{path.name}: expected chunks of at most {_RECORD_BYTES} bytes, one claims {size}")
    else:
        raise EpisodeError("mcap", f"{path.name}: expected zstd, lz4 or no compression, got {chunk.compression!r}")
    if len(data) != size:
        raise EpisodeError("mcap", f"{path.name}: a chunk claims {size} bytes and holds others; copy it again")
    return dataclasses.replace(chunk, compression="", data=data)
