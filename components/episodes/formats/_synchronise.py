"""Images, commands and instructions, each at its own time, to frames: nearest image, last command, one instruction.

Pure: it is given messages in the order in which they were recorded and gives frames back; it holds two images at most.
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
_BACK_NS = _SECOND // 2
"""A clock that goes back further was set; less is two threads that wrote out of order."""
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
    """Frames of one `segment` have no gap, no clock jump and one instruction between them."""

    segment: int
    time_ns: int
    image: T
    action: Action
    instruction: str | None
    event: str | None


def synchronise(
    messages: Iterable[Message[T]], remarks: Remarks, *, rate_hz: float | None, gap_s: float
) -> Iterator[SyncedFrame[T]]:
    """Frames at `rate_hz` from a segment's first image on, or at every image where it is None.

    Each has the nearest image in time, the last command at or before it (zero before the first), and the last
    instruction and event. A gap between images of more than `gap_s`, a clock that was set back and another instruction
    begin a new segment.
    """
    sync: _Synchroniser[T] = _Synchroniser(remarks, rate_hz, gap_s)
    for message in messages:
        yield from sync.push(message)
    yield from sync.finish()


class _Synchroniser(Generic[T]):
    def __init__(self, remarks: Remarks, rate_hz: float | None, gap_s: float) -> None:
        self._remarks = remarks
        self._period_ns = round(_SECOND / rate_hz) if rate_hz else None
        self._gap_ns = round(gap_s * _SECOND)
        self._segment = 0
        self._begin_ns: int | None = None
        self._now_ns = 0
        self._offset_ns: int | None = None
        self._waiting: Message[T] | None = None
        """An image that other messages of the same moment may follow."""
        self._previous: Message[T] | None = None
        self._tick = 0
        self._ticked_in_segment = False
        self._held: tuple[int, Action] | None = None
        self._commands: deque[tuple[int, Action]] = deque(maxlen=_MAX_COMMANDS)
        self._instruction: str | None = None
        self._event: str | None = None
        self._before_command = self._stale = self._disordered = 0

    def push(self, message: Message[T]) -> Iterator[SyncedFrame[T]]:
        if self._begin_ns is None:
            self._begin_ns = self._now_ns = message.time_ns
        self._watch_stamp(message)
        time_ns = message.time_ns
        if time_ns < self._now_ns - _BACK_NS:
            yield from self._settle()
            self._remark_jump(time_ns)
            self._cut()
            self._commands.clear()
            self._held = None
        elif time_ns < self._now_ns:
            self._disordered += 1
            time_ns = self._now_ns
        elif time_ns > self._now_ns:
            yield from self._settle()
        self._now_ns = time_ns
        yield from self._take(message, time_ns)

    def _take(self, message: Message[T], time_ns: int) -> Iterator[SyncedFrame[T]]:
        if message.kind == "image":
            yield from self._settle()
            self._waiting = Message("image", time_ns, message.stamp_ns, image=message.image)
        elif message.kind == "command":
            self._commands.append((time_ns, message.action))
        elif message.kind == "event":
            self._event = message.text
        elif message.text != self._instruction:
            if self._ticked_in_segment and self._instruction is not None:
                self._remarks.note(f"another instruction {self._at(time_ns)}: a new episode begins there")
            if self._ticked_in_segment:
                self._cut()
            self._instruction = message.text

    def finish(self) -> Iterator[SyncedFrame[T]]:
        yield from self._settle()
        if self._before_command:
            self._remarks.note(f"{self._before_command} frames before the first command: their action is zero")
        if self._stale:
            self._remarks.note(f"{self._stale} frames hold a command that is older than {_STALE_NS // _SECOND} s")
        if self._disordered:
            self._remarks.note(f"{self._disordered} messages recorded out of order, by less than {_BACK_NS / 1e9} s")

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
        self._previous = image
        if self._period_ns is None:
            yield self._frame(image.time_ns, image)
            return
        if previous is None:
            self._tick = image.time_ns
        while self._tick <= image.time_ns:
            nearer = previous if previous and self._tick - previous.time_ns < image.time_ns - self._tick else image
            yield self._frame(self._tick, nearer)
            self._tick += self._period_ns

    def _frame(self, time_ns: int, image: Message[T]) -> SyncedFrame[T]:
        while self._commands and self._commands[0][0] <= time_ns:
            self._held = self._commands.popleft()
        if self._held is None:
            self._before_command += 1
        elif time_ns - self._held[0] > _STALE_NS:
            self._stale += 1
        self._ticked_in_segment = True
        assert image.image is not None  # an image message
        action = self._held[1] if self._held else STANDING
        return SyncedFrame(self._segment, time_ns, image.image, action, self._instruction, self._event)

    def _cut(self) -> None:
        self._segment += 1
        self._previous = None
        self._ticked_in_segment = False

    def _remark_jump(self, time_ns: int) -> None:
        back_s = (self._now_ns - time_ns) / _SECOND
        self._remarks.note(f"the recording's clock was set back by {back_s:.1f} s: a new episode begins there")

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
