"""Figures against facts that were computed otherwise: by hand, from published marginals, or by scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, r2_score

from components.contracts import ACTION_LIMIT, BASELINES, FIRST_FRAME_WARNING, FrameSample
from components.contracts._scores import open_loop_scores
from components.contracts.errors import EvidenceError
from components.evaluation import Truth, measure
from components.evaluation._metrics import compare, mae_difference

V = ACTION_LIMIT
TWO = ("linear_x", "linear_y")


def _episodes(actions, length=18):
    """(N, 3) frames after frame 0 -> episodes with a zero frame 0 each."""
    return [
        np.concatenate([np.zeros((1, 3)), part]).astype(np.float32)
        for part in np.split(np.asarray(actions), len(actions) // (length - 1))
    ]


def published_marginals(rng, episodes=72):
    """Actions with the marginals of the 72 real episodes: P(x = 1.15) = 0.768, P(y != 0) = 0.464, turn never."""
    n = episodes * 17
    x = np.zeros(n)
    x[: round(0.768 * n)] = V
    y = np.zeros(n)
    y[: round(0.464 * n)] = V
    y[: round(0.464 * n) // 2] = -V
    rng.shuffle(x)
    rng.shuffle(y)
    return np.stack([x, y, np.zeros(n)], axis=1)


def _truth(actions, axes=TWO, *, keys=True, scenarios=None):
    episodes = tuple(_episodes(actions))
    return Truth(episodes, tuple(scenarios or [None] * len(episodes)), axes, keys)


def _whole(truth):
    return FrameSample(dataset="a" * 64, simulated=False, axes=truth.axes)


def metrics(truth, predicted):
    """Of one policy; beside it stand baselines that do nothing."""
    still = [np.zeros_like(item) for item in truth.episodes]
    return measure(truth, _whole(truth), {"policy": predicted} | dict.fromkeys(BASELINES, still), seed=0)


def score(truth, predicted):
    return open_loop_scores(metrics(truth, predicted), truth.axes, {"policy": "member"})[0]


def _constant(truth, action):
    return [np.tile(np.float32(action), (len(item), 1)) for item in truth.episodes]


def _random(rng, n=20, length=18):
    return rng.choice([-V, 0, V], size=(n * (length - 1), 3))


def test_constant_action_on_published_marginals_has_the_published_error():
    truth = _truth(published_marginals(np.random.default_rng(0)))
    found = score(truth, _constant(truth, [V, 0, 0]))
    assert found.mae.value == pytest.approx(0.400, abs=5e-4)
    assert found.mae_by_axis["linear_x"].value == pytest.approx(0.232 * V, abs=5e-4)
    assert found.mae_by_axis["linear_y"].value == pytest.approx(0.464 * V, abs=5e-4)


def test_constant_axis_never_enters_the_mean():
    # Over three axes the same predictions would show 0.267: a third of the mean is an axis that cannot be wrong.
    actions = published_marginals(np.random.default_rng(0))
    found = score(_truth(actions), _constant(_truth(actions), [V, 0, 0]))
    flattered = np.abs(actions - [V, 0, 0]).mean()
    assert flattered == pytest.approx(0.267, abs=5e-4)
    assert found.mae.value == pytest.approx(flattered * 3 / 2, abs=1e-6)
    assert set(found.mae_by_axis) == set(TWO)


def test_prediction_right_on_frame_zero_alone_gets_no_credit():
    truth = _truth(_random(np.random.default_rng(1)))
    wrong = [
        np.where(np.arange(18)[:, None] == 0, item, -np.sign(item) * V + (item == 0) * V) for item in truth.episodes
    ]
    found = score(truth, [item.astype(np.float32) for item in wrong])
    assert found.key_accuracy.value == 0.0
    assert found.accuracy_within["0.3"].value == 0.0


def test_prediction_wrong_on_frame_zero_alone_loses_nothing():
    truth = _truth(_random(np.random.default_rng(1)))
    did = [item.copy() for item in truth.episodes]
    for item in did:
        item[0] = 99
    found = score(truth, did)
    assert found.mae.value == 0.0
    assert found.key_accuracy.value == found.macro_f1.value == found.r2.value == 1.0
    assert found.correlation.value == pytest.approx(1.0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), flips=st.floats(0, 1))
def test_any_predictions_give_the_figures_of_scikit_learn(seed, flips):
    rng = np.random.default_rng(seed)
    actions = _random(rng, n=6)
    truth = _truth(actions)
    predicted = np.where(rng.random(actions.shape) < flips, _random(rng, n=6), actions)
    found = score(truth, _episodes(predicted))
    keys, guesses = ([str(np.rint(row[:2] / V)) for row in part] for part in (actions, predicted))
    assert found.mae.value == pytest.approx(np.abs(actions - predicted)[:, :2].mean(), abs=1e-6)
    assert found.key_accuracy.value == pytest.approx(np.mean([a == b for a, b in zip(keys, guesses, strict=True)]))
    assert found.macro_f1.value == pytest.approx(
        f1_score(keys, guesses, labels=sorted(set(keys)), average="macro", zero_division=0)
    )
    assert found.r2.value == pytest.approx(r2_score(actions[:, :2], predicted[:, :2]), abs=1e-5)
    expected = np.mean([np.corrcoef(actions[:, axis], predicted[:, axis])[0, 1] for axis in (0, 1)])
    assert found.correlation.value == pytest.approx(expected, abs=1e-5)


def test_errors_near_a_threshold_count_as_within():
    actions = np.tile([0.5, 0.0, 0.2], (34, 1))
    actions[::2] += 0.1
    truth = _truth(actions, ("linear_x", "angular_z"), keys=False)
    off = [item + np.float32([0.15, 0.9, -0.12]) for item in truth.episodes]
    found = score(truth, off)
    within = {limit: estimate.value for limit, estimate in found.accuracy_within.items()}
    assert within == {"0.3": 1.0, "0.2": 1.0, "0.15": 1.0, "0.1": 0.0}
    assert found.key_accuracy.value == 1.0
    assert found.macro_f1 is None


def test_constant_prediction_has_correlation_zero():
    truth = _truth(_random(np.random.default_rng(2)))
    found = score(truth, _constant(truth, [V, 0, 0]))
    assert (found.correlation.low, found.correlation.value, found.correlation.high) == (0, 0, 0)
    assert found.r2.value < 0


def test_prediction_that_follows_one_axis_of_two_has_half_its_correlation():
    truth = _truth(_random(np.random.default_rng(2)))
    did = [item * np.float32([1, 0, 0]) for item in truth.episodes]
    assert score(truth, did).correlation.value == pytest.approx(0.5)


def test_truth_that_does_not_vary_has_neither_r2_nor_correlation():
    truth = _truth(np.tile([V, 0, 0], (51, 1)))
    found = score(truth, _constant(truth, [V, 0, 0]))
    assert found.r2 is None
    assert found.correlation is None
    assert found.mae.value == 0


def test_scenario_of_one_episode_has_no_interval_and_is_left_out():
    rng = np.random.default_rng(4)
    truth = _truth(
        _random(rng, n=4), scenarios=["1box_vert_left", "1box_vert_left", "1box_vert_left", "2box_hori_right"]
    )
    found = score(truth, _constant(truth, [V, 0, 0])).mae_by_scenario
    assert {scenario: figure.n for scenario, figure in found.items()} == {"1box_vert_left": 3}


def test_episodes_without_scenario_appear_in_none():
    truth = _truth(_random(np.random.default_rng(4), n=4))
    assert score(truth, _constant(truth, [V, 0, 0])).mae_by_scenario == {}


def test_better_subject_has_positive_gain_and_worse_has_negative():
    rng = np.random.default_rng(5)
    truth = _truth(_random(rng))
    good = [np.where(rng.random(item.shape) < 0.1, -item, item).astype(np.float32) for item in truth.episodes]
    bad = _constant(truth, [V, 0, 0])
    won = compare(truth, _whole(truth), ("good", good), ("bad", bad), seed=0)
    lost = compare(truth, _whole(truth), ("bad", bad), ("good", good), seed=0)
    assert won.better
    assert not lost.better
    assert won.mae_gain.value == pytest.approx(-lost.mae_gain.value)
    assert (won.mae_gain.low, won.mae_gain.high) == pytest.approx((-lost.mae_gain.high, -lost.mae_gain.low), abs=2e-3)


def test_gain_is_the_difference_of_the_two_errors():
    rng = np.random.default_rng(6)
    truth = _truth(_random(rng))
    one, other = _episodes(_random(rng)), _episodes(_random(rng))
    gain = compare(truth, _whole(truth), ("one", one), ("other", other), seed=0).mae_gain
    errors = [score(truth, did).mae.value for name, did in (("one", one), ("other", other))]
    assert gain.value == pytest.approx(errors[1] - errors[0])


def test_pairing_of_two_policies_that_err_alike_is_sharper_than_their_own_intervals():
    rng = np.random.default_rng(7)
    truth = _truth(_random(rng))
    hard = rng.random(20) < 0.5
    one = [item * np.float32(0 if bad else 1) for item, bad in zip(truth.episodes, hard, strict=True)]
    other = [item * np.float32(0.9) for item in one]
    gain = mae_difference(truth, _whole(truth), worse=other, better=one, seed=0)
    own = score(truth, one).mae
    assert gain.low > 0
    assert gain.high - gain.low < (own.high - own.low) / 4


def test_policy_against_itself_is_not_better():
    truth = _truth(_random(np.random.default_rng(8)))
    did = _constant(truth, [V, 0, 0])
    assert not compare(truth, _whole(truth), ("a", did), ("b", did), seed=0).better


def test_two_episodes_that_differ_are_too_few_to_be_better():
    truth = _truth(_random(np.random.default_rng(9), n=2))
    did = [item.copy() for item in truth.episodes]
    did[0][1:5] = 0
    assert not compare(truth, _whole(truth), ("good", did), ("constant", _constant(truth, [V, 0, 0])), seed=0).better


def test_one_test_episode_is_refused():
    with pytest.raises(EvidenceError, match="at least 2 test episodes"):
        _truth(_random(np.random.default_rng(0), n=1))


def test_no_varying_axis_is_refused():
    with pytest.raises(EvidenceError, match="an axis that varies"):
        _truth(_random(np.random.default_rng(0)), ())


@pytest.mark.parametrize("fault", ["short", "nan"])
def test_predictions_that_are_no_actions_are_refused(fault):
    truth = _truth(_random(np.random.default_rng(0)))
    did = _constant(truth, [V, 0, 0])
    did[3] = did[3][:-1] if fault == "short" else did[3] * np.float32(np.nan)
    with pytest.raises(EvidenceError, match="test episode 3"):
        score(truth, did)


def test_episode_of_frame_zero_alone_is_refused():
    episodes = (*_episodes(_random(np.random.default_rng(0), n=2)), np.zeros((1, 3), np.float32))
    with pytest.raises(EvidenceError, match="after frame 0"):
        Truth(episodes, (None,) * 3, TWO, keys=True)


def test_episodes_of_unequal_length_weigh_by_frames():
    one, two = np.zeros((3, 3), np.float32), np.zeros((9, 3), np.float32)
    one[1:, 0] = V
    truth = Truth((one, two), (None, None), ("linear_x",), keys=True)
    found = score(truth, [np.zeros_like(one), np.zeros_like(two)])
    assert found.mae.value == pytest.approx(V * 2 / 10)


def _find(found, name, **sample):
    whole = {"axes": TWO, "scenario": None, "frame": None, "protocol": "all-frames"} | sample
    hits = [item for item in found if item.name == name and all(getattr(item.sample, k) == v for k, v in whole.items())]
    assert len(hits) <= 1
    return hits[0].figures["policy"] if hits else None


def test_each_slice_has_the_figures_of_its_own_frames_alone():
    rng = np.random.default_rng(10)
    scenarios = ["1box_vert_left", "1box_vert_right"] * 5
    truth = _truth(_random(rng, n=10), scenarios=scenarios)
    did = [np.where(rng.random(item.shape) < 0.4, -item, item).astype(np.float32) for item in truth.episodes]
    found = metrics(truth, did)
    wrong = np.abs(np.stack(did) - np.stack(truth.episodes))[:, :, :2]  # (episodes, frames, axes)
    assert _find(found, "mae", frame=5).value == pytest.approx(wrong[:, 5].mean(), abs=1e-6)
    assert _find(found, "mae", scenario="1box_vert_right").value == pytest.approx(wrong[1::2, 1:].mean(), abs=1e-6)
    assert _find(found, "mae", axes=("linear_y",)).value == pytest.approx(wrong[:, 1:, 1].mean(), abs=1e-6)
    assert _find(found, "key-accuracy", axes=("linear_y",)).value == pytest.approx((wrong[:, 1:, 1] == 0).mean())
    assert _find(found, "mae", protocol="middle-frame").value == pytest.approx(wrong[:, 9].mean(), abs=1e-6)
    assert _find(found, "within-0.1", frame=7).value == pytest.approx((wrong[:, 7] == 0).all(axis=1).mean())
    assert _find(found, "mae", scenario="1box_vert_left").n == 5
    assert {item.sample.frame for item in found} == {None, *range(1, 18)}


def test_random_frame_protocol_counts_one_frame_of_each_episode_and_never_frame_zero():
    truth = _truth(_random(np.random.default_rng(11), n=30))
    frames = dict(truth.slices(_whole(truth), seed=0))
    counted = next(mask for sample, mask in frames.items() if sample.protocol == "random-frame")
    assert np.bincount(truth.owners[counted]).tolist() == [1] * 30
    assert truth.steps[counted].min() > 0
    assert len(np.unique(truth.steps[counted])) > 5


def test_first_frame_protocol_praises_whoever_does_nothing_and_says_so():
    truth = _truth(_random(np.random.default_rng(12)))
    found = metrics(truth, _constant(truth, [V, 0, 0]))
    trap = [item for item in found if item.sample.protocol == "first-frame"]
    assert {item.warning for item in trap} == {FIRST_FRAME_WARNING}
    mae = next(item for item in trap if item.name == "mae")
    assert mae.figures["repeat-previous"].value == 0.0
    assert mae.figures["policy"].value == pytest.approx(V / 2)
    assert not any(item.warning for item in found if item.sample.protocol != "first-frame")


def test_long_recordings_have_figures_of_their_first_frames_alone():
    episodes = _episodes(_random(np.random.default_rng(13), n=2, length=90), length=90)
    truth = Truth(tuple(episodes), (None, None), TWO, keys=True)
    steps = {item.sample.frame for item in metrics(truth, _constant(truth, [V, 0, 0]))}
    assert max(step for step in steps if step is not None) == 63


def test_better_subject_gains_key_accuracy_too():
    rng = np.random.default_rng(14)
    truth = _truth(_random(rng))
    good = [np.where(rng.random(item.shape) < 0.1, -item, item).astype(np.float32) for item in truth.episodes]
    bad = _constant(truth, [V, 0, 0])
    gain = compare(truth, _whole(truth), ("good", good), ("bad", bad), seed=0).key_accuracy_gain
    shares = [score(truth, did).key_accuracy.value for did in (good, bad)]
    assert gain.value == pytest.approx(shares[0] - shares[1])
    assert gain.low > 0
