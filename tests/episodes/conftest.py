import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from components.contracts.errors import EpisodeError
from components.episodes import KEYS, EpisodeAttributes, EpisodeWriter

NAME = "episode_20250815_103000_1box_vert_left_core_medium"


def frames(count: int = 4, height: int = 54, width: int = 96, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    """Writes an episode of random frames in which the robot drives ahead."""

    def write(images: np.ndarray | None = None, folder: Path = tmp_path, **attributes: object) -> Path:
        images = frames() if images is None else images
        known = EpisodeAttributes.model_validate({"name": NAME} | attributes)
        with EpisodeWriter(folder / f"{known.name}.h5", known, *images.shape[1:3]) as writer:
            for index, image in enumerate(images):
                event, key = ("start_action", "W") if index else ("episode_start", "space")
                writer.append(image, KEYS[key], event, elapsed_s=2.5 * index)
        return folder / f"{known.name}.h5"

    return write


def mutate(data: bytes, seed: int) -> bytes:
    """Bytes as a broken disk or a stranger leaves them: flipped, overwritten with lengths, cut, grown."""
    rng, changed = random.Random(seed), bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        place = rng.randrange(len(changed) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            changed[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            changed[place : place + 8] = rng.choice([b"\xff" * 8, bytes(8), (2**40).to_bytes(8, "little")])
        elif kind == 2:
            changed[place : place + rng.randrange(50)] = b""
        elif kind == 3:
            changed[place:place] = rng.randbytes(rng.randrange(20))
        elif rng.random() < 0.3:
            del changed[place:]
    return bytes(changed)


@pytest.fixture
def survives_mutation() -> Callable[[Path, Callable[[], object], int], None]:
    """Changes a file in many ways: whatever reads it either does or says in one EpisodeError why not."""

    def survive(path: Path, load: Callable[[], object], cases: int) -> None:
        data = path.read_bytes()
        for seed in range(cases):
            path.write_bytes(mutate(data, seed))
            with suppress(EpisodeError):
                load()
        path.write_bytes(data)

    return survive
