"""Where each message of a recording lies, in the order of its time. Payloads stay in the files: only times and places
are sorted, so that a recording of any size and in any order is read in bounded memory."""

from array import array
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import EpisodeError

T = TypeVar("T")

_MAX_MESSAGES = 20_000_000
"""Of the types that an import may use: 24 bytes each are held."""
OPEN_FILE_BYTES = 16 * 2**20
"""What an open file counts for beside unpacked chunks: so many are kept open."""
CACHE_BYTES = 256 * 2**20
"""Unpacked chunks that are kept: those of a usual recording are read once, whatever their order."""
_LOADS, _LOADED_BYTES = 16, 4 * 2**30
_LATE_NS = 10**9 // 2
"""Threads write messages out of order by less."""


@dataclass(frozen=True)
class Channel:
    """One stream of messages; several may have the same topic, with another type each."""

    topic: str
    type: str
    encoding: str


@dataclass(frozen=True)
class Declared:
    """How many messages a source says that it holds."""

    total: int
    topics: dict[str, int] | None
    """None: it does not say of which topics."""

    def of(self, topic: str | None) -> int | None:
        """Messages on a topic, or in all; None: it does not say."""
        if topic is None:
            return self.total
        return None if self.topics is None else self.topics.get(topic, 0)


@dataclass
class References:
    """Times and places of messages, added in file order."""

    times: "array[int]" = field(default_factory=lambda: array("q"))
    blocks: "array[int]" = field(default_factory=lambda: array("I"))
    places: "array[int]" = field(default_factory=lambda: array("q"))
    channels: "array[int]" = field(default_factory=lambda: array("I"))

    def __len__(self) -> int:
        return len(self.times)

    def add(self, time_ns: int, block: int, place: int, channel: int) -> None:
        """`block` is what is unpacked at once (a chunk, a file), `place` where in it the message lies."""
        if len(self.times) >= _MAX_MESSAGES:
            raise EpisodeError(
                "messages", f"expected at most {_MAX_MESSAGES} images, commands and texts, found more; split it"
            )
        self.times.append(time_ns)
        self.blocks.append(block)
        self.places.append(place)
        self.channels.append(channel)

    def extend(self, other: "References", blocks_before: int, numbers: list[int]) -> None:
        """Append those of another file, whose channel n is here `numbers[n]`."""
        self.times.extend(other.times)
        self.places.extend(other.places)
        self.blocks.extend(blocks_before + block for block in other.blocks)
        self.channels.extend(numbers[channel] for channel in other.channels)

    def span(self) -> tuple[int, int] | None:
        """First and last time, in nanoseconds."""
        return (min(self.times), max(self.times)) if self.times else None

    def ordered(self, channels: Collection[int]) -> "Ordered":
        """Those of some channels, by time; what has the same time stays in file order."""
        wanted = np.flatnonzero(np.isin(np.frombuffer(self.channels, np.uint32), list(channels)))
        times = np.frombuffer(self.times, np.int64)[wanted]
        order = wanted[np.argsort(times, kind="stable")]
        late = np.maximum.accumulate(times) - times if len(times) else times
        return Ordered(self, order, int((late > 0).sum()), int(late.max(initial=0)))


@dataclass(frozen=True, eq=False)
class Ordered:
    """References by time."""

    references: References
    order: NDArray[np.intp]
    late: int
    """Messages that stand in the file after one of a later time."""
    latest_ns: int
    """The most by which one does."""

    def __iter__(self) -> Iterator[tuple[int, int, int, int]]:
        """(time_ns, block, place, channel)"""
        found = self.references
        for index in self.order:
            yield found.times[index], found.blocks[index], found.places[index], found.channels[index]

    def disorder(self, name: str) -> str | None:
        """A note, where the file's order is not the order of time."""
        if not self.late:
            return None
        text = f"{name}: {self.late} messages stand later than their time says, by up to {self.latest_ns / 1e9:.3f} s"
        note = f"{text}: all were taken in the order of their time"
        if self.latest_ns > _LATE_NS:
            note += " (if the clock was set back meanwhile, split the recording there)"
        return note

    def check_loads(self, name: str, sizes: "array[int]") -> None:
        """Raises EpisodeError (`messages`) if reading by time would unpack the same chunks over and over."""
        blocks = np.frombuffer(self.references.blocks, np.uint32)[self.order]
        changes = np.flatnonzero(np.diff(blocks.astype(np.int64), prepend=-1))
        cache, total, most = LastUsed[bool](CACHE_BYTES), 0, _LOADS * sum(sizes) + _LOADED_BYTES
        for block in blocks[changes].tolist():
            if cache.get(block) is None:
                cache.put(block, True, sizes[block])  # noqa: FBT003  # a value like any
                total += sizes[block]
        if total > most:
            raise EpisodeError(
                "messages",
                f"{name}: its messages are scattered over its chunks, so that reading them by time would unpack "
                f"{total} bytes instead of {sum(sizes)}; sort it first (`mcap sort`)",
            )


class LastUsed(Generic[T]):
    """Keeps what was used last, up to a number of bytes; the newest always."""

    def __init__(self, budget: int) -> None:
        self._budget, self._held = budget, 0
        self._kept: OrderedDict[int, tuple[T, int]] = OrderedDict()

    def get(self, key: int) -> T | None:
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: int, value: T, size: int) -> list[T]:
        """What had to go."""
        gone = []
        while self._kept and self._held + size > self._budget:
            _, (old, freed) = self._kept.popitem(last=False)
            self._held -= freed
            gone.append(old)
        self._kept[key] = (value, size)
        self._held += size
        return gone

    def clear(self) -> list[T]:
        """All that was kept."""
        gone = [value for value, _ in self._kept.values()]
        self._kept.clear()
        self._held = 0
        return gone
