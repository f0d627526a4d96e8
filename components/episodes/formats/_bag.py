"""A ROS 2 recording, whatever its storage, and the choice of its topics."""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field

from components.contracts import Frozen
from components.contracts.errors import EpisodeError

from ._accounting import Tally
from ._conversion import Remarks
from ._references import CACHE_BYTES, Channel, Declared, LastUsed, References

OWN = "drover.episode"
"""Metadata record of an exported MCAP: the episode's attributes, as JSON."""
OWN_TOPICS = {
    "image": "/camera/image/compressed", "command": "/cmd_vel", "instruction": "/instruction", "event": "/drover/event",
}  # fmt: skip
KINDS = {
    "image": ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"),
    "command": ("geometry_msgs/msg/Twist", "geometry_msgs/msg/TwistStamped"),
    "instruction": ("std_msgs/msg/String",),
    "event": ("std_msgs/msg/String",),
}
USEFUL = frozenset(kind for kinds in KINDS.values() for kind in kinds)
"""Types of messages that an import can use: only their places are kept."""
_SPEAKS = ("instruction", "task", "language", "command_text", "prompt")


@dataclass(frozen=True)
class RawMessage:
    """One recorded message, still in CDR."""

    channel: Channel
    time_ns: int
    data: bytes

    @property
    def topic(self) -> str:
        return self.channel.topic

    @property
    def type(self) -> str:
        return self.channel.type


class UnreadableMessageError(EpisodeError):
    """One message lies in a damaged part of its file."""

    def __init__(self, message: str) -> None:
        super().__init__("rosbag2", message)


class Block(Protocol):
    """What is unpacked or open at once: a chunk, a file."""

    def message(self, place: int) -> bytes:
        """Its payload.

        Raises:
            UnreadableMessageError: it cannot be read.
        """
        ...

    def close(self) -> None: ...


@dataclass
class Scanned:
    """One file of a recording: what it declares, what it holds, and where."""

    path: Path
    load: Callable[[int], Block]
    channels: list[Channel] = field(default_factory=list)
    references: References = field(default_factory=References)
    """Of the channels of types that are of use."""
    sizes: "array[int]" = field(default_factory=lambda: array("Q"))
    """Bytes of each block."""
    counts: Counter[Channel] = field(default_factory=Counter)
    """Messages that it holds, of any type."""
    declared: Declared | None = None
    own: dict[str, str] | None = None
    """What an export of Drover's says about its episode."""
    fault: str = ""
    """Why it may hold less than was recorded."""

    def held(self, topic: str | None) -> int:
        """Messages on a topic, or in all."""
        return sum(count for channel, count in self.counts.items() if topic is None or channel.topic == topic)


class Bag:
    """The files of one recording, read in the order of time, whatever the order in them and of them."""

    def __init__(self, files: list[Scanned], declared: Declared | None = None, title: str = "") -> None:
        """`declared` is what stands beside the files, in metadata.yaml; `title` goes into episodes' names."""
        self.name, self.files = files[0].path.name, files
        self.title = title or files[0].path.stem
        self._declared = declared
        self.own = files[0].own if len(files) == 1 else None
        self.whole = not any(file.fault for file in files)
        self.counts = sum((file.counts for file in files), Counter[Channel]())
        self.channels = list(dict.fromkeys(channel for file in files for channel in file.channels))
        self._references, self._sizes = References(), array("Q")
        self._starts: list[int] = []
        numbers = {channel: number for number, channel in enumerate(self.channels)}
        for file in files:
            self._starts.append(len(self._sizes))
            self._references.extend(file.references, len(self._sizes), [numbers[known] for known in file.channels])
            self._sizes.extend(file.sizes)

    @property
    def topics(self) -> dict[str, tuple[str, ...]]:
        """Topic -> the types of its channels."""
        found: dict[str, tuple[str, ...]] = {}
        for channel in self.channels:
            if channel.type and channel.type not in found.get(channel.topic, ()):
                found[channel.topic] = (*found.get(channel.topic, ()), channel.type)
        return found

    def channels_of(self, kind: str, topic: str) -> list[Channel]:
        return [channel for channel in self.channels if channel.topic == topic and channel.type in KINDS[kind]]

    def read(
        self, wanted: Iterable[Channel], remarks: Remarks, left_out: Callable[[Channel], None] | None = None
    ) -> Iterator[RawMessage]:
        """Messages of these channels by time; goes through the files anew each time. Of one that cannot be read
        `left_out` is told, if it is given.

        Raises:
            EpisodeError: `mcap`, they are not ROS 2's; `messages`, they are too scattered; or a file is damaged.
        """
        numbers = {number for number, channel in enumerate(self.channels) if channel in set(wanted)}
        for number in sorted(numbers):
            if (encoding := self.channels[number].encoding) != "cdr":
                raise EpisodeError(
                    "mcap", f"{self.name}, {self.channels[number].topic}: expected ROS 2 messages (cdr), got "
                    f"{encoding!r}; record or convert it with ROS 2"
                )  # fmt: skip
        ordered = self._references.ordered(numbers)
        ordered.check_loads(self.name, self._sizes)
        if note := ordered.disorder(self.name):
            remarks.note(note)
        opened = LastUsed[Block](CACHE_BYTES)
        try:
            for time_ns, number, place, channel in ordered:
                block = opened.get(number)
                if block is None:
                    block = self._load(number)
                    _close(opened.put(number, block, self._sizes[number]))
                try:
                    data = block.message(place)
                except UnreadableMessageError:
                    if left_out is None:
                        raise
                    left_out(self.channels[channel])
                    continue
                yield RawMessage(self.channels[channel], time_ns, data)
        finally:
            _close(opened.clear())

    def _load(self, number: int) -> Block:
        index = bisect_right(self._starts, number) - 1
        return self.files[index].load(number - self._starts[index])

    def declare(self, messages: Tally, images: Tally, image_topic: str) -> None:
        """Add what the files declare, and what metadata.yaml declares beyond that."""
        for tally, counted in ((messages, None), (images, image_topic)):
            files = [(file.declared.of(counted) if file.declared else None, file.held(counted)) for file in self.files]
            _declare(tally, self._declared.of(counted) if self._declared else None, files)


