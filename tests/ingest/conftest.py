"""Small real episodes, and an inbox to put them in."""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from components.episodes import KEYS, EpisodeAttributes, EpisodeWriter
from components.ingest import ReceiptKey
from components.storage import FolderStore, sha256_of_file

FRAMES, HEIGHT, WIDTH = 4, 36, 64


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of uploads that nobody settles stay with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("scratch")))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def key(tmp_path: Path) -> ReceiptKey:
    return ReceiptKey(tmp_path / "receipt-key.pem")


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    """Record an episode as a robot does: `record("name", robot="r1", seed=0)`."""

    def make(name: str, *, robot: str | None = None, seed: int = 0) -> Path:
        folder = tmp_path / f"robot-{robot}-{seed}"
        folder.mkdir(exist_ok=True)
        generator = np.random.default_rng(seed)
        attributes = EpisodeAttributes(name=name, robot=robot)
        with EpisodeWriter(folder / f"{name}.h5", attributes, HEIGHT, WIDTH) as writer:
            for index in range(FRAMES):
                image = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
                event = "start_action" if index else "episode_start"
                writer.append(image, KEYS["W"] if index else KEYS["space"], event, elapsed_s=index * 1.5)
        return folder / f"{name}.h5"

    return make


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., Path]:
    """Write an episode by hand, leaving out what the test will put there itself: `raw(without=("images",))`."""

    def make(name: str = "episode", *, without: tuple[str, ...] = (), robot: str | None = None) -> Path:
        path = tmp_path / f"{name}.h5"
        generator = np.random.default_rng(1)
        with h5py.File(path, "w") as file:
            if "images" not in without:
                images = generator.integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
                file.create_dataset("images", data=images, compression="gzip", chunks=(1, HEIGHT, WIDTH, 3))
            if "actions" not in without:
                file.create_dataset("actions", data=np.zeros((FRAMES, 3), np.float32), compression="gzip")
            if "action_event_types" not in without:
                events = ["episode_start", *["start_action"] * (FRAMES - 1)]
                file.create_dataset("action_event_types", data=events, dtype=h5py.string_dtype("utf-8"))
            file.attrs["episode_name"] = name
            if robot:
                file.attrs["robot"] = robot
        return path

    return make


@pytest.fixture
def upload(store: FolderStore) -> Callable[..., str]:
    """Put a file in the inbox as the uploader does; returns its key."""

    def put(path: Path, *, robot: str = "r1", name: str | None = None, sha256: str | None = None) -> str:
        key = f"{robot}/{sha256 or sha256_of_file(path)}/{name or path.stem}.h5"
        store.put_file("inbox", key, path)
        return key

    return put


@pytest.fixture
def inbox_keys(store: FolderStore) -> Callable[[], list[str]]:
    return lambda: [info.key for info in store.list("inbox")]


@pytest.fixture
def digest() -> Callable[[bytes], str]:
    return lambda data: hashlib.sha256(data).hexdigest()
