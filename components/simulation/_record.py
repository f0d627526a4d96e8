"""What was seen on a drive: the expert's, recorded as a policy would have seen it, and anybody's, drawn again."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.contracts import FrameSpec, TrialOutcome
from components.episodes import KEYS, resize_frame

from ._demonstration import PRESSES
from ._expert import Expert
from ._scenario import sample_scenario
from ._shifts import shift_named
from ._trials import Eye, Room, Trial, TrialSettings, trial_camera


@dataclass(frozen=True, eq=False)
class RecordedRoom:
    """The expert's drive through one room, as a demonstration of the policy's frame size would hold it."""

    scenario: str
    seed: int
    instruction: str
    frames: NDArray[np.uint8]
    """(18, h, w, 3) RGB: what a driver was shown. Frame 0 is the start."""
    actions: NDArray[np.float32]
    """(18, 3) m/s, m/s, rad/s: the key that answered each frame; frame 0's is zero."""
    success: bool
    shift: str


def record_room(room: Room, settings: TrialSettings) -> RecordedRoom:
    """One room of `Track.record`."""
    trial = Trial(room, settings)
    eye, expert = Eye(trial), Expert(trial.scenario, motion=settings.motion)
    frames, actions = [resize_frame(eye.look(), settings.frame)], [KEYS["space"]]
    for _ in range(PRESSES):
        frames.append(resize_frame(eye.look(), settings.frame))
        actions.append(expert.press(trial.expected))
        trial.press(actions[-1])
    return RecordedRoom(
        scenario=trial.scenario.name,
        seed=trial.scenario.seed,
        instruction=trial.instruction,
        frames=np.stack(frames),
        actions=np.stack(actions),
        success=trial.outcome().success,
        shift=settings.shift.name,
    )


def replay(outcome: TrialOutcome, frame: FrameSpec | None = None) -> NDArray[np.uint8]:
    """Draw what the camera saw on a drive, at the start and after each press.

    Under latency or dropped frames this is what the camera saw, not what had reached the driver by then.

    Args:
        outcome: of any driver in any shift's rooms.
        frame: size of the pictures; None: a policy's.

    Returns:
        (presses + 1, h, w, 3) uint8 RGB.

    Raises:
        ConfigurationError: the outcome's shift is not known here.
    """
    frame, shift = frame or FrameSpec(), shift_named(outcome.shift)
    scenario = shift.change(sample_scenario(*outcome.room))
    camera = trial_camera(scenario, frame, mount=shift.mount)
    return np.stack([resize_frame(camera.render(pose), frame) for pose in (scenario.start, *outcome.path)])
