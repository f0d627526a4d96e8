"""The baselines are what they say, and as strong as they can be."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from components.contracts import ACTION_LIMIT, BASELINES
from components.contracts.errors import EvidenceError
from components.episodes import KEYS, key_of
from components.evaluation._baselines import fit_medians, predict_baselines

V = ACTION_LIMIT


@dataclass(frozen=True)
class Recorded:
    actions: np.ndarray
    scenario: str | None = None


def _recorded(keys, scenario=None):
    return Recorded(np.stack([np.zeros(3, np.float32), *(KEYS[key] for key in keys)]), scenario)


CORE = _recorded("WWWAAQQQQQQQWWWWW", "1box_vert_left")
OTHER = _recorded("WWWDEEEEEEWWWWQQQ", "1box_vert_right")


def test_four_baselines_are_predicted_for_every_frame():
    found = predict_baselines(fit_medians([CORE, OTHER]), [CORE, OTHER])
    assert set(found) == set(BASELINES)
    assert {item.shape for did in found.values() for item in did} == {(18, 3)}
    assert {item.dtype for did in found.values() for item in did} == {np.dtype(np.float32)}


def test_constant_is_the_best_of_all_constant_key_presses():
    rng = np.random.default_rng(0)
    training = [Recorded(rng.choice([-V, 0, V], p=[0.2, 0.3, 0.5], size=(18, 3)).astype(np.float32)) for _ in range(9)]
    frames = np.concatenate([item.actions[1:] for item in training])
    constant = fit_medians(training).constant
    every = itertools.product(np.linspace(-V, V, 13), repeat=3)
    assert np.abs(frames - constant).mean() <= min(np.abs(frames - other).mean() for other in every) + 1e-6


def test_frame_zero_does_not_pull_the_constant():
    short = [_recorded("W"), _recorded("W"), _recorded("S")]
    assert key_of(fit_medians(short).constant) == "W"


def test_median_of_an_even_count_is_still_a_key_press():
    medians = fit_medians([_recorded("W"), _recorded("S")])
    assert key_of(medians.constant) is not None


def test_step_and_scenario_tell_the_side():
    medians = fit_medians([CORE] * 3 + [OTHER] * 3)
    found = predict_baselines(medians, [CORE, OTHER])["median-per-step-and-scenario"]
    assert np.array_equal(found[0][1:], CORE.actions[1:])
    assert np.array_equal(found[1][1:], OTHER.actions[1:])


def test_scenario_that_training_lacks_falls_back_to_the_step():
    medians = fit_medians([CORE])
    new = Recorded(OTHER.actions, "2box_hori_left")
    found = predict_baselines(medians, [new])
    assert np.array_equal(found["median-per-step-and-scenario"][0], found["median-per-step"][0])


def test_step_that_training_lacks_falls_back_to_the_constant():
    medians = fit_medians([CORE])
    longer = Recorded(np.concatenate([CORE.actions, CORE.actions[1:4]]), CORE.scenario)
    found = predict_baselines(medians, [longer])
    for name in ("median-per-step", "median-per-step-and-scenario"):
        assert np.array_equal(found[name][0][18:], np.tile(medians.constant, (3, 1)))


def test_repeat_previous_gives_the_true_previous_action_and_zero_first():
    found = predict_baselines(fit_medians([CORE]), [CORE])["repeat-previous"][0]
    assert np.array_equal(found[1], np.zeros(3))
    assert np.array_equal(found[2:], CORE.actions[1:-1])


def test_repeat_previous_on_a_start_that_moves_still_gives_zero_first():
    moving = Recorded(CORE.actions + np.float32(0.5))
    assert np.array_equal(predict_baselines(fit_medians([CORE]), [moving])["repeat-previous"][0][1], np.zeros(3))


def test_training_split_without_frames_is_refused():
    with pytest.raises(EvidenceError, match="training frames"):
        fit_medians([Recorded(np.zeros((1, 3), np.float32))])
