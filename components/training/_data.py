"""Episodes as arrays: padded, with the mirrored instruction beside each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import TrainingError
from components.datasets import EpisodeFrames
from components.episodes import mirror_instruction, tokenize


@dataclass(frozen=True, eq=False)
class Sequences:
    """N episodes, padded to the longest. Travels by reference through Ray's object store."""

    frames: NDArray[np.uint8]
    """(N, T, h, w, 3) RGB."""
    actions: NDArray[np.float32]
    """(N, T, 3)."""
    counted: NDArray[np.bool_]
    """(N, T): neither padding nor frame 0."""
    tokens: NDArray[np.int64]
    """(N, 16)."""
    mirrored_tokens: NDArray[np.int64]
    """(N, 16): of the instruction with left and right exchanged."""

    def __len__(self) -> int:
        return len(self.frames)


def stack(episodes: Sequence[EpisodeFrames], vocabulary: Sequence[str]) -> Sequences:
    """Pad episodes into arrays.

    Raises:
        TrainingError: no episodes, or none with a frame after frame 0.
    """
    longest = max((len(episode.frames) for episode in episodes), default=0)
    if longest < 2:
        raise TrainingError(
            f"expected episodes with frames after frame 0, got {len(episodes)} of at most {longest} frames; "
            "build the dataset from recorded episodes"
        )
    shape = (len(episodes), longest)
    frames = np.zeros((*shape, *episodes[0].frames.shape[1:]), dtype=np.uint8)
    actions = np.zeros((*shape, 3), dtype=np.float32)
    counted = np.zeros(shape, dtype=np.bool_)
    for index, episode in enumerate(episodes):
        length = len(episode.frames)
        frames[index, :length], actions[index, :length], counted[index, 1:length] = (
            episode.frames,
            episode.actions,
            True,
        )
    return Sequences(
        frames=frames,
        actions=actions,
        counted=counted,
        tokens=np.stack([tokenize(episode.instruction, vocabulary) for episode in episodes]),
        mirrored_tokens=np.stack(
            [tokenize(mirror_instruction(episode.instruction), vocabulary) for episode in episodes]
        ),
    )


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a run learns from, and what it is judged by while it does."""

    training: Sequences
    validation: Sequences
    vocabulary: tuple[str, ...]
