"""Five bad uploads among good ones, from the inbox to receipts."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from components import checks, ingest
from components.episodes import KEYS, EpisodeAttributes, EpisodeWriter
from components.storage import FolderStore, sha256_of_file

FRAMES, HEIGHT, WIDTH = 6, 90, 160


@pytest.fixture
def record(tmp_path: Path) -> Callable[[int], Path]:
    def make(seed: int) -> Path:
        generator = np.random.default_rng(seed)
        path = tmp_path / f"episode_20250815_1030{seed:02d}_1box_vert_left_core_medium.h5"
        with EpisodeWriter(path, EpisodeAttributes(name=path.stem, robot="r1"), HEIGHT, WIDTH) as writer:
            for index in range(FRAMES):
                image = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
                event = "start_action" if index else "episode_start"
                writer.append(image, KEYS["W"] if index else KEYS["space"], event, elapsed_s=index * 1.5)
        return path

    return make


def test_planted_faults_are_caught_and_sound_episodes_admitted(tmp_path: Path, record: Callable[[int], Path]) -> None:
    store = FolderStore(tmp_path / "store")
    good = [record(seed) for seed in range(3)]
    truncated, shape, nan, link = (record(seed) for seed in range(3, 7))
    os.truncate(truncated, truncated.stat().st_size // 2)
    with h5py.File(shape, "a") as file:
        del file["images"]
        file["images"] = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    with h5py.File(nan, "a") as file:
        file["actions"][2, 0] = np.nan
    with h5py.File(link, "a") as file:
        del file["actions"]
        file["actions"] = h5py.ExternalLink("/etc/passwd", "/actions")
    duplicate = tmp_path / "episode_20250815_110000_1box_vert_left_core_medium.h5"
    shutil.copy(good[0], duplicate)
    with h5py.File(duplicate, "a") as file:
        file.attrs["time_period"] = "afternoon"
    for path in [*good, truncated, shape, nan, link, duplicate]:
        store.put_file("inbox", f"r1/{sha256_of_file(path)}/{path.stem}.h5", path)

    candidates = ingest.inspect_inbox(store)
    summaries = [candidate.summary for candidate in candidates if candidate.summary]
    report = checks.check(store, summaries, known=[item.summary for item in ingest.records(store)])
    receipts = ingest.settle(store, candidates, report.findings, key=ingest.ReceiptKey(tmp_path / "key.pem"))

    assert {item.name: item.rule for item in receipts} == {
        **{path.stem: None for path in good},
        truncated.stem: "unreadable",
        shape.stem: "wrong-shape",
        nan.stem: "finite",
        link.stem: "external-link",
        duplicate.stem: "duplicate",
    }
    assert len(ingest.records(store)) == 3
    assert len(ingest.quarantined(store)) == 5
    assert list(store.list("inbox")) == []
