"""Where a policy looks: what it does when a part of the frame is hidden.

What is not covered: parts that matter only together, or one of which stands in for the other: patches are hidden one at
a time. What a patch as grey as itself hides is not seen to matter.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from components.contracts import ACTION_LIMIT, AXES
from components.datasets import EpisodeFrames
from components.episodes import tokenize
from components.policies import StepModule

from ._ablations import GREY
from .page import Place

Heat = NDArray[np.float32]
"""(h, w): by how much the policy's answer changes when a pixel is hidden, 0 to 1 (values: shares of the limit)."""
_PATCHES_HIGH = 5
_BATCH = 256


def saliency(module: StepModule, episodes: Sequence[EpisodeFrames], places: Sequence[Place]) -> dict[Place, Heat]:
    """Slide a grey square, a fifth of the frame's height, over frames, half a square a step.

    A pixel's heat is the mean change over the squares that hide it; the change is of the probability of the key that
    the policy chose with the whole frame, mean over the axes that it commands, or of its values. Memory is that of the
    true frames before: only the frame at hand is hidden. Ten frames of 80x45 take about 2 s for four members.

    Args:
        module: a member or an ensemble, from `policies.load_module`.
        episodes: frames of the policy's size.
        places: (episode, frame) to look at.
    """
    training = module.training
    module.eval()
    with torch.inference_mode():
        found = {place: _heat(module, episodes[place[0]], place[1]) for place in places}
    module.train(training)
    return found


def _heat(module: StepModule, episode: EpisodeFrames, step: int) -> Heat:
    tokens = torch.from_numpy(tokenize(episode.instruction, module.vocabulary))[None]
    state = _remembered(module, episode.frames[:step], tokens)
    frame = episode.frames[step]
    squares = _squares(*frame.shape[:2])
    answers = []
    for start in range(-1, len(squares), _BATCH):  # the whole frame first: the square at -1 hides nothing
        part = squares[max(start, 0) : start + _BATCH]
        hidden = np.repeat(frame[None], len(part) + (start < 0), axis=0)
        for image, square in zip(hidden[start < 0 :], part, strict=True):
            image[square] = GREY
        answers.append(_answers(module, hidden, tokens, state))
    changes = _changes(module, torch.cat(answers))
    heat, times = np.zeros(frame.shape[:2], np.float32), np.zeros(frame.shape[:2], np.float32)
    for square, change in zip(squares, changes, strict=True):
        heat[square] += change
        times[square] += 1
    return np.asarray(heat / times, dtype=np.float32)


def _remembered(module: StepModule, frames: NDArray[np.uint8], tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The state after the frames."""
    state = module.initial_state()
    if len(frames) and state:
        for start in range(0, len(frames), _BATCH):
            for features in module.encode(torch.from_numpy(frames[start : start + _BATCH])):
                state = module.score(features[None], tokens, *state)[1]
    return state


def _squares(height: int, width: int) -> list[tuple[slice, slice]]:
    """They reach over the edges, so that every pixel is hidden about as often."""
    side = max(2, round(height / _PATCHES_HIGH))
    steps = [range(side // 2 - side, length, side // 2) for length in (height, width)]
    return [(slice(max(y, 0), y + side), slice(max(x, 0), x + side)) for y in steps[0] for x in steps[1]]


def _answers(
    module: StepModule, frames: NDArray[np.uint8], tokens: torch.Tensor, state: Sequence[torch.Tensor]
) -> torch.Tensor:
    """(B, 3, 3) probabilities or (B, 3) values, each frame as the next one after what is remembered."""
    many = len(frames)
    repeated = [item.expand(many, -1) for item in state]
    return module.score(module.encode(torch.from_numpy(frames)), tokens.expand(many, -1), *repeated)[0]


def _changes(module: StepModule, answers: torch.Tensor) -> NDArray[np.float32]:
    """(1 + N, ...) answers, the whole frame's first -> (N,)."""
    axes = [AXES.index(axis) for axis in module.axes]
    if module.action_space == "keys":
        chosen = torch.round(module.decode(answers[:1]) / ACTION_LIMIT).to(torch.int64) + 1
        values = answers.gather(2, chosen[..., None].expand(len(answers), -1, -1))[..., 0]
    else:
        values = answers / ACTION_LIMIT
    change = (values[1:] - values[:1]).abs()[:, axes].mean(dim=1)
    return np.asarray(change.numpy(), dtype=np.float32)
