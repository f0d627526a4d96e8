"""Images, commands and instructions, each at its own time, to frames: nearest image, last command, one instruction.

Pure: it is given messages in the order of their time and gives frames back; it holds two images at most.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from ._conversion import Action, Remarks

T = TypeVar("T")

_SECOND = 10**9
_STALE_NS = _SECOND
"""A command held for longer is counted and told: most robots stop by themselves before."""
_LATE_NS = 5 * _SECOND
"""A latched instruction reaches a recorder when it has found the topic: as long after the first image at most."""
_DRIFT_NS = _SECOND // 2
_MAX_COMMANDS = 100_000

STANDING: Action = (0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Message(Generic[T]):
    """One message that was recorded at `time_ns`; `stamp_ns` is its sender's own clock, 0 where it has none."""

    kind: Literal["image", "command", "instruction", "event"]
    time_ns: int
    stamp_ns: int
    image: T | None = None
    action: Action = STANDING
    text: str = ""


@dataclass(frozen=True, eq=False)
class SyncedFrame(Generic[T]):
    """Frames of one `segment` have no gap and one instruction between them."""

    segment: int
    time_ns: int
    image: T
    action: Action
    instruction: str | None
    event: str | None


def synchronise(
    messages: Iterable[Message[T]],
    remarks: Remarks,
    *,
    rate_hz: float | None,
    gap_s: float,
    hold_s: float,
    first_instruction: tuple[int, str] | None = None,
) -> Iterator[SyncedFrame[T]]:
    """Frames at `rate_hz` from a segment's first image on, or at every image where it is None.

    Each has the nearest image in time, the last command at or before it (zero before the first, and `hold_s` after the
    last), and the last instruction and event. A gap between images of more than `gap_s` and another instruction begin a
    new segment. `first_instruction` (time, text) counts from the first image on, if it came a little later.
    """
    sync: _Synchroniser[T] = _Synchroniser(remarks, rate_hz, gap_s, hold_s, first_instruction)
    for message in messages:
        yield from sync.push(message)
    yield from sync.finish()


@dataclass(eq=False)
class _Image(Generic[T]):
    """An image message, and if a frame has shown it."""

    time_ns: int
    image: T
    shown: bool = False


