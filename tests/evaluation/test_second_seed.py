"""Another seed, other rooms: figures of simulated drives fall into the stated intervals at the stated rate.

The driver is the scripted operator with an unsteady hand, and the reader of recorded keys is the blind baseline:
neither needs a camera, so that thousands of rooms can be driven. The truth is the figure over the rooms of all seeds.
With `-s` the counts are printed.
"""

import sys

import numpy as np
import pytest
from scipy import stats

from components.contracts import AXES, FrameSample
from components.episodes import KEYS
from components.evaluation import Truth, compare, fit_medians, predict_baselines, wilson
from components.evaluation._metrics import measure_mae
from components.evaluation._pairs import paired_difference
from components.simulation import MAX_PRESSES, PRESSES, Body, Expert, sample_scenario, trial_rooms

pytestmark = pytest.mark.long

SEEDS, ROOMS, TEST_EPISODES = 40, 40, 16
CHANCE = 1e-3
UNSTEADY = 0.4
"""Share of presses that are any key."""
_KEYS = sorted(KEYS)


def least(seeds, stated=0.95):
    """Fewer intervals than this would not hold the truth by chance."""
    return stats.binom.ppf(CHANCE, seeds, stated) / seeds


def drive(room, unsteady=0.0, presses=MAX_PRESSES, *, ends=True):
    """(success, (T, 3) what was pressed) of the operator with that hand."""
    scenario = sample_scenario(*room)
    body, expert, rng = Body(scenario), Expert(scenario), np.random.default_rng([room[1], 5])
    pressed = [KEYS["space"]]
    while len(pressed) <= presses and not (ends and (body.outcome.reached or body.outcome.collided)):
        slips = rng.random() < unsteady
        pressed.append(KEYS[str(rng.choice(_KEYS))] if slips else expert.press(body.pose))
        body.press(pressed[-1])
    return body.outcome.success, np.stack(pressed).astype(np.float32)


@pytest.fixture(scope="module")
def successes():
    """(hands, seeds, rooms): two unsteady hands in the same rooms of every seed."""
    rooms = [trial_rooms(ROOMS, seed=seed) for seed in range(SEEDS)]
    return np.array([[[drive(room, hand)[0] for room in own] for own in rooms] for hand in (UNSTEADY, UNSTEADY / 2)])


def tell(what, share, seeds):
    sys.stdout.write(f"\n{what}: {100 * share:.1f} % of {seeds} seeds")


def test_success_rate_of_every_seed_holds_the_rate_over_all_seeds_as_often_as_it_says(successes):
    truth, found = successes[0].mean(), [wilson(int(own.sum()), ROOMS) for own in successes[0]]
    held = np.mean([item.low <= truth <= item.high for item in found])
    tell(f"success rate, true {truth:.3f}, in Wilson's interval of {ROOMS} rooms", held, SEEDS)
    assert 0.2 < truth < 0.95, "a rate that says something"
    assert held >= least(SEEDS)


def test_success_rate_of_a_second_seed_is_where_the_first_ones_interval_predicts_it(successes):
    # A second run is as unsure as the first: its rate lies in the first one's 95 % interval with 1 - 2 * Phi(-1.96/√2),
    # 83 %, and in that interval stretched by √2 with 95 %.
    stretch, inside, stretched = np.sqrt(2), [], []
    for first, second in successes[0].reshape(SEEDS // 2, 2, ROOMS):
        item, rate = wilson(int(first.sum()), ROOMS), second.mean()
        inside.append(item.low <= rate <= item.high)
        low, high = item.value - stretch * (item.value - item.low), item.value + stretch * (item.high - item.value)
        stretched.append(low <= rate <= high)
    tell("second seed's rate in the first one's interval (83 % expected)", np.mean(inside), SEEDS // 2)
    tell("second seed's rate in that interval stretched by √2", np.mean(stretched), SEEDS // 2)
    assert np.mean(inside) >= least(SEEDS // 2, 1 - 2 * stats.norm.cdf(-1.96 / stretch))
    assert np.mean(stretched) >= least(SEEDS // 2)


def test_paired_gain_of_every_seed_holds_the_gain_over_all_seeds_as_often_as_it_says(successes):
    shaky, steady = successes
    truth = steady.mean() - shaky.mean()
    found = [paired_difference(one.tolist(), other.tolist()) for one, other in zip(steady, shaky, strict=True)]
    held = np.mean([item.low <= truth <= item.high for item in found])
    tell(f"gain in success, true {truth:.3f}, in Newcombe's interval of {ROOMS} pairs", held, SEEDS)
    assert truth > 0.02, "a gain that is there"
    assert held >= least(SEEDS)


class _Recorded:
    """An episode as far as a blind baseline looks."""

    def __init__(self, room):
        self.scenario, self.actions = room[0], drive(room, presses=PRESSES, ends=False)[1]


@pytest.fixture(scope="module")
def test_sets():
    """A training set, and a test set of each seed: recorded keys of rooms that no other has."""
    training = [_Recorded(room) for room in trial_rooms(80, seed=900)]
    return training, [[_Recorded(room) for room in trial_rooms(TEST_EPISODES, seed=1000 + seed)] for seed in range(60)]


def test_open_loop_figures_of_every_test_set_hold_those_over_all_sets_as_often_as_they_say(test_sets):
    training, sets = test_sets
    medians = fit_medians(training)
    sample = FrameSample(dataset="a" * 64, simulated=True, axes=AXES)

    def look(episodes):
        truth = Truth(tuple(item.actions for item in episodes), (None,) * len(episodes), AXES, keys=True)
        did = predict_baselines(medians, episodes)
        told, blind = did["median-per-step-and-scenario"], did["constant"]
        both = compare(truth, sample, ("told", told), ("blind", blind), seed=0)
        return measure_mae(truth, sample, told, seed=0), both.mae_gain, both.key_accuracy_gain

    truths = look([item for episodes in sets for item in episodes])
    found = [look(episodes) for episodes in sets]
    for place, what in enumerate(("MAE", "MAE gain", "key accuracy gain")):
        held = np.mean([item[place].low <= truths[place].value <= item[place].high for item in found])
        tell(f"{what}, true {truths[place].value:.3f}, of {TEST_EPISODES} episodes", held, len(sets))
        assert held >= least(len(sets))
