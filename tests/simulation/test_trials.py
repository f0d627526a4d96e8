"""Closed loop."""

import numpy as np
import pytest
from numpy.typing import NDArray

from components.contracts import FrameSpec
from components.contracts.errors import ConfigurationError
from components.episodes import KEYS
from components.simulation import drive_trials, trial_rooms


class Presses:
    """A policy that presses one key and remembers what it was shown."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.instructions: list[str] = []
        self.shapes: list[tuple[int, ...]] = []

    def reset(self, instruction: str) -> None:
        self.instructions.append(instruction)

    def act(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.shapes.append(image.shape)
        return KEYS[self.key]


def test_a_policy_sees_frame_zero_and_is_told_the_instruction() -> None:
    policy = Presses("space")
    outcomes = drive_trials(policy, name="idle", rooms=trial_rooms(2), max_presses=3)

    assert policy.instructions[0] == "Navigate around the single box obstacle by going left to reach the cup"
    assert policy.shapes == [(45, 80, 3)] * 8
    assert [item.steps for item in outcomes] == [3, 3]
    assert outcomes[0].path[0] == outcomes[0].path[2]


def test_a_frame_of_another_aspect_is_shown_as_the_camera_gives_it() -> None:
    policy = Presses("space")
    drive_trials(policy, name="idle", rooms=trial_rooms(1), max_presses=1, frame=FrameSpec(width=224, height=224))

    assert set(policy.shapes) == {(720, 1280, 3)}


def test_a_policy_that_fails_ends_the_trials_with_its_own_error() -> None:
    with pytest.raises(KeyError, match="no such key"):
        drive_trials(Presses("no such key"), name="broken", rooms=trial_rooms(2))


def test_no_trials_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least 1 trial"):
        trial_rooms(0)
