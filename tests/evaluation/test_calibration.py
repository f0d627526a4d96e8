"""Probabilities over keys, their Brier score and their calibration, beside the baselines as forecasts."""

from dataclasses import dataclass

import numpy as np
import pytest

from components.contracts import ACTION_LIMIT, BASELINES, FrameSample
from components.episodes import KEYS
from components.evaluation._calibration import Keyboard, calibrate, forecast_baselines
from components.evaluation._truth import Truth
from components.policies import Predictions

AXES2 = ("linear_x", "linear_y")
ALL_AXES = (*AXES2, "angular_z")
SAMPLE = FrameSample(dataset="a" * 64, simulated=False, axes=AXES2)


@dataclass
class Drive:
    actions: np.ndarray
    scenario: str | None = "1box_vert_left"


def drives(number, *, seed=0, keys=("W", "Q", "E", "A"), length=18, scenario="1box_vert_left"):
    rng = np.random.default_rng(seed)
    return [
        Drive(np.stack([KEYS["space"], *(KEYS[key] for key in rng.choice(keys, length - 1))]), scenario)
        for _ in range(number)
    ]


def truth_of(episodes, *, keys=True, axes=AXES2):
    return Truth(tuple(item.actions for item in episodes), tuple(item.scenario for item in episodes), axes, keys)


def scores_of(actions, certainty):
    """(T, 3, 3): `certainty` (T,) on the class of each axis that is commanded, the rest even."""
    classes = np.rint(actions / ACTION_LIMIT).astype(int) + 1
    scores = np.empty((len(actions), 3, 3), dtype=np.float32)
    scores[:] = (1 - np.asarray(certainty)[:, None, None]) / 2
    np.put_along_axis(scores, classes[..., None], np.asarray(certainty)[:, None, None] * np.ones((1, 3, 1)), axis=-1)
    return scores


def given(actions, certainty=1.0):
    certainty = np.broadcast_to(certainty, len(actions))
    return Predictions("f" * 64, actions, scores_of(actions, certainty))


def metric(metrics, name):
    return next(item for item in metrics if item.name == name)


def honest(episodes, *, seed, claimed=None, least=0.35):
    """On the one axis linear_y: says a probability, and is right exactly that often unless it claims another."""
    rng, made = np.random.default_rng(seed), []
    for item in episodes:
        sure = rng.uniform(least, 1.0, len(item.actions))
        wrong = rng.random(len(sure)) >= sure
        said = item.actions.copy()
        shifted = (np.rint(said[:, 1] / ACTION_LIMIT) + 1 + rng.integers(1, 3, len(said))) % 3 - 1
        said[wrong, 1] = shifted[wrong] * ACTION_LIMIT
        made.append(given(said, sure if claimed is None else claimed))
    return made


def test_a_keyboard_knows_the_keys_that_the_axes_tell_apart() -> None:
    assert Keyboard(ALL_AXES).names == list(KEYS)
    assert sorted(Keyboard(AXES2).names) == sorted(set(KEYS) - {"R", "T"})
    assert sorted(Keyboard(("linear_y",)).names) == ["A", "D", "space"]


def test_probabilities_are_the_product_over_axes_without_what_cannot_be_pressed() -> None:
    scores = np.zeros((1, 3, 3), dtype=np.float32)
    scores[0, 0], scores[0, 1], scores[0, 2] = (0.0, 0.5, 0.5), (0.0, 1.0, 0.0), (0.0, 0.6, 0.4)

    found = dict(zip(Keyboard(ALL_AXES).names, Keyboard(ALL_AXES).probabilities(scores)[0], strict=True))

    # Forward and turning at once (0.2) is no key: space 0.3, W 0.3 and R 0.2 share it.
    assert found["W"] == pytest.approx(0.3 / 0.8)
    assert found["R"] == pytest.approx(0.2 / 0.8)
    assert found["space"] == pytest.approx(0.3 / 0.8)
    assert sum(found.values()) == pytest.approx(1)


def test_a_policy_that_allows_no_key_at_all_is_even() -> None:
    scores = np.zeros((1, 3, 3), dtype=np.float32)
    scores[0, 0], scores[0, 1], scores[0, 2] = (0, 0, 1), (0, 0, 1), (0, 0, 1)  # Q and turning at once

    assert Keyboard(ALL_AXES).probabilities(scores)[0] == pytest.approx(np.full(11, 1 / 11))


