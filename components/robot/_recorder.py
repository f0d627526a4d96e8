"""What writes down a drive, frame by frame."""

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.contracts.errors import EpisodeError, SpoolFullError
from components.episodes import EpisodeAttributes, EpisodeWriter

from ._spool import Spool, checked_robot

CUT = "recording-cut"


class Recorder:
    """Records one episode at a time into a spool. A kill at any moment loses the frame in hand and no other."""

    def __init__(self, spool: Spool, robot: str) -> None:
        """Raises ConfigurationError if `robot` is no valid id."""
        self.spool = spool
        self.robot = checked_robot(robot)
        self._writer: EpisodeWriter | None = None
        self._room = 0

    @property
    def recording(self) -> bool:
        return self._writer is not None

    def start(self, attributes: EpisodeAttributes, *, height: int = 720, width: int = 1280) -> None:
        """Begin an episode; `attributes.robot` becomes this robot.

        Raises:
            SpoolFullError: the disk budget is spent; nothing was deleted.
            EpisodeError: `recording`, one has begun and is not finished; `exists`, the name is taken.
        """
        if self._writer is not None:
            raise EpisodeError("recording", f"{self._writer.path.stem} is being recorded; finish or discard it first")
        mine = EpisodeAttributes.model_validate(attributes.model_dump() | {"robot": self.robot})
        self._room = self.spool.capacity_bytes - self.spool.used_bytes
        self._writer = self.spool.begin(mine, height, width)
        self.spool.journal.clear(CUT)

    def append(
        self, image: NDArray[np.uint8], action: ArrayLike, event: str, *, elapsed_s: float | None = None
    ) -> None:
        """Add a frame: (H, W, 3) uint8 RGB, (3,) action (m/s, m/s, rad/s), and its event type. Frame 0 is an
        `episode_start` with a zero action. `elapsed_s` is for clocks other than the wall's.

        Raises:
            SpoolFullError: no room for the frame; those before it are kept, call `finish`.
            EpisodeError: `frame-zero`, `shape`, `type` or `event`; `recording`, none has begun.
        """
        writer = self._started()
        if writer.frames == 0 and (event != "episode_start" or np.any(np.asarray(action))):
            raise EpisodeError(
                "frame-zero", f"expected an episode_start with a zero action, got {event} with {action!r}"
            )
        finishing = 2 * writer.size  # while a recording is finished, journal and file are both there
        if finishing >= self._room or finishing >= shutil.disk_usage(self.spool.folder).free + writer.size:
            raise self._cut(
                f"{writer.path.stem}: no room for frame {writer.frames}; the {writer.frames} before it are kept"
            )
        try:
            writer.append(image, action, event, elapsed_s=elapsed_s)
        except OSError as error:
            raise self._cut(
                f"{writer.path.stem}: frame {writer.frames} could not be written ({error}); those before it are kept"
            ) from None

    def finish(self, *, total_duration_s: float | None = None) -> Path:
        """End the episode: its file is in the spool when this returns.

        Raises:
            SpoolFullError: no room to finish; every frame is kept in the journal, `Spool.recover` finishes it later.
            EpisodeError: `empty`, there was no frame; `recording`, none has begun.
        """
        writer = self._started()
        self._writer = None
        try:
            return writer.close(total_duration_s=total_duration_s)
        except OSError as error:
            raise self._cut(
                f"{writer.path.stem} cannot be finished ({error}); its {writer.frames} frames are kept: make room, "
                "then recover the spool"
            ) from None

    def discard(self) -> None:
        """Throw the episode away that has begun, if any."""
        if self._writer is not None:
            self._writer.discard()
            self._writer = None

    def _cut(self, text: str) -> SpoolFullError:
        """The alarm stands until a recording begins again."""
        self.spool.journal.alarm(CUT, text)
        return SpoolFullError(text)

    def _started(self) -> EpisodeWriter:
        if self._writer is None:
            raise EpisodeError("recording", "no episode has begun; call start first")
        return self._writer
