"""What an import or an export did, and what became of its steps on the way."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from components.contracts import ACTION_LIMIT, EpisodeName, Frozen, RobotId
from components.contracts.errors import ConfigurationError, EpisodeError
from components.episodes._episode import EpisodeAttributes

from ._accounting import ImportCounts, Tally

Action = tuple[float, float, float]
_NAMED = 10
"""Of one kind of damage, as many are named."""
_HASH = 8


@dataclass(frozen=True)
class Conversion:
    """The result of an import or an export, told to whoever asked for it."""

    files: tuple[Path, ...]
    """What was written: an episode file each, or the target's own files."""
    episodes: int
    frames: int
    notes: tuple[str, ...] = ()
    """Units that were converted, gaps and clock jumps, what was assumed."""
    lost: tuple[str, ...] = ()
    """What the source holds and the target does not."""
    counts: tuple[Tally, ...] = ()
    """Of an import: what became of everything that the source declares."""


@dataclass(frozen=True, eq=False)
class Step:
    """One frame and what was done at it."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    action: Action
    """m/s, m/s, rad/s."""
    event: str
    elapsed_s: float


@dataclass(frozen=True, eq=False)
class Recording:
    """One episode on its way in; its steps are read once, one at a time."""

    attributes: EpisodeAttributes
    steps: Iterable[Step]
    total_duration_s: float | None = None
    """None: the last step's time."""
    own: bool = False
    """True: an episode that Drover exported, which is taken back as it was, with its own frame 0."""
    frames: Tally | None = None
    """Filled while `steps` are read; it becomes part of the import's counts when the episode is written."""
    label: str = ""
    """What a message calls it: the episode or file in the source."""


@dataclass(frozen=True)
class Unreadable:
    """An episode that failed before its steps could be read."""

    label: str
    error: EpisodeError
    frames: Tally | None = None


@dataclass
class Remarks:
    """Collects notes, losses and counts. A remark that holds for several recordings is told once, with their names."""

    _notes: dict[str, dict[str, None]] = field(default_factory=dict)
    _lost: dict[str, dict[str, None]] = field(default_factory=dict)
    _begun: dict[str, None] = field(default_factory=dict)
    counts: ImportCounts = field(default_factory=ImportCounts)
    left_out: Counter[str] = field(default_factory=Counter)
    first_left_out: EpisodeError | None = None

    def begin(self, recording: str) -> None:
        """What is remarked from now on is of this recording."""
        self._begun.pop(recording, None)
        self._begun[recording] = None

    def note(self, text: str) -> None:
        self._notes.setdefault(text, {}).update(dict.fromkeys(list(self._begun)[-1:]))

    def lose(self, text: str) -> None:
        self._lost.setdefault(text, {}).update(dict.fromkeys(list(self._begun)[-1:]))

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._named(text, names) for text, names in self._notes.items())

    @property
    def lost(self) -> tuple[str, ...]:
        return tuple(self._named(text, names) for text, names in self._lost.items())

    def _named(self, text: str, names: Iterable[str]) -> str:
        """The remark with the recordings that it is of, where there are several and it does not name them itself."""
        of = [name for name in names if name not in text]
        return f"{text} ({', '.join(of)})" if of and len(self._begun) > 1 else text

    def leave_out(self, unit: str, why: EpisodeError) -> None:
        """Name something damaged that is left out; beyond the first few of a kind, the counts alone tell."""
        self.first_left_out = self.first_left_out or why
        self.left_out[unit] += 1
        if self.left_out[unit] <= _NAMED:
            self.note(f"left out: {why}")
        elif self.left_out[unit] == _NAMED + 1:
            self.note(f"more {unit} were left out, for reasons such as these: the counts tell how many")


def commands_counted(
    frames: Iterable[tuple[NDArray[np.uint8], Action, float]], remarks: Remarks, name: str
) -> Iterator[tuple[NDArray[np.uint8], Action, float]]:
    """The same frames; commands beyond what the checks admit are counted and noted when the last was read."""
    beyond = 0
    for frame in frames:
        beyond += any(abs(value) > ACTION_LIMIT for value in frame[1])
        yield frame
    if beyond:
        remarks.note(f"{name}: {beyond} frames command more than +-{ACTION_LIMIT}: the checks will quarantine it")


def drive(frames: Iterable[tuple[NDArray[np.uint8], Action, float]]) -> Iterator[Step]:
    """Foreign frames as an episode's steps: frame 0 is an `episode_start` with a zero action, as robots record it.

    A recording that begins with the robot standing has that frame already; any other gets its first image twice.
    """
    for index, (image, action, elapsed_s) in enumerate(frames):
        if index == 0:
            yield Step(image, (0.0, 0.0, 0.0), "episode_start", elapsed_s)
            if not any(action):
                continue
        yield Step(image, action, "start_action", elapsed_s)


class _Names(Frozen):
    robot: RobotId
    name: EpisodeName


def checked_robot(robot: str) -> str:
    """Raises ConfigurationError if it is no robot id."""
    try:
        return _Names(robot=robot, name="x").robot
    except ValidationError:
        raise ConfigurationError(
            f"expected a robot id of small letters, digits and '-' such as jackal-1, got {robot!r}"
        ) from None


def as_name(text: str, length: int = 80) -> str:
    """Someone's file or folder name as (part of) an episode's name: other names stay other names.

    Where something is lost, because it is beyond ASCII or beyond `length`, a hash of the whole name follows.
    The same name in another normal form of Unicode, as a Mac's disk gives it, has the same hash.
    """
    whole = unicodedata.normalize("NFC", text)
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", whole).strip("-_")
    if len(plain) <= length and whole.isascii():
        return plain or "recording"
    digest = hashlib.sha256(whole.encode("utf-8", "surrogateescape")).hexdigest()[:_HASH]
    return f"{plain[: length - _HASH - 1].strip('-_') or 'recording'}-{digest}"
