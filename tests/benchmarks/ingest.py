"""Ingest of a robot's episode file against gunzip and SHA-256 of the same bytes, on one core."""

import gzip
import hashlib
import tempfile
from pathlib import Path

from components.episodes import EpisodeWriter
from components.ingest import inspect_inbox
from components.simulation import Demonstration, plan_fleet, warm_up
from components.simulation._fleet import attributes_of
from components.storage import FolderStore, sha256_of_file
from tests.benchmarks.paired import Row, paired

FILES = 3


def measure() -> list[Row]:
    """Three 720p episodes of 18 frames, one worker; its start is part of it."""
    warm_up()
    with tempfile.TemporaryDirectory(prefix="drover-bench-") as name:
        root = Path(name)
        store = FolderStore(root / "store")
        zipped, size = [], 0
        for planned in plan_fleet(1, FILES):
            path = root / f"{planned.name}.h5"
            with EpisodeWriter(path, attributes_of(planned), 720, 1280) as writer:
                frames = []
                for frame in Demonstration(planned.scenario()):
                    writer.append(frame.image, frame.action, frame.event, elapsed_s=frame.elapsed_s)
                    frames.append(frame.image.tobytes())
            store.put_file("inbox", f"{planned.robot}/{sha256_of_file(path)}/{planned.name}.h5", path)
            size += path.stat().st_size
            zipped.append((path, gzip.compress(b"".join(frames), 4)))

        def peer() -> None:
            for path, packed in zipped:
                gzip.decompress(packed)
                hashlib.sha256(path.read_bytes()).hexdigest()

        seconds, ratio = paired(lambda: inspect_inbox(store, workers=1, scratch=root / "scratch"), peer, rounds=5)
    return [
        {
            "name": "ingest of a 720p episode",
            "value": size / seconds / 2**20,
            "unit": "MiB/s",
            "peer": "gunzip + SHA-256 of the same",
            "ratio": ratio,
            "goal": 4.0,
        }
    ]
