"""The subject with one sense taken away. A policy that does as well without it does not use it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from components.contracts import Ablation
from components.datasets import EpisodeFrames
from components.episodes import mirror_instruction

from ._metrics import Actions, Truth, mae_difference, score

Predict = Callable[[list[EpisodeFrames]], list[Actions]]
"""Episodes -> (T, 3) executed actions an episode."""
AblationName = Literal["blank-images", "shuffled-images", "swapped-instruction"]

EXPECTED: dict[AblationName, str] = {
    "blank-images": "Every frame is one grey: the error rises, because the policy looks.",
    "shuffled-images": "Every frame comes from another episode: the error rises, because it looks at the room at hand.",
    "swapped-instruction": "Left and right are swapped in the instruction: the error rises, because it listens.",
}
"""Fixed before any policy was measured."""
_GREY = 128  # what the policies' normalisation maps to zero


def ablate(
    truth: Truth, episodes: Sequence[EpisodeFrames], intact: Sequence[Actions], predict: Predict, *, seed: int
) -> tuple[Ablation, ...]:
    """Measure each ablation against the intact predictions, paired by episode.

    `swapped-instruction` is left out where no instruction names a side: there is nothing to swap.

    Args:
        truth: of `episodes`, in their order.
        intact: the predictions with all senses.
        seed: of the shuffle and the bootstrap.
    """
    found = []
    for name, altered in _altered(episodes, seed).items():
        blinded = predict(altered)
        loss = mae_difference(truth, worse=blinded, better=intact, seed=seed)
        found.append(
            Ablation(
                name=name,
                mae=score(name, "member", truth, blinded, seed=seed).mae,
                mae_loss=loss,
                expected=EXPECTED[name],
                held=loss.surely_positive,
            )
        )
    return tuple(found)


def _altered(episodes: Sequence[EpisodeFrames], seed: int) -> dict[AblationName, list[EpisodeFrames]]:
    altered: dict[AblationName, list[EpisodeFrames]] = {
        "blank-images": [replace(item, frames=np.full_like(item.frames, _GREY)) for item in episodes],
        "shuffled-images": shuffle_images(episodes, seed=seed),
    }
    swapped = [replace(item, instruction=mirror_instruction(item.instruction)) for item in episodes]
    if any(new.instruction != old.instruction for new, old in zip(swapped, episodes, strict=True)):
        altered["swapped-instruction"] = swapped
    return altered


def shuffle_images(episodes: Sequence[EpisodeFrames], *, seed: int) -> list[EpisodeFrames]:
    """Each frame is replaced by a random frame of a random other episode; there are at least two episodes."""
    rng = np.random.default_rng([seed, len(episodes)])
    frames = np.concatenate([item.frames for item in episodes])
    lengths = np.array([len(item.frames) for item in episodes])
    starts = np.cumsum(lengths) - lengths
    shuffled = []
    for index, item in enumerate(episodes):
        other = rng.integers(len(episodes) - 1, size=lengths[index])
        other += other >= index
        shuffled.append(replace(item, frames=frames[starts[other] + rng.integers(lengths[other])]))
    return shuffled