class _Synchroniser(Generic[T]):
    def __init__(
        self, remarks: Remarks, rate_hz: float | None, gap_s: float, hold_s: float, first: tuple[int, str] | None
    ) -> None:
        self._remarks = remarks
        self._images = remarks.counts.of("images")
        self._period_ns = round(_SECOND / rate_hz) if rate_hz else None
        self._gap_ns = round(min(gap_s, 1e9) * _SECOND)
        self._hold_ns = round(min(hold_s, 1e9) * _SECOND)
        self._first_instruction = first
        self._segment = 0
        self._begin_ns: int | None = None
        self._now_ns = 0
        self._offset_ns: int | None = None
        self._waiting: _Image[T] | None = None
        """An image that other messages of the same moment may follow."""
        self._previous: _Image[T] | None = None
        self._tick = 0
        self._ticked_in_segment = False
        self._held: tuple[int, Action] | None = None
        self._commands: deque[tuple[int, Action]] = deque(maxlen=_MAX_COMMANDS)
        self._instruction: str | None = None
        self._event: str | None = None
        self._before_command = self._stale = self._expired = 0

    def push(self, message: Message[T]) -> Iterator[SyncedFrame[T]]:
        if self._begin_ns is None:
            self._begin_ns = self._now_ns = message.time_ns
        self._watch_stamp(message)
        assert message.time_ns >= self._now_ns  # whoever reads sorts
        if message.time_ns > self._now_ns:
            yield from self._settle()
        self._now_ns = message.time_ns
        yield from self._take(message)

    def _take(self, message: Message[T]) -> Iterator[SyncedFrame[T]]:
        if message.kind == "image":
            yield from self._settle()
            assert message.image is not None  # an image message
            self._waiting = _Image(message.time_ns, message.image)
            self._tell_ahead(message.time_ns)
        elif message.kind == "command":
            self._commands.append((message.time_ns, message.action))
        elif message.kind == "event":
            self._event = message.text
        elif message.text != self._instruction:
            if self._ticked_in_segment and self._instruction is not None:
                self._remarks.note(f"another instruction {self._at(message.time_ns)}: a new episode begins there")
            if self._ticked_in_segment:
                self._cut()
            self._instruction = message.text

    def _tell_ahead(self, image_ns: int) -> None:
        """The first instruction counts for images that came a little before it."""
        if self._first_instruction is None or self._instruction is not None:
            return
        told_ns, text = self._first_instruction
        self._first_instruction = None
        if 0 < told_ns - image_ns <= _LATE_NS:
            late_s = (told_ns - image_ns) / _SECOND
            self._remarks.note(f"the first instruction came {late_s:.1f} s after the first image: it counts from there")
            self._instruction = text

    def finish(self) -> Iterator[SyncedFrame[T]]:
        yield from self._settle()
        self._forget(self._previous)
        if self._before_command:
            self._remarks.note(f"{self._before_command} frames before the first command: their action is zero")
        if self._stale:
            self._remarks.note(f"{self._stale} frames hold a command that is older than {_STALE_NS // _SECOND} s")
        if self._expired:
            hold_s = self._hold_ns / _SECOND
            self._remarks.note(f"{self._expired} frames more than {hold_s:g} s after a command: their action is zero")

    def _settle(self) -> Iterator[SyncedFrame[T]]:
        """The waiting image's moment has passed: give the frames up to it."""
        image, self._waiting = self._waiting, None
        if image is None:
            return
        previous = self._previous
        if previous is not None and image.time_ns - previous.time_ns > self._gap_ns:
            gap_s = (image.time_ns - previous.time_ns) / _SECOND
            self._remarks.note(f"a gap of {gap_s:.1f} s between images {self._at(previous.time_ns)}: a new episode")
            self._cut()
            previous = None
        replaced, self._previous = self._previous, image
        if self._period_ns is None:
            self._forget(replaced)
            yield self._frame(image.time_ns, image)
            return
        if previous is None:
            self._tick = image.time_ns
        while self._tick <= image.time_ns:
            nearer = previous if previous and self._tick - previous.time_ns < image.time_ns - self._tick else image
            yield self._frame(self._tick, nearer)
            self._tick += self._period_ns
        self._forget(replaced)

    def _forget(self, image: _Image[T] | None) -> None:
        """No later frame can show it."""
        if image is not None and not image.shown:
            self._images.drop("between the frames of the rate")

    def _frame(self, time_ns: int, image: _Image[T]) -> SyncedFrame[T]:
        while self._commands and self._commands[0][0] <= time_ns:
            self._held = self._commands.popleft()
        if self._held is None:
            self._before_command += 1
        elif time_ns - self._held[0] > self._hold_ns:
            self._expired += 1
            self._held = (self._held[0], STANDING)
        elif time_ns - self._held[0] > _STALE_NS:
            self._stale += 1
        self._ticked_in_segment = True
        image.shown = True
        action = self._held[1] if self._held else STANDING
        return SyncedFrame(self._segment, time_ns, image.image, action, self._instruction, self._event)

    def _cut(self) -> None:
        self._segment += 1
        self._forget(self._previous)
        self._previous = None
        self._ticked_in_segment = False

    def _watch_stamp(self, message: Message[T]) -> None:
        """The sender's clock against the recorder's: a jump between them is told, and the recorder's is believed."""
        if message.kind != "image" or not message.stamp_ns:
            return
        offset_ns = message.time_ns - message.stamp_ns
        if self._offset_ns is not None and abs(offset_ns - self._offset_ns) > _DRIFT_NS:
            jump_s = (offset_ns - self._offset_ns) / _SECOND
            self._remarks.note(
                f"the camera's clock jumped by {-jump_s:+.1f} s {self._at(message.time_ns)}; the recorder's is used"
            )
        self._offset_ns = offset_ns

    def _at(self, time_ns: int) -> str:
        return f"at {(time_ns - (self._begin_ns or 0)) / _SECOND:.1f} s"
