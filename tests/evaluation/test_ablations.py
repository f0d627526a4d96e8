"""Ablations tell policies that look and listen from those that do not."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from components.contracts import ACTION_LIMIT, AblationName
from components.episodes import paraphrase
from components.evaluation._ablations import EXPECTED, ablate, one_press, shuffle_images

IMAGES = {"blank-images", "shuffled-images", "frozen-images"}
WORDS = {"swapped-instruction", "blank-instruction", "paraphrased-instruction"}


def _ablations(world, predict):
    found = ablate(world.truth, world.whole, world.episodes, predict(world.episodes), predict, seed=0)
    return {item.name: item for item in found}


def _told(world, instruction):
    """The world with instructions that are functions of what they were."""
    world.episodes[:] = [replace(item, instruction=instruction(item)) for item in world.episodes]
    return world


def _seen(item):
    return (np.rint((item.frames[:, 0, 0] - 100.0) / 50).clip(-1, 1) * 1.15).astype(np.float32)


def test_every_ablation_has_an_expectation_that_stands_before_any_figure():
    assert set(EXPECTED) == set(get_args(AblationName)) == IMAGES | WORDS
    assert {name for name, item in EXPECTED.items() if item.effect == "stays"} == {"paraphrased-instruction"}


def test_policy_that_looks_and_listens_meets_every_expectation(world, policies):
    found = _ablations(world(), policies["looks"])
    assert set(found) == IMAGES | WORDS
    assert all(item.held for item in found.values())
    assert all(item.mae_loss.low > 0 for name, item in found.items() if item.expects == "rises")
    assert found["paraphrased-instruction"].mae_loss.value == 0


def test_policy_that_ignores_images_and_words_holds_no_expectation_but_to_stay(world, policies):
    found = _ablations(world(), policies["blind"])
    assert {name for name, item in found.items() if item.held} == {"paraphrased-instruction"}
    assert {item.mae_loss.value for item in found.values()} == {0.0}


def test_policy_that_looks_but_does_not_listen_fails_the_swap_and_the_silence(world):
    found = _ablations(world(), lambda episodes: [_seen(item) for item in episodes])
    assert {name for name, item in found.items() if not item.held} == {"swapped-instruction", "blank-instruction"}


def test_policy_that_knows_one_wording_alone_fails_the_paraphrase(world, policies):
    def literal(episodes):
        known = [item.instruction.startswith("Navigate") for item in episodes]
        did = policies["looks"](episodes)
        return [item if told else item * np.float32([1, -1, 1]) for item, told in zip(did, known, strict=True)]

    found = _ablations(world(), literal)
    assert not found["paraphrased-instruction"].held
    assert found["paraphrased-instruction"].mae_loss.low > found["paraphrased-instruction"].margin
    assert found["swapped-instruction"].held


def test_policy_that_looks_only_at_the_first_picture_fails_the_frozen_images(world):
    def once(episodes):
        first = [item.frames[0].astype(float).mean() for item in episodes]
        return [
            np.full((len(item.frames), 3), seen % 1, np.float32) for item, seen in zip(episodes, first, strict=True)
        ]

    frozen = _ablations(world(), once)["frozen-images"]
    assert not frozen.held
    assert frozen.mae_loss.value == 0


def test_instructions_without_a_side_are_neither_swapped_nor_silenced_nor_paraphrased(world, policies):
    here = _told(world(), lambda item: "follow the track")
    assert set(_ablations(here, policies["blind"])) == IMAGES


def test_one_side_for_all_is_swapped_but_not_silenced(world, policies):
    here = _told(world(), lambda item: "Navigate around the single box obstacle by going left to reach the cup")
    assert set(_ablations(here, policies["blind"])) == IMAGES | {"swapped-instruction", "paraphrased-instruction"}


def test_one_instruction_that_is_not_understood_leaves_the_paraphrase_out(world, policies):
    here = world()
    here.episodes[3] = replace(here.episodes[3], instruction="keep left of the sofa")
    assert set(_ablations(here, policies["blind"])) == IMAGES | WORDS - {"paraphrased-instruction"}


def test_policies_are_shown_what_the_ablations_say(world, policies):
    here, shown = world(), []

    def predict(episodes):
        shown.append(episodes)
        return policies["blind"](episodes)

    names = list(_ablations(here, predict))
    given = dict(zip(names, shown[1:], strict=True))
    for index, item in enumerate(here.episodes):
        assert (given["blank-images"][index].frames == 128).all()
        assert (given["frozen-images"][index].frames == item.frames[0]).all()
        assert given["frozen-images"][index].frames.shape == item.frames.shape
        assert given["blank-instruction"][index].instruction == ""
        assert given["paraphrased-instruction"][index].instruction == paraphrase(item.instruction, wording=index)
        swapped = given["swapped-instruction"][index].instruction
        assert ("left" in swapped) == ("right" in item.instruction)


def test_margin_is_one_wrong_press_an_episode(world):
    here = world()
    assert one_press(here.truth) == pytest.approx(ACTION_LIMIT / (17 * 2))
    wrong = [item.actions.copy() for item in here.episodes]
    for actions in wrong:
        actions[5, 1] = 0 if actions[5, 1] else ACTION_LIMIT
    found = ablate(
        here.truth, here.whole, here.episodes, [item.actions for item in here.episodes], lambda _: wrong, seed=0
    )
    assert [item.mae_loss.value for item in found] == pytest.approx([one_press(here.truth)] * len(EXPECTED))


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
