"""Two drivers in the same rooms: counts, Newcombe, McNemar, and when it was decided."""

import numpy as np
import pytest
from scipy import stats

from components.contracts import TrialOutcome
from components.contracts.errors import EvidenceError
from components.episodes import SCENARIOS
from components.evaluation._pairs import mcnemar, newcombe, pair, paired_difference, rounds


def driven(policy, successes, seed=0):
    return [
        TrialOutcome(
            policy=policy, scenario=SCENARIOS[room % 8], seed=seed + room, success=bool(good), reached=bool(good),
            right_side=True, collided=not good, spl=float(good), steps=9, duration_s=2.7, distance_m=2.0, path=(),
        )
        for room, good in enumerate(successes)
    ]  # fmt: skip


def test_pair_counts_rooms_and_says_who_is_better_and_since_when():
    mine = [True] * 20 + [False] * 4
    theirs = [False] * 10 + [True] * 10 + [False] * 3 + [True]
    found = pair(driven("ensemble", mine), driven("incumbent", theirs))
    assert (found.subject, found.reference, found.rooms) == ("ensemble", "incumbent", 24)
    assert (found.both, found.subject_only, found.reference_only, found.neither) == (10, 10, 1, 3)
    assert found.difference.value == pytest.approx(9 / 24)
    assert found.difference.method == "newcombe-paired"
    assert found.p_value == pytest.approx(stats.binomtest(10, 11).pvalue)
    assert (found.decided, found.decided_after) == ("better", 8)
    assert found.e_better > 100  # after two rounds: the room that was lost in the third takes nothing back
    assert found.e_worse == 1.0


def test_pair_the_other_way_round_is_worse_by_as_much():
    mine, theirs = driven("ensemble", [True] * 8), driven("incumbent", [False] * 8)
    forward, back = pair(mine, theirs), pair(theirs, mine)
    assert (forward.decided, back.decided) == ("better", "worse")
    assert forward.e_better == back.e_worse
    assert forward.difference.low == pytest.approx(-back.difference.high)


def test_pair_of_equals_stays_open():
    found = pair(driven("a", [True, False] * 12), driven("b", [True, False] * 12))
    assert (found.decided, found.decided_after, found.p_value) == ("open", None, 1.0)
    assert found.difference.low < 0 < found.difference.high


def test_pair_of_a_run_that_may_stop_has_no_p_value_and_an_interval_that_allows_it():
    mine, theirs = driven("a", [True] * 16), driven("b", [True] * 4 + [False] * 12)
    free, fixed = pair(mine, theirs, stop_early=True), pair(mine, theirs)
    assert free.p_value is None
    assert free.difference.method == "anytime-paired"
    assert free.difference.low < fixed.difference.low
    assert (free.e_better, free.decided_after) == (fixed.e_better, fixed.decided_after)


def test_decision_is_looked_for_after_whole_rounds_alone():
    mine, theirs = driven("a", [False] + [True] * 14), driven("b", [False] * 15)
    assert pair(mine, theirs).decided_after == 8  # the seventh win in a row
    mine, theirs = driven("a", [False] * 3 + [True] * 12), driven("b", [False] * 15)
    found = pair(mine, theirs)
    assert (found.decided, found.e_better) == ("open", pytest.approx(10.5))  # five of twelve wins are in the one round


def test_rounds_end_where_every_scenario_was_met_equally_often():
    assert rounds(["a", "b", "b", "a", "a"]).tolist() == [2, 4]
    assert rounds(["a", "a"]).tolist() == [1, 2]
    assert rounds(["a", "a", "b"]).tolist() == []


def test_drivers_in_other_rooms_are_refused():
    with pytest.raises(EvidenceError, match="same rooms"):
        pair(driven("a", [True] * 8), driven("b", [True] * 8, seed=1))
    with pytest.raises(EvidenceError, match="same rooms"):
        pair(driven("a", [True] * 8), driven("b", [True] * 8)[::-1])
    with pytest.raises(EvidenceError, match="same rooms"):
        pair([], [])


@pytest.mark.parametrize(
    ("table", "expected"),
    [((1, 1, 7, 12), (-0.507, -0.026)), ((14, 5, 0, 22), (0.011, 0.226))],
    ids=["Bentur 2009, in Fagerland 2014", "Altman 2000, table 6.2"],
)
def test_newcombes_interval_is_the_published_one(table, expected):
    found = newcombe(*table)
    assert (found.low, found.high) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("table", [(8, 0, 0, 0), (0, 0, 0, 8), (0, 8, 0, 0), (0, 0, 8, 0), (1, 0, 0, 0), (4, 0, 0, 4)])
def test_newcombes_interval_of_an_extreme_table_holds_its_value_and_has_a_width(table):
    found = newcombe(*table)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0.1


@pytest.mark.parametrize("rooms", [16, 40, 96])
@pytest.mark.parametrize("chances", [(0.3, 0.5, 0.05, 0.15), (0.6, 0.1, 0.1, 0.2), (0.05, 0.65, 0.01, 0.29)])
def test_newcombes_interval_holds_the_difference_in_95_percent_of_runs(rooms, chances):
    tables, counts = np.unique(np.random.default_rng(11).multinomial(rooms, chances, 4_000), axis=0, return_counts=True)
    truth = chances[1] - chances[2]
    held = [item.low <= truth <= item.high for item in (newcombe(*map(int, table)) for table in tables)]
    assert 0.93 < counts[held].sum() / 4_000 < 0.99


def test_mcnemar_looks_at_discordant_pairs_alone():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(6, 0) == pytest.approx(2 / 64)


def test_paired_difference_is_newcombes_on_the_counts():
    assert paired_difference([True, True, False, True], [True, False, False, True]) == newcombe(2, 1, 0, 1)
