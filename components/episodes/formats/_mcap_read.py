"""MCAP files of one recording: what is in them and where. Loads `mcap`."""

from pathlib import Path
from typing import IO

from mcap.opcode import Opcode
from mcap.records import Channel as McapChannel
from mcap.records import Chunk, Metadata, Schema, Statistics

from ._bag import OWN, USEFUL, Scanned
from ._conversion import Remarks
from ._mcap_records import (
    HEAD,
    MESSAGE_HEAD,
    RECORD_BYTES,
    DamagedRecordError,
    Record,
    parsed,
    records,
    unpacked,
    within,
)  # fmt: skip
from ._references import OPEN_FILE_BYTES, Channel, Declared

_LOOSE = -1
"""In place of a chunk's position."""


def scan_mcap(path: Path, remarks: Remarks, *, allow_partial: bool = False) -> Scanned:
    """Read a file through, a chunk at a time. One that was cut off, wherever, gives what is whole before that.

    Raises:
        EpisodeError: `mcap`, no MCAP file; or a damaged one and `allow_partial` is false.
    """
    remarks.begin(path.name)
    scan = _Scan(path, remarks, allow_partial)
    with path.open("rb") as file:
        scan.read(file)
    return scan.found


class _Scan:
    def __init__(self, path: Path, remarks: Remarks, allow_partial: bool) -> None:
        self._path, self._remarks, self._allow_partial = path, remarks, allow_partial
        self._starts: list[int] = []
        self._loose: int | None = None
        """The block of messages that stand in no chunk."""
        self._schemas: dict[int, str] = {}
        self._bound: dict[int, int] = {}
        """Channel's id -> its number: each message is of the channel that was declared last before it."""
        self._topics: dict[int, str] = {}
        self._numbers: dict[Channel, int] = {}
        self.found = Scanned(path, self._load)

    def read(self, file: IO[bytes]) -> None:
        damage: DamagedRecordError | None = None
        try:
            for record in records(file, self._path):
                if record is None:
                    self._cut_off(damage)  # what is damaged last was written as the power went
                    return
                if damage:
                    self._tell(damage)
                damage = self._take(record)
        except DamagedRecordError as error:
            damage = error
        if damage:
            self._tell(damage)

    def _cut_off(self, last: DamagedRecordError | None) -> None:
        name = self._path.name
        if self._path.stat().st_size == 0:
            self.found.fault = f"{name} is empty"
            self._remarks.note(self.found.fault)
            return
        self.found.fault = f"{name} was cut off while it was recorded" + (f"; {last}" if last else "")
        self._remarks.note(f"{self.found.fault}; what is whole before that was taken")

    def _tell(self, damage: DamagedRecordError) -> None:
        if not self._allow_partial:
            raise damage
        self.found.fault = str(damage)
        self._remarks.note(f"{damage}; what is whole beside that was taken (--allow-partial)")

    def _take(self, record: Record) -> DamagedRecordError | None:
        try:
            if record.opcode == Opcode.MESSAGE:
                if self._loose is None:
                    self._loose = self._block(_LOOSE, OPEN_FILE_BYTES)
                self._message(record, self._loose)
            elif record.opcode in {Opcode.SCHEMA, Opcode.CHANNEL}:
                self._declare(record)
            elif record.opcode == Opcode.CHUNK:
                self._chunk(record)
            elif record.opcode in {Opcode.METADATA, Opcode.STATISTICS}:
                self._about(record)
        except DamagedRecordError as error:
            return error
        return None

    def _chunk(self, record: Record) -> None:
        chunk = parsed(record, self._path)
        assert isinstance(chunk, Chunk)
        data = unpacked(chunk, self._path)
        block = self._block(record.start, len(data))
        for inner in within(data, self._path):
            if inner.opcode == Opcode.MESSAGE:
                self._message(inner, block)
            elif inner.opcode in {Opcode.SCHEMA, Opcode.CHANNEL}:
                self._declare(inner)

    def _block(self, start: int, size: int) -> int:
        self._starts.append(start)
        self.found.sizes.append(size)
        return len(self._starts) - 1

    def _declare(self, record: Record) -> None:
        declared = parsed(record, self._path)
        if isinstance(declared, Schema):
            self._schemas[declared.id] = declared.name
        elif isinstance(declared, McapChannel):
            kind = self._schemas.get(declared.schema_id, "")
            self._topics[declared.id] = declared.topic
            self._bound[declared.id] = self._number(Channel(declared.topic, kind, declared.message_encoding))

    def _number(self, channel: Channel) -> int:
        if channel not in self._numbers:
            self._numbers[channel] = len(self.found.channels)
            self.found.channels.append(channel)
        return self._numbers[channel]

    def _message(self, record: Record, block: int) -> None:
        if len(record.content) < MESSAGE_HEAD.size:
            raise DamagedRecordError(f"{self._path.name} is damaged: a message at {record.start} has no head")
        channel_id, _, time_ns, _ = MESSAGE_HEAD.unpack_from(record.content)
        if time_ns >= 2**63:
            raise DamagedRecordError(f"{self._path.name}: expected log times before the year 2262, found {time_ns} ns")
        if (number := self._bound.get(channel_id)) is None:
            number = self._number(Channel("", "", ""))
        channel = self.found.channels[number]
        self.found.counts[channel] += 1
        if channel.type in USEFUL:
            self.found.references.add(time_ns, block, record.start, number)

    def _about(self, record: Record) -> None:
        about = parsed(record, self._path)
        if isinstance(about, Metadata) and about.name == OWN and self.found.own is None:
            self.found.own = dict(about.metadata)
        elif isinstance(about, Statistics):
            known = about.channel_message_counts or not about.message_count
            topics: dict[str, int] = {}
            for channel_id, count in about.channel_message_counts.items():
                topic = self._topics.get(channel_id, "")
                topics[topic] = topics.get(topic, 0) + count
            self.found.declared = Declared(about.message_count, topics if known else None)

    def _load(self, block: int) -> "_Chunk | _Loose":
        if self._starts[block] == _LOOSE:
            return _Loose(self._path)
        with self._path.open("rb") as file:
            file.seek(self._starts[block] - HEAD.size)
            opcode, length = HEAD.unpack(file.read(HEAD.size))
            chunk = parsed(Record(opcode, self._starts[block], file.read(min(length, RECORD_BYTES))), self._path)
        assert isinstance(chunk, Chunk)
        return _Chunk(unpacked(chunk, self._path))


class _Chunk:
    """An unpacked chunk."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def message(self, place: int) -> bytes:
        _, length = HEAD.unpack_from(self._data, place - HEAD.size)
        return self._data[place + MESSAGE_HEAD.size : place + length]

    def close(self) -> None:
        """Nothing is open."""


class _Loose:
    """A file whose messages stand in no chunk."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def message(self, place: int) -> bytes:
        self._file.seek(place - HEAD.size)
        _, length = HEAD.unpack(self._file.read(HEAD.size))
        return self._file.read(min(length, RECORD_BYTES))[MESSAGE_HEAD.size :]

    def close(self) -> None:
        self._file.close()
