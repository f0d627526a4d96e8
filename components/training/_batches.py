"""Batches: which episodes, mirrored or not, in which light, told in how many words."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from components.contracts import TrainingSpec
from components.episodes import UNKNOWN, mirror_actions
from components.policies import normalise

from ._data import Sequences


@dataclass(frozen=True, eq=False)
class Batch:
    """Tensors of B episodes."""

    images: torch.Tensor
    """(B, T, 3, h, w) float32 as `policies.normalise` gives them."""
    actions: torch.Tensor
    """(B, T, 3)."""
    counted: torch.Tensor
    """(B, T) bool."""
    tokens: torch.Tensor
    """(B, 16)."""


def batches_per_epoch(episodes: int, spec: TrainingSpec) -> int:
    return -(-episodes // spec.batch_episodes)


def training_batches(
    data: Sequences, spec: TrainingSpec, epoch: int, *, rank: int = 0, world: int = 1
) -> Iterator[Batch]:
    """One epoch's batches, augmented. A function of (data, spec, epoch, rank, world) alone, so that a resumed run goes
    on exactly where it was. All ranks agree on who is in a batch and each takes its share."""
    order = np.random.default_rng([spec.seed, epoch]).permutation(len(data))
    random = np.random.default_rng([spec.seed, epoch, rank, 1])
    for everyone in np.array_split(order, batches_per_epoch(len(data), spec)):
        own = everyone[rank::world] if rank < len(everyone) else everyone[:1]
        yield _augmented(data, own, spec, random)


def plain_batches(data: Sequences, size: int) -> Iterator[Batch]:
    """All episodes in order, as they are."""
    for start in range(0, len(data), size):
        rows = np.arange(start, min(start + size, len(data)))
        yield _batch(data, rows, np.zeros(len(rows), dtype=np.bool_))


def _batch(data: Sequences, rows: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> Batch:
    frames, actions = data.frames[rows], data.actions[rows]
    frames[mirrored] = frames[mirrored, :, :, ::-1]
    actions[mirrored] = mirror_actions(actions[mirrored])
    tokens = np.where(mirrored[:, None], data.mirrored_tokens[rows], data.tokens[rows])
    images = torch.from_numpy(frames)
    return Batch(
        images=normalise(images.flatten(0, 1)).unflatten(0, images.shape[:2]),
        actions=torch.from_numpy(actions),
        counted=torch.from_numpy(data.counted[rows]),
        tokens=torch.from_numpy(tokens),
    )


def _augmented(data: Sequences, rows: NDArray[np.int64], spec: TrainingSpec, random: np.random.Generator) -> Batch:
    """Mirror whole episodes; one light for each episode, since a room's lamps do not change while a robot passes; some
    words unheard."""
    batch = _batch(data, rows, random.random(len(rows)) < spec.mirror)
    strength, shape = spec.photometric, (len(rows), 1, 1, 1, 1)
    contrast = 1 + strength * random.uniform(-1, 1, shape)
    shift = strength / 2 * random.uniform(-1, 1, shape)
    shift = shift + strength / 3 * random.uniform(-1, 1, (len(rows), 1, 3, 1, 1))
    lit = batch.images.mul(torch.from_numpy(contrast).float()).add_(torch.from_numpy(shift).float())
    unheard = random.random((len(rows), data.tokens.shape[1])) < spec.word_dropout * random.random((len(rows), 1))
    unheard &= data.tokens[rows] == data.mirrored_tokens[rows]  # the sides are always heard
    tokens = batch.tokens.masked_fill(torch.from_numpy(unheard) & (batch.tokens > 0), UNKNOWN)
    return replace(batch, images=lit.clamp_(-0.5, 0.5), tokens=tokens)
