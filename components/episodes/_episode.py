"""An episode in memory."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.contracts import EpisodeName, EpisodeSource, Frozen, RobotId

EVENTS = ("episode_start", "start_action", "stop_action")

_Text = Annotated[str, Field(max_length=512)]


class EpisodeAttributes(Frozen):
    """What is known about an episode beside its frames. Only the name is sure; a reader believes nothing else."""

    name: EpisodeName
    """Attribute `episode_name`, without `.h5`."""
    robot: RobotId | None = None
    session: _Text | None = None
    """Attribute `collection_session`."""
    collected_at: datetime | None = None
    """Attribute `collection_datetime`, ISO 8601."""
    instruction: _Text | None = None
    source: EpisodeSource = "robot"
    renderer: _Text | None = None
    """Simulated episodes: the camera that drew them."""
    scenario: _Text | None = None
    """Attribute `obstacle_layout_type`."""
    position: _Text | None = None
    """Of the obstacle, seen from the robot: left, center or right."""
    time_period: _Text | None = None
    action_chunk_size: Annotated[int, Field(ge=1, le=10_000)] = 8
    total_duration_s: float | None = None
    """Attribute `total_duration`; the writer measures it."""
    num_frames: int | None = None
    """As the file states it; the writer counts it."""
    colour_order: Literal["bgr", "rgb"] = "bgr"
    """Of the stored frames. In memory they are always RGB."""
    action_units: Literal["si", "normalised"] = "si"
    """`si`: m/s and rad/s. `normalised`: proxies without a unit (Donkey)."""


@dataclass(frozen=True, eq=False)
class Episode:
    """Frames and what was done at each."""

    images: NDArray[np.uint8]
    """(T, H, W, 3) RGB."""
    actions: NDArray[np.float32]
    """(T, 3): linear_x (m/s), linear_y (m/s), angular_z (rad/s)."""
    events: tuple[str, ...]
    """T event types."""
    attributes: EpisodeAttributes
