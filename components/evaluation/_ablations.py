"""The subject with one sense taken away or altered: a policy that does as well without it does not use it.

What is not covered: why. A policy that gets worse when it sees grey may still look at the wrong thing; see `_saliency`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from components.contracts import ACTION_LIMIT, Ablation, AblationName, FrameSample
from components.datasets import EpisodeFrames
from components.episodes import mirror_instruction, paraphrase, words

from ._metrics import mae_difference, measure_mae
from ._truth import Actions, Truth

Predict = Callable[[list[EpisodeFrames]], list[Actions]]
"""Episodes -> (T, 3) executed actions an episode."""


@dataclass(frozen=True)
class Expectation:
    """What is to happen, written before any policy was measured."""

    effect: Literal["rises", "stays"]
    text: str


EXPECTED: dict[AblationName, Expectation] = {
    "blank-images": Expectation("rises", "Every frame is one grey: the error rises, because the policy looks."),
    "shuffled-images": Expectation(
        "rises", "Every frame comes from another episode: the error rises, because it looks at the room at hand."
    ),
    "frozen-images": Expectation(
        "rises", "Every frame is the episode's first: the error rises, because it watches what its driving changes."
    ),
    "swapped-instruction": Expectation(
        "rises", "Left and right are swapped in the instruction: the error rises, because it listens."
    ),
    "blank-instruction": Expectation(
        "rises", "Nothing is said: the error rises, because the side to pass on is told and not seen."
    ),
    "paraphrased-instruction": Expectation(
        "stays",
        "The same is said in other words, some of them new: the error stays, because it listens to what is meant. The "
        "margin is one wrong key press on one axis an episode.",
    ),
}
GREY = 128  # what the policies' normalisation maps to zero


def ablate(
    truth: Truth,
    sample: FrameSample,
    episodes: Sequence[EpisodeFrames],
    intact: Sequence[Actions],
    predict: Predict,
    *,
    seed: int,
) -> tuple[Ablation, ...]:
    """Measure each ablation against the intact predictions, paired by episode.

    Left out are those of which nothing could be expected: `swapped-instruction` where no instruction names a side;
    `blank-instruction` where not both sides are named, for then the words decide nothing, and a policy may use them or
    not; `paraphrased-instruction` unless all instructions are understood, for those left as they are would dilute it.

    Args:
        truth: of `episodes`, in their order.
        sample: of all frames and varying axes.
        intact: the predictions with all senses.
        seed: of the shuffle and the bootstrap.
    """
    found = []
    for name, altered in _altered(episodes, seed):
        did, expected = predict(altered), EXPECTED[name]
        loss = mae_difference(truth, sample, worse=did, better=intact, seed=seed)
        margin = one_press(truth) if expected.effect == "stays" else 0.0
        inside = -margin <= loss.low and loss.high <= margin
        found.append(
            Ablation(
                name=name,
                sample=sample,
                mae=measure_mae(truth, sample, did, seed=seed),
                mae_loss=loss,
                expects=expected.effect,
                margin=margin,
                expected=expected.text,
                held=inside if expected.effect == "stays" else loss.surely_positive,
            )
        )
    return tuple(found)


def one_press(truth: Truth) -> float:
    """By how much the MAE rises (m/s) when one more key an episode is wrong on one axis: 0.034 for 17 presses and two
    axes. Half of what separates a good policy from the best blind baseline, and known before anything is measured."""
    presses = len(truth.owner) / len(truth.episodes)
    return ACTION_LIMIT / (presses * len(truth.axes))


def _altered(episodes: Sequence[EpisodeFrames], seed: int) -> Iterator[tuple[AblationName, list[EpisodeFrames]]]:
    yield "blank-images", [replace(item, frames=np.full_like(item.frames, GREY)) for item in episodes]
    yield "shuffled-images", shuffle_images(episodes, seed=seed)
    yield "frozen-images", [replace(item, frames=np.repeat(item.frames[:1], len(item.frames), 0)) for item in episodes]
    sides = {side for item in episodes for side in ("left", "right") if side in words(item.instruction)}
    if sides:
        yield "swapped-instruction", [_told(item, mirror_instruction(item.instruction)) for item in episodes]
    if len(sides) == 2:
        yield "blank-instruction", [_told(item, "") for item in episodes]
    said = [paraphrase(item.instruction, wording=index) for index, item in enumerate(episodes)]
    understood = [text for text in said if text is not None]
    if len(understood) == len(episodes):
        yield (
            "paraphrased-instruction",
            [_told(item, text) for item, text in zip(episodes, understood, strict=True)],
        )


def _told(episode: EpisodeFrames, instruction: str) -> EpisodeFrames:
    return replace(episode, instruction=instruction)


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
