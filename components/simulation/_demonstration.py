"""One drive of the scripted operator, frame by frame as a recorder takes them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.episodes import KEYS

from ._body import Body, Motion, Outcome
from ._camera import CAMERA_HEIGHT, CAMERA_WIDTH, Camera
from ._expert import Expert
from ._scenario import Scenario

PRESSES = 17
"""Key presses of an episode, after frame 0."""

_SHORTEST_S, _LONGEST_S, _USUAL_S = 25.2, 95.9, 41.0


@dataclass(frozen=True, eq=False)
class DrivenFrame:
    """What the camera sees, and the key that is pressed next."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    action: NDArray[np.float32]
    """(3,) m/s, m/s, rad/s."""
    event: str
    """`episode_start`, `start_action`, or `stop_action` for the space key."""
    elapsed_s: float
    """Since the episode's start, at the pace of a human operator."""


class Demonstration:
    """The operator drives a room once: iterate for its 18 frames, then read `outcome`.

    Args:
        scenario: the room.
        motion: what a press does.
        width, height: of the frames; the camera's aspect.
        samples: rays a pixel along each side.
        threads: of the camera.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        motion: Motion | None = None,
        width: int = CAMERA_WIDTH,
        height: int = CAMERA_HEIGHT,
        samples: int = 1,
        threads: int = 1,
    ) -> None:
        self._body = Body(scenario, motion=motion)
        self._expert = Expert(scenario, motion=motion)
        self._camera = Camera(scenario, width=width, height=height, samples=samples, threads=threads)
        self.elapsed_s = operator_times(scenario.seed)
        """When each frame is taken: (18,) seconds."""

    @property
    def outcome(self) -> Outcome:
        """So far."""
        return self._body.outcome

    def __iter__(self) -> Iterator[DrivenFrame]:
        try:
            yield from self._drive()
        finally:
            self._camera.close()

    def _drive(self) -> Iterator[DrivenFrame]:
        pose = self._body.pose
        image = self._camera.render(pose)
        yield DrivenFrame(image, KEYS["space"].copy(), "episode_start", 0.0)
        for moment in self.elapsed_s[1:].tolist():
            if self._body.pose != pose:  # at rest the camera sees what it saw
                pose = self._body.pose
                image = self._camera.render(pose)
            action = self._expert.press(pose)
            yield DrivenFrame(image, action, "start_action" if action.any() else "stop_action", moment)
            self._body.press(action)


def operator_times(seed: int) -> NDArray[np.float64]:
    """(18,) seconds: how long operators take between presses; in all 25 to 96 s, usually about 40."""
    rng = np.random.default_rng([seed, 102])
    total = float(np.clip(_USUAL_S * rng.lognormal(0.0, 0.3), _SHORTEST_S, _LONGEST_S))
    pauses = rng.uniform(0.5, 1.5, PRESSES)
    times: NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(pauses) * (total / pauses.sum())])
    return times
