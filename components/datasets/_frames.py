"""An episode as policies see it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class EpisodeFrames:
    """One episode of a dataset, decoded and resized. Frame 0 is the start: its action is zero and counts nowhere."""

    sha256: str
    """Of the episode's file."""
    name: str
    robot: str
    session: str
    scenario: str | None
    instruction: str
    frames: NDArray[np.uint8]
    """(T, h, w, 3) RGB, of the dataset's FrameSpec."""
    actions: NDArray[np.float32]
    """(T, 3): m/s, m/s, rad/s."""
