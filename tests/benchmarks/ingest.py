"""Ingest of a robot's 24 MB episode file against gunzip and SHA-256 of the same, on one core and on two."""

import gzip
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.episodes import EpisodeWriter
from components.ingest import inspect_inbox
from components.simulation import Demonstration, plan_fleet, warm_up
from components.simulation._fleet import attributes_of
from components.storage import FolderStore, sha256_of_file
from tests.benchmarks.paired import Row, paired

FILES = 12
NOISY = 0.7
"""Share of values that a camera's noise moves by up to two; a simulated episode is then as large as a real one."""


def measure() -> list[Row]:
    """Twelve 720p episodes of 18 frames; the parsing processes' start is part of it."""
    warm_up()
    with tempfile.TemporaryDirectory(prefix="drover-bench-") as name:
        root = Path(name)
        store = FolderStore(root / "store")
        zipped = [_record(root, store, index) for index in range(3)]
        zipped *= FILES // 3
        for index in range(3, FILES):
            _copy(store, zipped[index][0], index)
        size = sum(path.stat().st_size for path, _ in zipped)

        def peer() -> None:
            for path, packed in zipped:
                gzip.decompress(packed)
                hashlib.sha256(path.read_bytes()).hexdigest()

        def ingest(workers: int) -> Callable[[], object]:
            return lambda: inspect_inbox(store, workers=workers, scratch=root / "scratch")

        with _cores(1):
            seconds, ratio = paired(ingest(1), peer, rounds=5)
        both, scaling = paired(ingest(2), ingest(1), rounds=5)
    megabytes = size / 2**20
    return [
        {
            "name": f"ingest of a {megabytes / FILES:.0f} MiB episode, one core",
            "value": megabytes / seconds,
            "unit": "MiB/s",
            "peer": "gunzip + SHA-256 of the same",
            "ratio": ratio,
            "goal": 1.25,
        },
        {
            "name": f"ingest by two workers, {os.cpu_count()} cores",
            "value": megabytes / both,
            "unit": "MiB/s",
            "peer": "one worker",
            "ratio": scaling,
            "goal": 0.75,
        },
    ]


def _record(root: Path, store: FolderStore, index: int) -> tuple[Path, bytes]:
    """A file in the inbox, and its frames gzipped at the level that robots use."""
    planned = plan_fleet(1, 3)[index]
    path, noise = root / f"{planned.name}.h5", np.random.default_rng(index)
    frames: list[NDArray[np.uint8]] = []
    attributes = attributes_of(planned).model_copy(update={"robot": None})  # any robot may send it
    with EpisodeWriter(path, attributes, 720, 1280) as writer:
        for frame in Demonstration(planned.scenario()):
            moved = (noise.random(frame.image.shape, np.float32) < NOISY) * noise.integers(-2, 3, frame.image.shape)
            frames.append(np.clip(frame.image + moved, 0, 255).astype(np.uint8))
            writer.append(frames[-1], frame.action, frame.event, elapsed_s=frame.elapsed_s)
    store.put_file("inbox", f"{planned.robot}/{sha256_of_file(path)}/{planned.name}.h5", path)
    return path, gzip.compress(b"".join(frame.tobytes() for frame in frames), 4)


def _copy(store: FolderStore, path: Path, index: int) -> None:
    """The same episode of another robot's prefix: one more upload to look at."""
    store.put_file("inbox", f"robot-{100 + index}/{sha256_of_file(path)}/{path.stem}.h5", path)


@contextmanager
def _cores(count: int) -> Iterator[None]:
    """This process, and those that it starts, on as many cores."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(allowed)[:count]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
