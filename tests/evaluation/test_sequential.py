"""Looking after every round must cost nothing: simulated runs, many at once, against what is promised."""

import numpy as np
import pytest
from scipy import stats

from components.contracts import BLIND, EXPERT, INCUMBENT, STRAIGHT_AHEAD, TrialOutcome
from components.episodes import SCENARIOS
from components.evaluation._intervals import wilson
from components.evaluation._pairs import pair
from components.evaluation._sequential import (
    DECIDES,
    anytime_difference,
    anytime_mean,
    anytime_rate,
    evidence,
    log_wealth,
    may_stop,
)

RUNS, ROUNDS = 20_000, 30
UNEQUAL = np.array([0.02, 0.1, 0.3, 0.5, 0.6, 0.8, 0.95, 0.99])
"""Success rates of eight scenarios: as unequal as they come."""


def at_most(share, runs=RUNS):
    """How many of so many runs may go wrong if the true share is that: exceeded with probability 1e-5."""
    return stats.binom.ppf(1 - 1e-5, runs, share)


def wins(rng, rates, runs=RUNS, rounds=ROUNDS):
    """(runs, rounds) successes so far, after each round of the scenarios."""
    return (rng.random((runs, rounds, 8)) < rates).sum(axis=2).cumsum(axis=1)


def discordant(rng, gains, losses, runs=RUNS, rounds=ROUNDS):
    """Two (runs, rounds): rooms so far that only one of two drivers won, each scenario with its own probabilities."""
    luck = rng.random((runs, rounds, 8))
    gained, lost = luck < gains, (luck >= gains) & (luck < np.add(gains, losses))
    return gained.sum(axis=2).cumsum(axis=1), lost.sum(axis=2).cumsum(axis=1)


TABLE = evidence(*np.indices((8 * ROUNDS + 1, 8 * ROUNDS + 1)))


def decided(gained, lost):
    """(runs, rounds): whether the subject is found better by then, from the table of all counts."""
    return TABLE[gained, lost] >= DECIDES


@pytest.mark.parametrize(
    ("gains", "losses"),
    [
        (np.full(8, 0.3), np.full(8, 0.3)),
        (np.full(8, 0.05), np.full(8, 0.05)),
        (np.array([0.6, 0.6, 0.6, 0.6, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 0.6, 0.6, 0.6, 0.6])),
        (np.array([0.9, 0, 0, 0, 0, 0, 0, 0]), np.full(8, 0.9 / 8)),
    ],
    ids=["equal", "rarely-apart", "better-in-half-the-scenarios", "better-in-one-scenario"],
)
def test_equal_drivers_looked_at_after_every_round_are_told_apart_in_five_percent_at_most(gains, losses):
    gained, lost = discordant(np.random.default_rng(1), gains, losses)
    ever = decided(gained, lost).any(axis=1)
    assert ever.sum() <= at_most(0.05)


def test_test_for_a_fixed_number_of_rooms_is_broken_by_looking_after_every_round():
    gained, lost = discordant(np.random.default_rng(2), np.full(8, 0.3), np.full(8, 0.3))
    exact = stats.binom.sf(gained - 1, gained + lost, 0.5) <= 0.05  # one-sided, so as lenient as the e-value
    assert exact[:, -1].sum() <= at_most(0.05)  # looked at once it keeps its word
    assert exact.any(axis=1).mean() > 0.1