def test_a_sure_and_right_policy_has_no_brier_score_and_no_ece() -> None:
    episodes = drives(6)
    metrics, diagrams = calibrate(
        truth_of(episodes), SAMPLE, {"ensemble": [given(item.actions) for item in episodes]}, drives(9, seed=1),
        episodes, seed=0,
    )  # fmt: skip

    assert metric(metrics, "brier").figures["ensemble"].value == pytest.approx(0, abs=1e-6)
    assert metric(metrics, "ece").figures["ensemble"].value == pytest.approx(0, abs=1e-6)
    assert [item.policy for item in diagrams] == ["ensemble"]
    assert [(item.low, item.frames) for item in diagrams[0].bins] == [(0.9, 6 * 17)]
    assert diagrams[0].bins[0].accuracy.value == 1
    assert 0.5 < diagrams[0].bins[0].accuracy.low < 1  # never surely right from six episodes


def test_a_sure_and_wrong_policy_has_the_worst_of_both() -> None:
    episodes = drives(6, keys=("W",))
    wrong = [given(np.tile(KEYS["S"], (18, 1))) for _ in episodes]

    metrics, _ = calibrate(truth_of(episodes), SAMPLE, {"ensemble": wrong}, drives(9, seed=1), episodes, seed=0)

    assert metric(metrics, "brier").figures["ensemble"].value == pytest.approx(2, abs=1e-6)
    assert metric(metrics, "ece").figures["ensemble"].value == pytest.approx(1, abs=1e-6)


def test_frame_zero_counts_nowhere() -> None:
    episodes = drives(6)
    right = [given(item.actions) for item in episodes]
    for item in right:
        item.scores[0] = scores_of(KEYS["C"][None], np.array([1.0]))[0]

    metrics, diagrams = calibrate(truth_of(episodes), SAMPLE, {"ensemble": right}, drives(9), episodes, seed=0)

    assert metric(metrics, "brier").figures["ensemble"].value == pytest.approx(0, abs=1e-6)
    assert sum(item.frames for item in diagrams[0].bins) == 6 * 17


def test_the_brier_score_by_hand() -> None:
    episodes = [Drive(np.stack([KEYS["space"], KEYS["A"]])) for _ in range(2)]
    said = [given(np.stack([KEYS["space"], KEYS["A"]]), 0.5), given(np.stack([KEYS["space"], KEYS["D"]]), 0.5)]
    sample = SAMPLE.model_copy(update={"axes": ("linear_y",)})

    metrics, _ = calibrate(
        truth_of(episodes, axes=("linear_y",)), sample, {"ensemble": said}, drives(9), episodes, seed=0
    )

    right, wrong = 0.5**2 + 2 * 0.25**2, 0.75**2 + 0.5**2 + 0.25**2
    assert metric(metrics, "brier").figures["ensemble"].value == pytest.approx((right + wrong) / 2)


def test_overconfidence_is_measured_and_its_bins_tell_where() -> None:
    episodes, sample = drives(200, keys=("A", "D", "space")), SAMPLE.model_copy(update={"axes": ("linear_y",)})
    policies = {"honest": honest(episodes, seed=3), "boaster": honest(episodes, seed=3, claimed=0.99)}

    metrics, diagrams = calibrate(truth_of(episodes, axes=("linear_y",)), sample, policies, drives(9), episodes, seed=0)

    ece = metric(metrics, "ece").figures
    assert ece["honest"].value < 0.03
    assert ece["boaster"].low < 0.99 - (1 + 0.35) / 2 < ece["boaster"].high
    for item in next(item for item in diagrams if item.policy == "honest").bins:
        assert item.accuracy.low - 0.02 < item.confidence < item.accuracy.high + 0.02


def test_ece_of_few_frames_is_biased_upwards_and_the_warning_says_by_how_much() -> None:
    sample, found, said = SAMPLE.model_copy(update={"axes": ("linear_y",)}), [], []
    for seed in range(30):
        episodes = drives(6, seed=seed, keys=("A", "D", "space"))
        metrics, _ = calibrate(
            truth_of(episodes, axes=("linear_y",)), sample, {"honest": honest(episodes, seed=seed)}, drives(9),
            episodes, seed=0,
        )  # fmt: skip
        ece = metric(metrics, "ece")
        found.append(ece.figures["honest"].value)
        said.append(float(ece.warning.rpartition(" ")[2].rstrip(".")))

    assert np.mean(found) > 0.06  # although it is perfectly calibrated
    assert np.mean(said) == pytest.approx(np.mean(found), rel=0.2)


