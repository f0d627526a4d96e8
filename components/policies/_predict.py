"""Policies run: over recorded episodes, and frame by frame as a robot would."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from components.contracts import Ensemble, TrainedPolicy
from components.contracts.errors import PolicyError
from components.datasets import EpisodeFrames
from components.episodes import MAX_TOKENS, resize_frame, tokenize
from components.storage import ObjectStore

from ._module import StepModule
from ._weights import load_module

_BATCH_FRAMES = 512


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a policy would have done in one recorded episode."""

    sha256: str
    """Of the episode's file."""
    actions: NDArray[np.float32]
    """(T, 3) executed actions; frame 0's is there and counts nowhere."""
    scores: NDArray[np.float32]
    """(T, 3, 3) class probabilities over (-limit, 0, +limit), or (T, 3) values of a continuous policy."""


def predict(
    store: ObjectStore, subject: TrainedPolicy | Ensemble, episodes: Sequence[EpisodeFrames]
) -> list[Predictions]:
    """Run a policy over recorded frames (teacher-forced: it sees what the operator's robot saw).

    Args:
        store: Where the weights are.
        subject: A member or an ensemble.
        episodes: Any lengths; frames of the policy's FrameSpec.

    Returns:
        One a given episode, in their order.

    Raises:
        PolicyError: frames of another size than the policy's, or weights that do not fit.
        IntegrityError: altered weights.
    """
    return predict_with(load_module(store, subject), episodes)


def predict_with(module: StepModule, episodes: Sequence[EpisodeFrames]) -> list[Predictions]:
    """`predict` with a module at hand. Puts it in evaluation mode for the while, and torch on one thread: the same bits
    whatever the machine's number of cores."""
    expected = (module.frame.height, module.frame.width, 3)
    for episode in episodes:
        if episode.frames.shape[1:] != expected:
            raise PolicyError(
                f"{episode.name}: expected frames of {expected}, got {episode.frames.shape[1:]}; "
                "build the dataset with the policy's FrameSpec"
            )
    training, results = module.training, []
    module.eval()
    with one_thread(), torch.inference_mode():
        for batch in _batches(episodes):
            longest = max(len(episode.frames) for episode in batch)
            images = np.zeros((len(batch), longest, *expected), dtype=np.uint8)
            for row, episode in zip(images, batch, strict=True):
                row[: len(episode.frames)] = episode.frames
            tokens = np.stack([tokenize(episode.instruction, module.vocabulary) for episode in batch])
            actions, scores = module.sequence(torch.from_numpy(images), torch.from_numpy(tokens))
            for index, episode in enumerate(batch):  # memory runs forward only: padding at the end changes nothing
                length = len(episode.frames)
                results.append(
                    Predictions(episode.sha256, actions[index, :length].numpy(), scores[index, :length].numpy())
                )
    module.train(training)
    return results


def _batches(episodes: Sequence[EpisodeFrames]) -> list[list[EpisodeFrames]]:
    """Neighbours together while their padded frames stay under `_BATCH_FRAMES`."""
    batches: list[list[EpisodeFrames]] = []
    longest = 0
    for episode in episodes:
        longest = max(longest, len(episode.frames))
        if batches and longest * (len(batches[-1]) + 1) <= _BATCH_FRAMES:
            batches[-1].append(episode)
        else:
            batches.append([episode])
            longest = len(episode.frames)
    return batches


class TorchDriver:
    """A policy at the wheel, in torch. See contracts.Policy; robots run the exported graphs instead."""

    def __init__(self, module: StepModule) -> None:
        self._module = module.eval()
        self.reset("")

    def reset(self, instruction: str) -> None:
        """Begin an episode: memory is zero."""
        self._tokens = torch.from_numpy(tokenize(instruction, self._module.vocabulary))[None]
        self._state = self._module.initial_state()

    def act(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB of any size -> (3,) float32: m/s, m/s, rad/s."""
        frame = torch.from_numpy(resize_frame(image, self._module.frame))[None]
        with torch.inference_mode():
            actions, _, *state = self._module.step(self._module.encode(frame), self._tokens, *self._state)
        self._state = tuple(state)
        return actions[0].numpy()  # type: ignore[no-any-return]


class TorchDrivers:
    """The same at several wheels at once: see contracts.PolicyBatch.

    An episode's actions are the same to the bit, whatever drives beside it and however many do: all arithmetic is on
    one thread, on batches of one size. From TorchDriver's they may differ by rounding.

    Args:
        module: the policy.
        batch: episodes side by side, at most.
    """

    def __init__(self, module: StepModule, batch: int = 8) -> None:
        self._module, self.batch = module.eval(), batch
        self.reset([])

    def reset(self, instructions: Sequence[str]) -> None:
        """Begin as many episodes: memories are zero.

        Raises:
            PolicyError: more than `batch`.
        """
        if len(instructions) > self.batch:
            raise PolicyError(f"expected at most {self.batch} episodes at once, got {len(instructions)}; raise `batch`")
        tokens = np.zeros((self.batch, MAX_TOKENS), np.int64)
        for row, instruction in zip(tokens, instructions, strict=False):
            row[:] = tokenize(instruction, self._module.vocabulary)
        self._tokens = torch.from_numpy(tokens)
        self._state = self._module.initial_state(self.batch)

    def act(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB of any size, one an episode -> (episodes, 3) float32: m/s, m/s, rad/s."""
        frame = self._module.frame
        frames = np.zeros((self.batch, frame.height, frame.width, 3), np.uint8)
        for row, image in zip(frames, images, strict=False):
            row[:] = resize_frame(image, frame)
        with one_thread(), torch.inference_mode():
            features = self._module.encode(torch.from_numpy(frames))
            actions, _, *state = self._module.step(features, self._tokens, *self._state)
        self._state = tuple(state)
        return actions[: len(images)].numpy()  # type: ignore[no-any-return]


@contextmanager
def one_thread() -> Iterator[None]:
    """More would add up in another order."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def driver(store: ObjectStore, subject: TrainedPolicy | Ensemble) -> TorchDriver:
    """A trained policy as something that drives (contracts.Policy). Give it frame 0 too.

    Raises:
        PolicyError: weights that do not fit.
        IntegrityError: altered weights.
    """
    return TorchDriver(load_module(store, subject))
