"""The experiment runs, in small, from rooms to a table and a picture; its outcome is docs/active-learning.md's."""

import json
from dataclasses import replace

import numpy as np
import pytest

from components.contracts import FrameSpec
from tests.experiments import active_learning
from tests.experiments.active_learning import ARMS, SETTINGS, Result, Size

pytestmark = pytest.mark.long

TINY = Size(repetitions=2, validation=1, held_out=2, epochs=1, frame=FrameSpec(width=16, height=9))
FEW = [replace(setting, begin=2, pool=4, chosen=2) for setting in SETTINGS[:2]]


def results(gains, setting="even"):
    return [
        Result(setting, index, {"begin": 0.3, "random": 0.2, "suggested": 0.2 - gain},
               {"begin": 0.5, "random": 0.6, "suggested": 0.6 + gain}, dict.fromkeys(ARMS, 0.5), 1.0)
        for index, gain in enumerate(gains)
    ]  # fmt: skip


@pytest.mark.timeout(600)  # every repetition starts numba and torch: seconds when quiet, minutes on a full machine
def test_in_small_it_runs_from_rooms_to_a_table_and_a_picture(tmp_path) -> None:
    found = active_learning.run(TINY, tmp_path, settings=FEW, workers=1)

    assert {(item.setting, item.repetition) for item in found} == {(s.name, n) for s in FEW for n in range(2)}
    for item in found:
        assert set(item.mae) == set(item.key_accuracy) == set(ARMS)
        assert all(0 <= value <= 2.3 for value in item.mae.values())
    rows = active_learning.table(found)
    assert [(row["setting"], row["figure"]) for row in rows] == [
        (setting.name, figure) for setting in FEW for figure in ("mae", "key_accuracy")
    ]
    assert {row["n"] for row in rows} == {2}
    active_learning.draw(found, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")

    kept = (tmp_path / "results.jsonl").read_text()
    assert active_learning.run(TINY, tmp_path, settings=FEW) == found  # nothing is done twice
    assert (tmp_path / "results.jsonl").read_text() == kept
    assert len([json.loads(line) for line in kept.splitlines()]) == 4

    held_out = active_learning.record(
        active_learning.rooms_of(TINY.held_out, active_learning.HELD_OUT_SEED, 0.5, seed=0), TINY.frame
    )
    again = active_learning.repeat(FEW[0], 0, TINY, held_out)
    assert replace(again, seconds=0) == replace(found[0], seconds=0)  # in another process, too


def test_rooms_are_shared_out_exactly_and_are_no_trial_rooms() -> None:
    rooms = active_learning.rooms_of(32, active_learning.FIRST_SEED, 1 / 8, seed=3)

    assert sum(name.startswith("2box") for name, _ in rooms) == 4
    assert len(set(rooms)) == 32
    assert active_learning.HELD_OUT_SEED + 10_000 < 10**9
    last = active_learning.FIRST_SEED + 10_000 * 2 * 1_000
    assert last < active_learning.HELD_OUT_SEED


def test_the_gain_is_paired_and_its_interval_is_students() -> None:
    mean, low, high, n = active_learning.paired(results([0.01, 0.03]), "mae")

    assert (mean, n) == (pytest.approx(0.02), 2)
    assert (low, high) == pytest.approx((0.02 - 12.7062 * 0.01, 0.02 + 12.7062 * 0.01))
    assert active_learning.paired(results([0.01, 0.03]), "key_accuracy")[0] == pytest.approx(0.02)


def test_the_verdict_is_the_intervals() -> None:
    steady = results(0.02 + 0.001 * np.arange(8))
    torn = results([-0.05, 0.05] * 4)

    assert active_learning.verdict(*active_learning.paired(steady, "mae")[1:3]) == "beats"
    assert active_learning.verdict(*active_learning.paired(torn, "mae")[1:3]) == "cannot be told from"
    assert active_learning.verdict(-0.2, -0.1) == "loses to"