def test_every_baseline_is_a_forecast_of_its_own() -> None:
    left, right = drives(8, keys=("Q",), scenario="1box_vert_left"), drives(8, keys=("E",), scenario="1box_vert_right")
    held = drives(3, keys=("Q",)) + drives(3, keys=("E",), scenario="1box_vert_right")

    metrics, _ = calibrate(
        truth_of(held), SAMPLE, {"ensemble": [given(item.actions) for item in held]}, left + right, held, seed=0
    )

    brier = {name: item.value for name, item in metric(metrics, "brier").figures.items()}
    assert set(BASELINES) < set(brier)
    assert brier["constant"] == pytest.approx(0.5, abs=0.02)
    assert brier["median-per-step"] == pytest.approx(0.5, abs=0.02)
    assert brier["median-per-step-and-scenario"] < 0.02
    assert brier["repeat-previous"] == pytest.approx(2 / 17)  # wrong once an episode, on frame 1, and sure of it


def test_what_training_never_saw_falls_back_to_the_next_coarser_forecast() -> None:
    keyboard, training = Keyboard(AXES2), drives(20, length=5)
    longer = [Drive(np.tile(KEYS["Q"], (8, 1)), "2box_hori_left"), Drive(np.tile(KEYS["Q"], (8, 1)), None)]

    found = forecast_baselines(keyboard, training, longer)

    for item in range(2):
        fine, coarse = found["median-per-step-and-scenario"][item], found["median-per-step"][item]
        assert np.allclose(fine, coarse)  # a scenario that training never saw, and none
        assert np.allclose(coarse[5:], found["constant"][item][5:])  # steps that training never saw
        assert not np.allclose(coarse[3], found["constant"][item][3])
    for forecasts in found.values():
        for item in forecasts:
            assert np.allclose(item.sum(axis=1), 1)
    assert (found["constant"][0] > 0).all()  # no key is impossible


def test_an_action_that_is_no_key_is_forecast_by_nobody() -> None:
    odd = np.stack([KEYS["space"], np.array([1.15, 0, 1.15], dtype=np.float32)])
    episodes, sample = [Drive(odd), Drive(odd)], SAMPLE.model_copy(update={"axes": ALL_AXES})

    metrics, diagrams = calibrate(
        truth_of(episodes, axes=ALL_AXES), sample, {"ensemble": [given(np.tile(KEYS["W"], (2, 1)))] * 2}, drives(9),
        episodes, seed=0,
    )  # fmt: skip

    assert metric(metrics, "brier").figures["ensemble"].value == pytest.approx(1, abs=1e-6)
    assert diagrams[0].bins[0].accuracy.value == 0


def test_continuous_actions_and_continuous_policies_have_no_probabilities() -> None:
    episodes = drives(4)
    sure = [given(item.actions) for item in episodes]
    values = [Predictions("f" * 64, item.actions, item.actions) for item in episodes]

    assert calibrate(truth_of(episodes, keys=False), SAMPLE, {"a": sure}, drives(4), episodes, seed=0) == ((), ())
    assert calibrate(truth_of(episodes), SAMPLE, {"a": values}, drives(4), episodes, seed=0) == ((), ())
    metrics, diagrams = calibrate(truth_of(episodes), SAMPLE, {"a": sure, "b": values}, drives(4), episodes, seed=0)
    assert set(metrics[0].figures) == {"a", *BASELINES}
    assert [item.policy for item in diagrams] == ["a"]


def test_a_bin_that_one_episode_fills_says_that_it_knows_nothing() -> None:
    episodes = drives(5)
    said = [given(item.actions, 0.97 if index else 0.8) for index, item in enumerate(episodes)]

    _, diagrams = calibrate(truth_of(episodes), SAMPLE, {"ensemble": said}, drives(9), episodes, seed=0)

    alone = diagrams[0].bins[0]
    assert (alone.accuracy.n, alone.accuracy.low, alone.accuracy.high) == (1, 0.0, 1.0)
    assert diagrams[0].bins[-1].accuracy.n == 4
