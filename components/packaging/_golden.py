"""Golden inputs and outputs: recorded episodes that a robot repeats before it trusts a package."""

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save

from components.contracts import FrameSpec, GoldenEpisode
from components.contracts.errors import ObjectNotFoundError, PackageError
from components.datasets import EpisodeFrames
from components.episodes import read_episode, resize_frame, tokenize
from components.policies import StepModule
from components.robot import decode_jpeg
from components.storage import ObjectStore, sha256_of_file

GOLDEN_EPISODES = 2
GOLDEN_JPEGS = 3
"""Of each golden episode, its first frames."""
JPEG_QUALITY = 90


@dataclass(frozen=True, eq=False)
class Replay:
    """What the torch module says to one episode, frame by frame from a zero memory."""

    features: NDArray[np.float32]
    actions: NDArray[np.float32]
    scores: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Golden:
    """Files and their description."""

    episodes: tuple[GoldenEpisode, ...]
    files: dict[str, bytes]


@contextmanager
def single_thread() -> Iterator[None]:
    """Sums in one order: the same outputs whatever else runs on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def replay(module: StepModule, frames: NDArray[np.uint8], instruction: str) -> Replay:
    """Run torch as a robot would: (T, h, w, 3) uint8 one by one."""
    tokens = torch.from_numpy(tokenize(instruction, module.vocabulary))[None]
    state = module.initial_state()
    features: list[NDArray[np.float32]] = []
    actions: list[NDArray[np.float32]] = []
    scores: list[NDArray[np.float32]] = []
    with torch.inference_mode():
        for frame in frames:
            seen = module.encode(torch.from_numpy(frame)[None])
            action, score, *new_state = module.step(seen, tokens, *state)
            state = tuple(new_state)
            for kept, value in ((features, seen), (actions, action), (scores, score)):
                kept.append(value[0].numpy())
    return Replay(np.stack(features), np.stack(actions), np.stack(scores))


def make_golden(store: ObjectStore, module: StepModule, episodes: Sequence[EpisodeFrames]) -> Golden:
    """Choose, run and keep.

    Args:
        store: holds the episodes' files: the JPEGs are made from the camera's frames.
        module: the reference.
        episodes: the test split.

    Raises:
        PackageError: no episode, its file is not in the store, or its frames are not the dataset's.
    """
    chosen = _choose(episodes)
    described, files, jpeg_frames, jpeg_replays = [], {}, [], []
    replays = [replay(module, episode.frames, episode.instruction) for episode in chosen]
    for number, episode in enumerate(chosen):
        camera = _camera_frames(store, episode)
        names = []
        for index, image in enumerate(camera):
            name = f"golden-{number}-{index}.jpg"
            files[name] = _jpeg(image)
            names.append(name)
        decoded = np.stack([resize_frame(decode_jpeg(files[name]), module.frame) for name in names])
        jpeg_frames.append(decoded)
        jpeg_replays.append(replay(module, decoded, episode.instruction))
        described.append(GoldenEpisode(instruction=episode.instruction, frames=len(episode.frames), jpegs=tuple(names)))
    tensors: dict[str, NDArray[Any]] = {
        "frames": np.concatenate([episode.frames for episode in chosen]),
        "tokens": np.stack([tokenize(episode.instruction, module.vocabulary) for episode in chosen]),
        "features": np.concatenate([item.features for item in replays]),
        "actions": np.concatenate([item.actions for item in replays]),
        "scores": np.concatenate([item.scores for item in replays]),
        "jpeg_frames": np.concatenate(jpeg_frames),
        "jpeg_actions": np.concatenate([item.actions for item in jpeg_replays]),
        "jpeg_scores": np.concatenate([item.scores for item in jpeg_replays]),
    }
    files["golden.safetensors"] = save({name: np.ascontiguousarray(value) for name, value in tensors.items()})
    return Golden(episodes=tuple(described), files=files)


def _choose(episodes: Sequence[EpisodeFrames]) -> list[EpisodeFrames]:
    """By SHA-256, other instructions first: a policy that does not listen must not pass for one that does."""
    if not episodes:
        raise PackageError("expected at least one episode in the test split for golden outputs, found none")
    ordered = sorted(episodes, key=lambda episode: episode.sha256)
    first_of_each = {episode.instruction: episode for episode in reversed(ordered)}
    distinct = sorted(first_of_each.values(), key=lambda episode: episode.sha256)
    rest = [episode for episode in ordered if episode not in distinct]
    return [*distinct, *rest][:GOLDEN_EPISODES]


def _camera_frames(store: ObjectStore, episode: EpisodeFrames) -> NDArray[np.uint8]:
    """(up to 3, H, W, 3) RGB as the camera gave them, after a check that they are the dataset's frames."""
    with tempfile.TemporaryDirectory(prefix="drover-golden-") as folder:
        path = Path(folder) / f"{episode.name}.h5"
        try:
            store.get_file("episodes", f"{episode.sha256}.h5", path)
        except ObjectNotFoundError as error:
            raise PackageError(f"golden outputs need the test episode's own file: {error}") from None
        if sha256_of_file(path) != episode.sha256:
            raise PackageError(f"s3://episodes/{episode.sha256}.h5 holds other bytes than its name says")
        images = read_episode(path).images[:GOLDEN_JPEGS]
    spec_frames = episode.frames[: len(images)]
    height, width = spec_frames.shape[1:3]
    resized = np.stack([resize_frame(image, FrameSpec(width=width, height=height)) for image in images])
    if not np.array_equal(resized, spec_frames):
        raise PackageError(
            f"{episode.name}: expected its camera frames, resized, to be the dataset's, they differ by up to "
            f"{np.abs(resized.astype(int) - spec_frames.astype(int)).max()}; build the dataset again"
        )
    return images


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
