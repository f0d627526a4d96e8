from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

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
