"""Episode files to small frames, several at once, in processes of their own."""

import multiprocessing
import os
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.contracts import EpisodeRecord, FrameSpec
from components.contracts.errors import DatasetError, EpisodeError
from components.episodes import read_episode, resize_frame
from components.storage import ObjectStore, fetch_file


@dataclass(frozen=True, eq=False)
class Decoded:
    """One episode, small."""

    frames: NDArray[np.uint8]
    """(T, h, w, 3) RGB."""
    actions: NDArray[np.float32]
    """(T, 3)."""


def decode(
    store: ObjectStore, records: Sequence[EpisodeRecord], frame: FrameSpec, *, workers: int
) -> Iterator[Decoded]:
    """Fetch and decode in the records' order. At most `workers` + 1 episode files lie on the disk at a time, and as
    many decoded episodes in memory.

    Raises:
        DatasetError: an episode that cannot be read, or holds no finite actions.
        IntegrityError: an episode whose bytes are not those that its record names.
    """
    context = multiprocessing.get_context("spawn")  # fork would copy a parent's threads half
    with (
        tempfile.TemporaryDirectory(prefix="drover-dataset-") as folder,
        ProcessPoolExecutor(
            min(workers, max(len(records), 1)), mp_context=context, initializer=_end_with_parent
        ) as pool,
    ):
        waiting: deque[tuple[EpisodeRecord, Future[Decoded | str]]] = deque()
        for record in records:
            path = fetch_file(store, record.file, Path(folder) / f"{record.file.sha256}.h5")
            waiting.append((record, _submit(pool, path, frame)))
            if len(waiting) > workers:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())


def _submit(pool: ProcessPoolExecutor, path: Path, frame: FrameSpec) -> Future[Decoded | str]:
    try:
        return pool.submit(_decode, path, frame)
    except BrokenProcessPool as error:  # an earlier episode's process died: that episode says so when its turn comes
        future: Future[Decoded | str] = Future()
        future.set_exception(error)
        return future


def _end_with_parent() -> None:
    """End this process when its parent is gone: one that is killed cannot do it, and the pool would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _decode(path: Path, frame: FrameSpec) -> Decoded | str:
    """The episode, or why there is none: an exception with more than a message does not survive the way back."""
    try:
        episode = read_episode(path)
    except EpisodeError as error:
        return str(error)
    path.unlink()
    return Decoded(np.stack([resize_frame(image, frame) for image in episode.images]), episode.actions)


def _result(record: EpisodeRecord, future: Future[Decoded | str]) -> Decoded:
    try:
        decoded = future.result()
    except BrokenProcessPool as error:
        decoded = str(error)
    if isinstance(decoded, str):
        raise DatasetError(
            f"{record.summary.name} ({record.file.uri}) was admitted but cannot be decoded: {decoded}; "
            "run the checks again to quarantine it"
        )
    if not np.isfinite(decoded.actions).all() or len(decoded.frames) < 2:
        raise DatasetError(
            f"{record.summary.name} ({record.file.uri}): expected at least 2 frames and finite actions, got "
            f"{len(decoded.frames)} frames; run the checks again to quarantine it"
        )
    return decoded
