"""What an import or an export did, and what became of its steps on the way."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from components.contracts import EpisodeName, Frozen, RobotId
from components.contracts.errors import ConfigurationError
from components.episodes._episode import EpisodeAttributes

from ._accounting import ImportCounts, Tally

Action = tuple[float, float, float]


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


@dataclass
class Remarks:
    """Collects notes and losses, each once, and counts."""

    notes: dict[str, None] = field(default_factory=dict)
    lost: dict[str, None] = field(default_factory=dict)
    counts: ImportCounts = field(default_factory=ImportCounts)

    def note(self, text: str) -> None:
        self.notes[text] = None

    def lose(self, text: str) -> None:
        self.lost[text] = None


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
    """Someone's file or folder name as (part of) an episode's name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:length] or "recording"