def _declare(tally: Tally, beside: int | None, files: list[tuple[int | None, int]]) -> None:
    """Of each file how many it declares (None: it does not), and how many it holds."""
    declared = sum(stated for stated, _ in files if stated is not None)
    undeclared = sum(held for stated, held in files if stated is None)
    if beside is not None:  # it declares for all of them
        declared, undeclared = max(declared + undeclared, beside), 0
    tally.declared += declared
    tally.undeclared += undeclared


def _close(blocks: list[Block]) -> None:
    for block in blocks:
        block.close()


class RosOptions(Frozen):
    """What to take from a ROS 2 recording, and how often."""

    image_topic: str | None = None
    """None: the only topic of a type that fits."""
    command_topic: str | None = None
    instruction_topic: str | None = None
    """None: the only String topic whose name speaks of an instruction, a task or language, if there is one."""
    instruction: Annotated[str | None, Field(max_length=512)] = None
    """Where the recording tells none."""
    rate_hz: Annotated[float | None, Field(gt=0, le=1000)] = None
    """Frames a second; None: one at each image."""
    gap_s: Annotated[float, Field(gt=0)] = 2.0
    """A longer gap between images parts two episodes."""
    hold_s: Annotated[float, Field(gt=0)] = 2.0
    """A command counts for so long; after that the robot is taken to stand."""
    frames_per_episode: Annotated[int | None, Field(ge=2)] = None
    allow_partial: bool = False
    """Take what can be read where a file is damaged or holds less than it declares."""


def choose_topics(bag: Bag, options: RosOptions) -> dict[str, str]:
    """Kind -> topic.

    Raises:
        EpisodeError: `topics`, one is missing, of another type, or several would do: the message names them.
    """
    chosen = {
        "image": _chosen(bag, "image", options.image_topic, "--images"),
        "command": _chosen(bag, "command", options.command_topic, "--commands"),
    }
    spoken = [
        topic
        for topic in bag.topics
        if bag.channels_of("instruction", topic) and any(word in topic.lower() for word in _SPEAKS)
    ]
    if options.instruction_topic is not None or len(spoken) == 1:
        wanted = options.instruction_topic or spoken[0]
        chosen["instruction"] = _chosen(bag, "instruction", wanted, "--instructions")
    return chosen


def _chosen(bag: Bag, kind: str, wanted: str | None, option: str) -> str:
    fitting = [topic for topic in bag.topics if bag.channels_of(kind, topic)]
    if wanted is None and len(fitting) == 1:
        return fitting[0]
    if wanted in fitting:
        return wanted
    found = sorted(bag.topics.items())[:20]
    there = ", ".join(f"{topic} ({' and '.join(types)})" for topic, types in found) or "no topics"
    what = f"a topic {wanted!r}" if wanted else "one topic"
    raise EpisodeError(
        "topics", f"{bag.name}: expected {what} of {' or '.join(KINDS[kind])}, found {there}; choose one with {option}"
    )
