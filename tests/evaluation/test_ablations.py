"""Ablations tell policies that look and listen from those that do not."""

import numpy as np
import pytest

from components.evaluation._ablations import ablate, shuffle_images


def _ablations(world, predict):
    found = ablate(world.truth, world.episodes, predict(world.episodes), predict, seed=0)
    return {item.name: item for item in found}


def test_policy_that_looks_and_listens_gets_worse_without_each_sense(world, policies):
    found = _ablations(world(), policies["looks"])
    assert set(found) == {"blank-images", "shuffled-images", "swapped-instruction"}
    assert all(item.held and item.mae_loss.low > 0 for item in found.values())


def test_policy_that_ignores_images_and_words_holds_no_expectation(world, policies):
    found = _ablations(world(), policies["blind"])
    assert not any(item.held for item in found.values())
    assert {item.mae_loss.value for item in found.values()} == {0.0}


def test_policy_that_looks_but_does_not_listen_fails_the_swap_alone(world):
    def deaf(episodes):
        return [
            (np.rint((item.frames[:, 0, 0] - 100.0) / 50).clip(-1, 1) * 1.15).astype(np.float32) for item in episodes
        ]

    found = _ablations(world(), deaf)
    assert found["blank-images"].held
    assert not found["swapped-instruction"].held


def test_instructions_without_a_side_are_not_swapped(world, policies):
    here = world()
    for index, item in enumerate(here.episodes):
        here.episodes[index] = type(item)(**{**vars(item), "instruction": "follow the track"})
    assert set(_ablations(here, policies["blind"])) == {"blank-images", "shuffled-images"}


@pytest.mark.parametrize("n", [2, 3, 9])
def test_shuffled_frames_come_from_other_episodes_only(world, n):
    here = world(n)
    marked = [
        type(item)(**{**vars(item), "frames": np.full_like(item.frames, index)})
        for index, item in enumerate(here.episodes)
    ]
    for index, item in enumerate(shuffle_images(marked, seed=0)):
        assert item.frames.shape == marked[index].frames.shape
        assert index not in item.frames
        assert set(np.unique(item.frames)) <= set(range(n))


def test_shuffle_with_equal_seed_is_equal_and_leaves_the_episodes_alone(world):
    here = world()
    before = [item.frames.copy() for item in here.episodes]
    one, same, other = (shuffle_images(here.episodes, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(one, same, strict=True))
    assert any(not np.array_equal(a.frames, b.frames) for a, b in zip(one, other, strict=True))
    assert all(np.array_equal(a, b.frames) for a, b in zip(before, here.episodes, strict=True))
