"""Recording an episode, frame by frame, so that a kill at any moment loses the frame in hand and no other."""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.contracts.errors import EpisodeError

from ._episode import EVENTS, EpisodeAttributes
from ._hdf5 import sync_folder, write_file
from ._journal import SUFFIX, JournalFile, JournalHeader, frame_block, has_hole, locked, read_frames, read_header
from ._zlib import pack


class EpisodeWriter:
    """Writes one episode file.

    Frames go to `<path>.journal`, compressed and forced to disk one by one; `close` turns the journal into the HDF5
    file in about the time of a copy, since the compressed frames are taken over as they are. The file appears under
    its name whole or not at all. `recover` does the same for a journal whose writer was killed.
    """

    def __init__(
        self, path: Path, attributes: EpisodeAttributes, height: int, width: int, *, sync: bool = True
    ) -> None:
        """Begin. `attributes.num_frames` and `colour_order` are the writer's: counted, and always BGR as robots store.

        Args:
            path: of the finished file.
            attributes: what is known beside the frames.
            height: of every frame.
            width: of every frame.
            sync: force each frame to disk; without, frames survive a kill but not a power cut, and imports are faster.

        Raises:
            EpisodeError: `exists`, there is a file or a journal of that name already; `shape`, no such frame size.
        """
        if min(height, width) < 1:
            raise EpisodeError("shape", f"expected a frame of at least 1x1 pixels, got {width}x{height}")
        if path.exists():
            raise EpisodeError("exists", f"{path} is there already; choose another name")
        self.path = path
        self.frames = 0
        self._last: tuple[NDArray[np.uint8], bytes] | None = None
        self._shape = (height, width, 3)
        self._started = time.monotonic()
        header = JournalHeader(attributes.model_copy(update={"colour_order": "bgr"}), height, width)
        try:
            self._journal = JournalFile(path.with_name(path.name + SUFFIX), header, sync=sync)
        except FileExistsError:
            raise EpisodeError(
                "exists", f"{path.name} is being recorded, or its recorder was killed: recover it"
            ) from None
        sync_folder(path.parent)

    @property
    def size(self) -> int:
        """Bytes on disk so far; the finished file has about as many."""
        return self._journal.size

    def append(
        self, image: NDArray[np.uint8], action: ArrayLike, event: str, *, elapsed_s: float | None = None
    ) -> None:
        """Add a frame. On return it survives a kill and a power cut.

        Args:
            image: (H, W, 3) uint8 RGB.
            action: (3,) m/s, m/s, rad/s.
            event: `episode_start`, `start_action` or `stop_action`.
            elapsed_s: seconds since the episode's start, where they are not the wall clock's (simulation, import).

        Raises:
            EpisodeError: `shape`, `type` or `event`.
            OSError: the disk is full or broken; the frames before this one are kept.
        """
        if image.shape != self._shape or image.dtype != np.uint8:
            raise EpisodeError("shape", f"expected a frame of {self._shape} uint8, got {image.shape} {image.dtype}")
        values = np.asarray(action, dtype=np.float32)
        if values.shape != (3,):
            raise EpisodeError("shape", f"expected an action of (3,), got {values.shape}")
        if event not in EVENTS:
            raise EpisodeError("event", f"expected one of {', '.join(EVENTS)}, got {event!r}")
        moment = time.monotonic() - self._started if elapsed_s is None else float(elapsed_s)
        self._journal.append(frame_block(moment, values, event, self._compressed(image)))
        self.frames += 1

    def _compressed(self, image: NDArray[np.uint8]) -> bytes:
        """A robot that stands still sees what it saw: to compare costs a fraction of packing it again."""
        if self._last is None or not np.array_equal(image, self._last[0]):
            packed = pack(np.ascontiguousarray(image[..., ::-1]).data)
            self._last = (image.copy(), packed)
        return self._last[1]

    def close(self, *, total_duration_s: float | None = None) -> Path:
        """Finish the file.

        Args:
            total_duration_s: seconds from start to end; None takes the last frame's.

        Raises:
            EpisodeError: `empty`, no frame was added; nothing is left behind.
            OSError: the disk is full or broken; the journal stays, to be recovered.
        """
        if self.frames == 0:
            self.discard()
            raise EpisodeError("empty", f"{self.path.name}: expected at least one frame; nothing was kept")
        try:
            return _finish(self._journal.path, total_duration_s)
        finally:
            self._journal.close()

    def discard(self) -> None:
        """Throw the recording away."""
        self._journal.close()
        self._journal.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After an error the journal stays, to be recovered."""
        if kind is None:
            self.close()
        else:
            self._journal.close()


def recover(journal: Path, *, keep: Callable[[Path], None] | None = None) -> Path:
    """Turn the journal of a killed writer into its episode file, whole frames only, and remove the journal.

    Killed at any moment and called again it gives the same file.

    Args:
        journal: `<path>.journal`.
        keep: told of a journal with a hole, before it goes: frames behind the hole are not in the episode.

    Raises:
        EpisodeError: `journal` or `empty`, there is no whole frame in it; `recording`, its writer is alive. The journal
            is left as it is.
        FileNotFoundError: the journal was finished meanwhile.
    """
    with locked(journal):
        return _finish(journal, None, keep)


def _finish(journal: Path, total_duration_s: float | None, keep: Callable[[Path], None] | None = None) -> Path:
    path = journal.with_name(journal.name.removesuffix(SUFFIX))
    if not path.exists():
        header = read_header(journal)
        actions, events, elapsed_s = [], [], 0.0
        for frame in read_frames(journal):
            actions.append(frame.action)
            events.append(frame.event)
            elapsed_s = frame.elapsed_s
        if not events:
            raise EpisodeError("empty", f"{journal.name}: expected at least one whole frame, found none")
        attributes = header.attributes.model_copy(
            update={
                "num_frames": len(events),
                "total_duration_s": elapsed_s if total_duration_s is None else total_duration_s,
            }
        )
        write_file(
            path,
            attributes,
            shape=(header.height, header.width),
            compressed_frames=(frame.compressed for frame in read_frames(journal)),
            actions=np.array(actions, dtype=np.float32),
            events=events,
        )
    if keep and has_hole(journal):
        keep(journal)
    journal.unlink(missing_ok=True)
    return path
