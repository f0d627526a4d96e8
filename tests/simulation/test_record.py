"""Drives that are recorded as a policy would have seen them, and drawn again."""

from itertools import pairwise

import numpy as np
import pytest

from components.contracts import FrameSpec
from components.contracts.errors import ConfigurationError
from components.simulation import (
    SHIFTS,
    Demonstration,
    Track,
    record_expert,
    replay,
    sample_scenario,
    shift_named,
    trial_rooms,
)

ROOMS = [("1box_vert_left", 11), ("2box_hori_right", 12), ("1box_hori_right", 13)]


def test_without_a_shift_a_recording_is_a_demonstration() -> None:
    for room, recorded in zip(ROOMS, record_expert(ROOMS, workers=1), strict=True):
        driven = list(Demonstration(sample_scenario(*room), width=80, height=45, samples=4))

        assert (recorded.scenario, recorded.seed, recorded.success) == (*room, True)
        assert np.array_equal(recorded.frames, [frame.image for frame in driven])
        assert np.array_equal(recorded.actions, [frame.action for frame in driven])
        assert recorded.actions.dtype == np.float32


def test_frames_have_the_policys_size_whatever_the_aspect() -> None:
    recorded = record_expert(ROOMS[:1], frame=FrameSpec(width=32, height=32), workers=1)[0]

    assert recorded.frames.shape == (18, 32, 32, 3)


def test_nothing_to_record_is_nothing() -> None:
    assert record_expert([]) == []


@pytest.mark.parametrize("name", ["drops-10", "drops-30"])
def test_a_dropped_frame_is_the_one_before_and_more_drop_at_30_than_at_10(name: str) -> None:
    rooms = trial_rooms(12)
    with Track({}, workers=1) as track:
        usual, dropped = (track.record(rooms, shift) for shift in (None, shift_named(name)))

    def repeats(room: np.ndarray) -> int:
        return sum(np.array_equal(one, other) for one, other in pairwise(room))

    more = sum(repeats(after.frames) - repeats(before.frames) for after, before in zip(dropped, usual, strict=True))
    share = more / (len(rooms) * 11)  # presses that move, about
    assert {"drops-10": 0.03, "drops-30": 0.18}[name] < share < {"drops-10": 0.18, "drops-30": 0.42}[name]
    assert all(room.success for room in dropped)


def test_late_frames_are_answered_by_what_fits_where_the_robot_will_be() -> None:
    with Track({}, workers=1) as track:
        for shift in [shift for shift in SHIFTS if shift.latency]:
            recorded = track.record(trial_rooms(4), shift)
            assert all(room.shift == shift.name for room in recorded)
            # It stands until its first answer is due, and sees the same again.
            assert all(np.array_equal(room.frames[1], room.frames[shift.latency + 1]) for room in recorded)
            assert not any(np.array_equal(room.frames[1], room.frames[shift.latency + 2]) for room in recorded)


@pytest.mark.parametrize("name", ["none", "camera-down", "boxes-larger", "floor-unseen", "slip-4x"])
def test_a_drive_is_drawn_again_as_its_camera_saw_it(name: str) -> None:
    shift = shift_named(name)
    with Track({"expert": "expert"}, workers=1) as track:
        outcome = track.drive("expert", ROOMS[:1], shift)[0]
        recorded = track.record(ROOMS[:1], shift)[0]
    drawn = replay(outcome)

    assert drawn.shape == (outcome.steps + 1, 45, 80, 3)
    assert np.array_equal(drawn[0], recorded.frames[0])
    # A recording has the start twice: frame 0, and the frame that the first press answers.
    assert np.array_equal(drawn[:17], recorded.frames[1 : outcome.steps + 2][:17])
    assert replay(outcome, FrameSpec(width=64, height=48)).shape == (outcome.steps + 1, 48, 64, 3)


def test_a_drive_under_a_shift_that_is_not_known_is_not_drawn() -> None:
    with Track({"expert": "expert"}) as track:
        outcome = track.drive("expert", ROOMS[:1])[0]
    with pytest.raises(ConfigurationError, match="got 'fog'"):
        replay(outcome.model_copy(update={"shift": "fog"}))
