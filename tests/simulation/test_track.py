"""Many drives through the same rooms."""

import functools

import numpy as np
import pytest

from components.contracts import FrameSpec, TrialOutcome
from components.contracts.errors import ConfigurationError
from components.episodes import KEYS, SCENARIOS
from components.policies import TorchDriver, TorchDrivers
from components.simulation import SHIFTS, Recital, Track, drive_trials, record_expert, shift_named, trial_rooms
from tests.policies.lively import lively_ensemble
from tests.simulation.test_trials import Presses


def test_the_expert_succeeds_and_straight_ahead_does_not() -> None:
    with Track({"expert": "expert", "ahead": "straight-ahead"}) as track:
        expert, ahead = (track.drive(name, trial_rooms(80)) for name in ("expert", "ahead"))

    assert all(item.success and 0.4 < item.spl <= 1 for item in expert)
    assert sum(item.success for item in ahead) < 8
    assert sum(item.collided for item in ahead) > 40
    assert all(item.spl == 0 for item in ahead if not item.success)
    assert [item.room for item in expert] == [item.room for item in ahead] == list(trial_rooms(80))
    assert {item.scenario for item in expert} == set(SCENARIOS)
    assert all(len(item.path) == item.steps and item.duration_s == pytest.approx(0.3 * item.steps) for item in expert)
    assert all(item.distance_m > 1 for item in expert)


def test_presses_by_heart_are_the_rooms_scenarios() -> None:
    presses = {name: np.array([KEYS["W"] if "left" in name else KEYS["S"]]) for name in SCENARIOS}
    with Track({"recital": Recital(presses)}, max_presses=3) as track:
        outcomes = track.drive("recital", trial_rooms(8))

    moved = [item.path[0][0] - 0.0 for item in outcomes]
    assert all((ahead > 0) == item.scenario.endswith("left") for ahead, item in zip(moved, outcomes, strict=True))
    assert all(item.path[0] == item.path[2] for item in outcomes)


def test_a_policy_that_presses_w_drives_as_straight_ahead_does_and_each_end_is_told() -> None:
    told: list[int] = []
    with Track({"w": functools.partial(Presses, "W"), "ahead": "straight-ahead"}, workers=1) as track:
        seen = track.drive("w", trial_rooms(5), progress=lambda item: told.append(item.seed))
        by_map = track.drive("ahead", trial_rooms(5))

    assert [item.path for item in seen] == [item.path for item in by_map]
    assert told == [seed for _, seed in trial_rooms(5)]


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: shift.name)
def test_the_expert_solves_nearly_every_shifted_room(shift) -> None:  # type: ignore[no-untyped-def]
    with Track({"expert": "expert"}) as track:
        outcomes = track.drive("expert", trial_rooms(40, seed=3), shift)

    assert sum(item.success for item in outcomes) >= 39
    assert {item.shift for item in outcomes} == {shift.name}


@pytest.mark.parametrize(("drivers", "name", "rooms"), [({}, "expert", 1), ({"expert": "expert"}, "expert", 0)])
def test_nobody_to_drive_or_nowhere_is_refused(drivers: dict[str, str], name: str, rooms: int) -> None:
    with pytest.raises(ConfigurationError, match="expected a driver of"), Track(drivers) as track:  # type: ignore[arg-type]
        track.drive(name, trial_rooms(1)[:rooms])


def test_a_track_without_workers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least 1 worker"):
        Track({}, workers=0)


def test_each_policy_is_shown_pictures_of_its_own_size() -> None:
    wide, narrow = Presses("W"), Presses("W")
    frames = {"wide": FrameSpec(width=160, height=90)}
    with Track({"wide": lambda: wide, "narrow": lambda: narrow}, frame=frames, workers=1, max_presses=1) as track:
        outcomes = [track.drive(name, trial_rooms(1))[0] for name in ("wide", "narrow")]

    assert set(wide.shapes) == {(90, 160, 3)}
    assert set(narrow.shapes) == {(45, 80, 3)}
    assert outcomes[0].path == outcomes[1].path


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # Ray's
def test_outcomes_are_equal_whatever_the_number_of_workers() -> None:
    drivers = {"policy": functools.partial(TorchDrivers, lively_ensemble()), "ahead": "straight-ahead"}
    rooms, late = trial_rooms(19), shift_named("latency-1")
    told: list[TrialOutcome] = []
    with Track(drivers, workers=1) as track:  # type: ignore[arg-type]
        here = [track.drive("policy", rooms), track.drive("policy", rooms, late)]
    with Track(drivers, workers=2) as track:  # type: ignore[arg-type]
        spread = [track.drive("policy", rooms, progress=told.append), track.drive("policy", rooms, late)]
        recorded = track.record(rooms[:5])
        ahead = track.drive("ahead", rooms)

    assert spread == here
    assert sorted(item.seed for item in told) == [seed for _, seed in rooms]
    assert len({round(item.distance_m, 1) for item in here[0]}) > 10
    assert [item.path for item in here[0]] != [item.path for item in ahead]
    alone = record_expert(rooms[:5], workers=1)
    assert all(np.array_equal(one.frames, other.frames) for one, other in zip(recorded, alone, strict=True))


def test_many_at_once_drive_as_one_after_the_other_and_in_any_company() -> None:
    module, rooms = lively_ensemble(), trial_rooms(9)
    one_by_one = drive_trials(TorchDriver(module), name="policy", rooms=rooms)
    in_step = drive_trials(TorchDrivers(module), name="policy", rooms=rooms)
    other_company = drive_trials(TorchDrivers(module), name="policy", rooms=rooms[::-2])

    assert in_step == one_by_one
    assert other_company == in_step[::-2]
