"""A tiny world in which what to do can be seen and is told: learned in a second."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from components.contracts import (
    AXES,
    AxisStatistics,
    DatasetEpisode,
    DatasetSpec,
    DatasetVersion,
    FrameSpec,
    ObjectRef,
    Split,
)
from components.datasets import EpisodeFrames
from components.storage import FolderStore, put_document
from components.training._data import TrainingData, stack

VOCABULARY = ("go", "left", "right")


def tiny_episode(number: int, length: int = 6) -> EpisodeFrames:
    """A bright column says where the obstacle is; the robot dodges to the told side while it is in the middle."""
    random = np.random.default_rng(number)
    side = ("left", "right")[number % 2]
    middle = random.random(length) < 0.5
    frames = random.integers(0, 60, (length, 9, 16, 3), dtype=np.uint8)
    actions = np.zeros((length, 3), dtype=np.float32)
    for index in range(length):
        frames[index, :, 7 : 9 if middle[index] else 7] = 230
        if not middle[index]:
            frames[index, :, [0, 15]] = 230
        dodge = (1.15 if side == "left" else -1.15) if middle[index] else 0.0
        actions[index] = (1.15, dodge, 0) if index else 0
    return EpisodeFrames(
        sha256=f"{number:064x}", name=f"e{number}", robot=f"r{number % 3}", session=f"s{number // 2}", scenario=None,
        instruction=f"go {side}", frames=frames, actions=actions,
    )  # fmt: skip


def tiny_data(episodes: int = 18) -> TrainingData:
    made = [tiny_episode(number, 4 + number % 3) for number in range(episodes)]
    return TrainingData(stack(made[: episodes - 6], VOCABULARY), stack(made[-6:], VOCABULARY), VOCABULARY)


@pytest.fixture
def data() -> TrainingData:
    return tiny_data()


World = tuple[FolderStore, DatasetVersion]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def make_world(folder: Path) -> World:
    """A store with a dataset of tiny episodes: 12 train, 6 validate, 4 test."""
    store = FolderStore(folder / "store")
    shards: list[ObjectRef] = []
    listed: list[DatasetEpisode] = []
    parts: dict[Split, range] = {"train": range(12), "validation": range(12, 18), "test": range(18, 22)}
    for split, numbers in parts.items():
        episodes = [tiny_episode(number, 5 + number % 3) for number in numbers]
        data = save({
            "frames": np.concatenate([episode.frames for episode in episodes]),
            "actions": np.concatenate([episode.actions for episode in episodes]),
        })  # fmt: skip
        listed += [
            DatasetEpisode(
                sha256=item.sha256,
                name=item.name,
                robot=item.robot,
                session=item.session,
                scenario=None,
                instruction=item.instruction,
                split=split,
                shard=len(shards),
                frames=len(item.frames),
            )
            for item in episodes
        ]
        shards.append(store.put("datasets", f"shards/{hashlib.sha256(data).hexdigest()}.safetensors", data))
    dataset = DatasetVersion(
        spec=DatasetSpec(frame=FrameSpec(width=16, height=9)),
        episodes=tuple(listed),
        shards=tuple(shards),
        statistics=tuple(
            AxisStatistics(axis=axis, mean=0, std=1, minimum=-1.15, maximum=1.15, constant=axis == "angular_z")
            for axis in AXES
        ),
        key_counts={"W": 30, "Q": 15, "E": 15},
        vocabulary=VOCABULARY,
    )
    put_document(store, "datasets", "versions", dataset)
    return store, dataset


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """As in Ray's workers: with two, a busy machine waits for itself."""
    torch.set_num_threads(1)
