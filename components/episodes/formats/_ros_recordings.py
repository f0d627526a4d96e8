"""One ROS 2 recording as episodes. Loads `rosbags`."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from components.contracts import ACTION_LIMIT
from components.contracts.errors import DamagedImageError, EpisodeError
from components.episodes._episode import EpisodeAttributes

from ._bag import OWN_TOPICS, Bag, RosOptions, choose_topics
from ._conversion import Action, Recording, Remarks, Step, as_name, drive
from ._own import read_own
from ._references import Channel
from ._ros_messages import Decoder, RosImage
from ._synchronise import Message, SyncedFrame, synchronise

_FOREVER_S = 1e9


class RosRecordings:
    """A recording whose topics are chosen; it counts what becomes of its messages."""

    def __init__(self, bag: Bag, options: RosOptions, remarks: Remarks) -> None:
        """Choose the topics.

        Raises:
            EpisodeError: `topics`, as `choose_topics`; `mcap`, nothing is in it.
        """
        self._bag, self._options, self._remarks = bag, options, remarks
        self._messages, self._images = remarks.counts.of("messages"), remarks.counts.of("images")
        try:
            topics = self._own_topics() if bag.own is not None else choose_topics(bag, options)
        except EpisodeError:
            self._messages.declared += bag.counts.total()
            self._messages.read += bag.counts.total()
            self._messages.drop("in files that were left out", bag.counts.total())
            if not bag.counts and (broken := next((file.fault for file in bag.files if file.fault), None)):
                raise EpisodeError("mcap", f"{bag.name}: expected messages, found none: {broken}") from None
            raise
        self._kinds: dict[Channel, str] = {
            channel: kind for kind, topic in topics.items() for channel in bag.channels_of(kind, topic)
        }
        self._count(topics)

    def _own_topics(self) -> dict[str, str]:
        if missing := set(OWN_TOPICS.values()) - set(self._bag.topics) - {OWN_TOPICS["instruction"]}:
            raise EpisodeError(
                "mcap",
                f"{self._bag.name}: expected the topics of an exported episode, found none of "
                f"{', '.join(sorted(missing))}",
            )
        return {kind: topic for kind, topic in OWN_TOPICS.items() if topic in self._bag.topics}

    def _count(self, topics: dict[str, str]) -> None:
        """Everything but what is read later on: that counts as used or dropped when it is."""
        self._bag.declare(self._messages, self._images, topics["image"])
        for channel, count in self._bag.counts.items():
            self._messages.read += count
            if channel.topic == topics["image"]:
                self._images.read += count
            if channel in self._kinds:
                continue
            reason = "on other topics" if channel.topic else "of no known channel"
            if channel.topic in topics.values():
                reason = "of a type that does not fit its topic"
                self._remarks.note(f"{channel.topic}: {count} messages of {channel.type} were left out")
            self._messages.drop(reason, count)
            if channel.topic == topics["image"]:
                self._images.drop(reason, count)

    def recordings(self, robot: str, faults: list[EpisodeError]) -> Iterator[Recording]:
        """Its episodes. Why an image is left out is added to `faults`."""
        if self._bag.own is not None:
            yield self._own(robot)
        else:
            yield from self._foreign(robot, faults)

    def _decoded(self) -> Iterator[Message[RosImage]]:
        decoder = Decoder(self._remarks)
        left_out = self._left_out if self._options.allow_partial else None
        for raw in self._bag.read(self._kinds, self._remarks, left_out):
            self._messages.used += 1
            yield decoder.decoded(self._kinds[raw.channel], raw)

    def _left_out(self, channel: Channel) -> None:
        self._messages.drop("in a damaged part")
        if self._kinds[channel] == "image":
            self._images.drop("in a damaged part")

    def _first_instruction(self) -> tuple[int, str] | None:
        told = [channel for channel, kind in self._kinds.items() if kind == "instruction"]
        for raw in self._bag.read(told, Remarks(), lambda _: None):
            return raw.time_ns, Decoder(Remarks()).decoded("instruction", raw).text
        return None

    def _foreign(self, robot: str, faults: list[EpisodeError]) -> Iterator[Recording]:
        """An episode a segment; segments of one image are left out, and told."""
        options, remarks = self._options, self._remarks
        frames = synchronise(
            self._decoded(), remarks, rate_hz=options.rate_hz, gap_s=options.gap_s, hold_s=options.hold_s,
            first_instruction=self._first_instruction(),
        )  # fmt: skip
        title, session = as_name(self._bag.title), None
        for segment, members in itertools.groupby(frames, key=lambda frame: frame.segment):
            head = list(itertools.islice(members, 2))
            first = head[0]
            if len(head) < 2:
                at_s = first.time_ns / 1e9
                remarks.note(f"{title}: a stretch of a single frame {at_s:.3f} s after 1970 was left out")
                self._images.drop("alone between two gaps")
                continue
            moment = datetime.fromtimestamp(first.time_ns / 1e9, UTC)
            session = session or f"{robot}-{moment:%Y%m%d-%H%M%S}"
            attributes = EpisodeAttributes(
                name=f"episode_{moment:%Y%m%d_%H%M%S}_ros_{title}_{segment:03d}", robot=robot, session=session,
                collected_at=moment, instruction=first.instruction or options.instruction, source="ros",
            )  # fmt: skip
            yield Recording(attributes, drive(self._frames(itertools.chain(head, members), faults)))  # noqa: B031

    def _frames(
        self, frames: Iterator[SyncedFrame[RosImage]], faults: list[EpisodeError]
    ) -> Iterator[tuple[NDArray[np.uint8], Action, float]]:
        first_ns, beyond, damaged = None, 0, list[DamagedImageError]()
        shown: RosImage | None = None
        pixels: NDArray[np.uint8] | None = None
        for frame in frames:
            if frame.image is not shown:  # at a rate above the camera's the same image comes again
                shown, pixels = frame.image, None
                try:
                    pixels = frame.image.decode()
                    self._images.used += 1
                except DamagedImageError as error:
                    damaged.append(error)
                    self._images.drop("damaged")
            if pixels is None:
                continue
            first_ns = frame.time_ns if first_ns is None else first_ns
            beyond += any(abs(value) > ACTION_LIMIT for value in frame.action)
            yield pixels, frame.action, (frame.time_ns - first_ns) / 1e9
        faults.extend(damaged[:1])
        if damaged:
            self._remarks.note(f"{len(damaged)} images are damaged and were left out; the first: {damaged[0]}")
        if beyond:
            self._remarks.note(
                f"{beyond} frames command more than +-{ACTION_LIMIT}: the checks will quarantine their episodes"
            )

    def _own(self, robot: str) -> Recording:
        """An exported episode: every image is a frame, with the action and the event of its own moment."""
        attributes = read_own((self._bag.own or {}).get("attributes", ""), robot, self._bag.name)
        frames = synchronise(self._decoded(), self._remarks, rate_hz=None, gap_s=_FOREVER_S, hold_s=_FOREVER_S)

        def steps() -> Iterator[Step]:
            first_ns = None
            for frame in frames:
                first_ns = frame.time_ns if first_ns is None else first_ns
                pixels = frame.image.decode()
                self._images.used += 1
                yield Step(pixels, frame.action, frame.event or "", (frame.time_ns - first_ns) / 1e9)

        duration_s = attributes.total_duration_s if self._bag.whole else None
        return Recording(attributes, steps(), duration_s, own=True)
