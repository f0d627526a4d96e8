"""Occlusion finds the part of the frame that a policy looks at."""

import hashlib

import numpy as np
import pytest
import torch

from components.contracts import FrameSpec
from components.datasets import EpisodeFrames
from components.episodes import tokenize
from components.evaluation._saliency import _squares, saliency
from components.policies import EnsembleModule, StepModule, build_module, recipes

AXES = ("linear_x", "linear_y")


def _episode(length=6, size=(45, 80), seed=0):
    rng = np.random.default_rng(seed)
    return EpisodeFrames(
        sha256=hashlib.sha256(str(seed).encode()).hexdigest(), name="episode", robot="r", session="s", scenario=None,
        instruction="go left", frames=rng.integers(0, 90, (length, *size, 3)).astype(np.uint8),
        actions=np.zeros((length, 3), np.float32),
    )  # fmt: skip


class CornerWatcher(StepModule):
    """Presses W the surer the darker the upper right corner is."""

    frame, axes, action_space, vocabulary = FrameSpec(), AXES, "keys", ("left",)
    feature_size, state_sizes = 1, (1,)
    corner = slice(0, 9), slice(68, 80)

    def encode(self, images):
        return images[:, *self.corner].float().mean(dim=(1, 2, 3))[:, None] / 255

    def score(self, features, tokens, *state):
        return self.answer(self.now(features, state[0])), (state[0] + 1,)

    def now(self, features, frames_before):
        return features

    def answer(self, seen):
        ahead = 1 - seen / 2
        keys = torch.cat([torch.zeros_like(ahead), 1 - ahead, ahead], dim=1)
        rest = torch.tensor([0.0, 1.0, 0.0]).expand(len(ahead), 3)
        return torch.stack([keys, rest, rest], dim=1)


class LateWatcher(CornerWatcher):
    """Looks from the third frame on."""

    def now(self, features, frames_before):
        return torch.where(frames_before >= 2, features, 0.2)


class ValueWatcher(CornerWatcher):
    action_space = "continuous"

    def answer(self, seen):
        return torch.cat([seen, torch.zeros_like(seen), torch.zeros_like(seen)], dim=1)


class TurnWatcher(ValueWatcher):
    """What it answers for an axis that it does not command is no answer."""

    def answer(self, seen):
        return torch.cat([torch.zeros_like(seen), torch.zeros_like(seen), seen], dim=1)


@pytest.mark.parametrize("watcher", [CornerWatcher, ValueWatcher])
def test_policy_that_looks_at_a_corner_is_found_to_look_there(watcher):
    (heat,) = saliency(watcher(), [_episode()], [(0, 4)]).values()
    assert heat.shape == (45, 80)
    inside = np.zeros((45, 80), bool)
    inside[CornerWatcher.corner] = True
    assert inside[np.unravel_index(heat.argmax(), heat.shape)]
    assert heat[inside].min() > 0
    assert heat[18:].max() == heat[:, :50].max() == 0  # farther than a square's side
    assert heat[inside].mean() > 4 * heat[~inside].mean()


def test_only_commanded_axes_count():
    (heat,) = saliency(TurnWatcher(), [_episode()], [(0, 4)]).values()
    assert heat.max() == 0


def test_memory_is_of_the_true_frames_before():
    maps = saliency(LateWatcher(), [_episode()], [(0, step) for step in range(4)])
    assert [bool(maps[0, step].max() > 0) for step in range(4)] == [False, False, True, True]


def test_part_as_grey_as_the_square_does_not_matter():
    episode = _episode()
    episode.frames[:, *CornerWatcher.corner] = 128
    (heat,) = saliency(CornerWatcher(), [episode], [(0, 3)]).values()
    assert heat.max() == 0


@pytest.mark.parametrize("recipe", [recipes.compact_lstm, recipes.compact_mlp])
def test_heat_is_that_of_whole_episodes_with_one_square_hidden_in_the_last_frame(recipe):
    torch.manual_seed(0)
    module, episode = build_module(recipe(AXES), ("left", "right")).eval(), _episode(4)
    squares = _squares(45, 80)
    shown = np.repeat(episode.frames[None], 1 + len(squares), axis=0)
    for frames, square in zip(shown[1:], squares, strict=True):
        frames[3][square] = 128
    tokens = torch.from_numpy(tokenize("go left", module.vocabulary)).expand(len(shown), -1)
    with torch.inference_mode():
        actions, scores = (part[:, 3].numpy() for part in module.sequence(torch.from_numpy(shown), tokens))
    chosen = [key + 1 for key in np.rint(actions[0] / 1.15).astype(int)]
    expected, times = np.zeros((45, 80)), np.zeros((45, 80))
    for square, answer in zip(squares, scores[1:], strict=True):
        expected[square] += np.mean(
            [abs(answer[axis, chosen[axis]] - scores[0, axis, chosen[axis]]) for axis in (0, 1)]
        )
        times[square] += 1
    (heat,) = saliency(module, [episode], [(0, 3)]).values()
    np.testing.assert_allclose(heat, expected / times, atol=1e-6)
    assert heat.max() > 0


@pytest.mark.parametrize("size", [(45, 80), (9, 16), (120, 160)])
def test_every_pixel_is_hidden_about_as_often(size):
    times = np.zeros(size)
    for square in _squares(*size):
        times[square] += 1
    assert times.min() >= times.max() / 3 > 0


def test_ensemble_has_one_map_a_place_and_stays_as_it_was():
    torch.manual_seed(0)
    members = [build_module(recipe(AXES), ("left",)) for recipe in (recipes.compact_lstm, recipes.compact_mlp)]
    module = EnsembleModule(members, [0.5, 0.5]).train()
    places = [(0, 1), (1, 0), (1, 5)]
    episodes = [_episode(seed=1), _episode(seed=2)]
    before = [item.frames.copy() for item in episodes]
    maps = saliency(module, episodes, places)
    assert list(maps) == places
    assert module.training
    assert all(np.array_equal(item.frames, kept) for item, kept in zip(episodes, before, strict=True))
    assert all(np.array_equal(heat, saliency(module, episodes, [place])[place]) for place, heat in maps.items())