def test_looking_within_a_round_would_break_the_promise():
    """Why only whole rounds are looked at: scenarios in which the subject is good come first."""
    rng = np.random.default_rng(3)
    good, bad = rng.binomial(16, 0.95, (2_000, ROUNDS // 4)), rng.binomial(16, 0.95, (2_000, ROUNDS // 4))
    gained, lost = good.cumsum(axis=1), bad.cumsum(axis=1)
    assert decided(gained, lost - bad).any(axis=1).mean() > 0.9  # in the middle of a round of 32 rooms
    assert decided(gained, lost).any(axis=1).sum() <= at_most(0.05, 2_000)


def test_clear_winner_is_found_in_two_rounds_and_a_slight_one_later():
    rng = np.random.default_rng(4)
    found = [
        decided(*discordant(rng, np.full(8, gain), np.full(8, loss), runs=2_000))
        for gain, loss in ((0.7, 0.01), (0.3, 0.1))
    ]
    after = [1 + np.where(item.any(axis=1), item.argmax(axis=1), ROUNDS) for item in found]
    assert np.quantile(after[0], 0.9) <= 2
    assert 3 < np.median(after[1]) < 12


def ever_missed(interval, so_far, truth):
    """In how many of the runs some round's interval lay beside the truth."""
    missed = np.zeros(len(so_far), dtype=bool)
    for look, successes in enumerate(so_far.T, start=1):
        kinds, index = np.unique(successes, return_inverse=True)
        outside = [not item.low <= truth <= item.high for item in (interval(int(k), 8 * look) for k in kinds)]
        missed |= np.array(outside)[index]
    return missed.sum()


@pytest.mark.parametrize("rates", [np.full(8, 0.7), np.full(8, 0.04), UNEQUAL], ids=["alike", "rare", "unequal"])
def test_intervals_of_a_rate_hold_at_every_round_at_once(rates):
    so_far = wins(np.random.default_rng(5), rates, runs=4_000)
    assert ever_missed(anytime_rate, so_far, rates.mean()) <= at_most(0.05, 4_000)


def test_wilsons_interval_misses_the_rate_when_one_stops_as_soon_as_it_does():
    so_far = wins(np.random.default_rng(6), np.full(8, 0.5), runs=4_000)
    assert ever_missed(wilson, so_far, 0.5) > 0.15 * 4_000


@pytest.mark.parametrize(
    ("gains", "losses"),
    [(np.full(8, 0.4), np.full(8, 0.1)), (UNEQUAL * 0.9, np.zeros(8)), (np.zeros(8), np.full(8, 0.02))],
    ids=["alike", "unequal", "rare"],
)
def test_intervals_of_a_difference_hold_where_a_run_stopped_because_it_was_decided(gains, losses):
    gained, lost = discordant(np.random.default_rng(7), gains, losses, runs=4_000)
    clear = decided(gained, lost) | decided(lost, gained)
    stopped = np.where(clear.any(axis=1), clear.argmax(axis=1), ROUNDS - 1)
    truth, every = (gains - losses).mean(), np.arange(len(gained))
    ends = np.stack([gained[every, stopped], lost[every, stopped], 8 * (stopped + 1)], axis=1)
    kinds, counts = np.unique(ends, axis=0, return_counts=True)
    outside = [not item.low <= truth <= item.high for item in (anytime_difference(*map(int, kind)) for kind in kinds)]
    assert counts[outside].sum() <= at_most(0.05, 4_000)


def test_wealth_at_even_odds_is_the_mixture_of_likelihood_ratios():
    for gained, lost in ((0, 0), (7, 0), (12, 3), (3, 12), (200, 180)):
        shares = np.linspace(0.5, 1, 200_001)
        with np.errstate(divide="ignore"):
            ratios = np.exp(gained * np.log(2 * shares) + lost * np.log(np.maximum(2 * (1 - shares), 1e-300)))
        assert evidence(gained, lost) == pytest.approx(2 * np.trapezoid(ratios, shares), rel=1e-4)


def test_wealth_is_not_expected_to_grow_if_the_mean_is_no_higher():
    chances = stats.binom.pmf(np.arange(41), 40, 0.3)
    counts = np.stack([40 - np.arange(41), np.arange(41)], axis=1)
    assert chances @ np.exp(log_wealth([0, 1], counts, 0.3)) == pytest.approx(1.0)
    assert chances @ np.exp(log_wealth([0, 1], counts, 0.35)) < 1.0
    assert chances @ np.exp(log_wealth([0, 1], counts, 0.25)) > 1.0


def test_seven_rooms_won_in_a_row_decide_and_six_do_not():
    assert evidence(6, 0) < DECIDES < evidence(7, 0)
    assert evidence(0, 7) == pytest.approx(1 / 8)
    assert evidence(5_000, 0) == pytest.approx(1e12)


@pytest.mark.parametrize(("successes", "n"), [(0, 8), (8, 8), (3, 8), (30, 40), (0, 400), (1_200, 2_400)])
def test_interval_of_a_rate_is_wider_than_wilsons_and_mirrors(successes, n):
    free, fixed, mirrored = anytime_rate(successes, n), wilson(successes, n), anytime_rate(n - successes, n)
    assert 0 <= free.low <= fixed.low <= fixed.high <= free.high <= 1
    assert (free.low, free.high) == (pytest.approx(1 - mirrored.high), pytest.approx(1 - mirrored.low))
    assert free.method == "anytime"


def test_interval_of_a_mean_is_that_of_the_rate_for_zeros_and_ones_and_narrower_for_values_between():
    assert anytime_mean([1.0] * 30 + [0.0] * 10) == anytime_rate(30, 40)
    assert anytime_mean([0.75] * 40).low > anytime_rate(30, 40).low


def test_interval_of_a_difference_narrows_with_the_rooms_and_stays_in_range():
    few, many = anytime_difference(6, 2, 16), anytime_difference(60, 20, 160)
    assert -1 <= few.low < many.low < many.value == few.value < many.high < few.high <= 1
    assert anytime_difference(0, 0, 8).low == -anytime_difference(0, 0, 8).high < 0


@pytest.mark.parametrize("wrong", [(-1, 3), (4, 3), (0, 0)])
def test_rate_of_impossible_counts_is_refused(wrong):
    with pytest.raises(ValueError, match="successes"):
        anytime_rate(*wrong)


def test_impossible_means_and_differences_are_refused():
    for values in ([], [0.2, 1.2], [-0.1]):
        with pytest.raises(ValueError, match="in \\[0, 1\\]"):
            anytime_mean(values)
    with pytest.raises(ValueError, match="of 5"):
        anytime_difference(4, 3, 5)


def driven(policy, successes):
    return [
        TrialOutcome(
            policy=policy, scenario=SCENARIOS[room % 8], seed=room, success=good, reached=good, right_side=True,
            collided=not good, spl=float(good), steps=9, duration_s=2.7, distance_m=2.0, path=(),
        )
        for room, good in enumerate(successes)
    ]  # fmt: skip


def test_run_stops_once_every_decision_that_the_gate_needs_is_clear():
    subject = driven("ensemble", [True] * 16)
    beaten = [driven(name, [False] * 16) for name in (STRAIGHT_AHEAD, BLIND)]
    equal = driven(EXPERT, [True] * 16)
    pairs = [pair(subject, other, stop_early=True) for other in (*beaten, equal)]
    assert may_stop(pairs)  # nobody has to be told from the expert
    assert not may_stop([*pairs, pair(subject, driven(INCUMBENT, [True] * 16), stop_early=True)])
    assert may_stop([*pairs, pair(subject, driven(INCUMBENT, [False] * 16), stop_early=True)])
    assert not may_stop([])


def test_run_stops_where_the_interval_that_the_gate_reads_is_clear_too():
    won = [True] * 7 + [False]
    seven = [pair(driven("ensemble", won), driven(BLIND, [False] * 8), stop_early=True)]
    assert (seven[0].decided, seven[0].difference.low < 0) == ("better", True)
    assert not may_stop(seven)
    eight = [pair(driven("ensemble", [True] * 8), driven(BLIND, [False] * 8), stop_early=True)]
    assert eight[0].difference.low > 0
    assert may_stop(eight)


def test_run_stops_for_a_subject_that_is_surely_worse_too():
    subject = driven("ensemble", [False] * 16)
    better = [pair(subject, driven(name, [True] * 16), stop_early=True) for name in (STRAIGHT_AHEAD, BLIND, INCUMBENT)]
    assert {item.decided for item in better} == {"worse"}
    assert may_stop(better)
