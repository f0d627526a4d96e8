"""What Drover's exports carry of an episode beside frames and actions, and how they tell time."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field, ValidationError

from components.contracts import Frozen
from components.contracts.errors import EpisodeError
from components.episodes._episode import Episode, EpisodeAttributes
from components.episodes._names import parse_name

from ._conversion import Remarks

_ASSUMED_S = 1.0
_SHORTEST_S = 1e-3
_LAST_S = 2**31 - 10**6
"""ROS and others keep seconds in 32 bits."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class OwnEpisode(Frozen):
    """The document that an export carries so that an import gives the episode back as it was."""

    attributes: EpisodeAttributes
    events: Annotated[tuple[str, ...] | None, Field(max_length=100_000)] = None
    """Where the target has no other place for them."""


def read_own(text: str, robot: str, where: str) -> EpisodeAttributes:
    """The attributes as they were exported, but for the robot, which is said by who imports.

    Raises:
        EpisodeError: `attributes`, with `where`.
    """
    return read_own_episode(text, robot, where).attributes


def read_own_episode(text: str, robot: str, where: str) -> OwnEpisode:
    try:
        found = OwnEpisode.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        raise EpisodeError(
            "attributes", f"{where}: expected the attributes of an exported episode, but {fault['loc']}: {fault['msg']}"
        ) from None
    return found.model_copy(update={"attributes": found.attributes.model_copy(update={"robot": robot})})


def frame_interval_s(episode: Episode, remarks: Remarks) -> float:
    """Seconds between frames: an episode file holds its duration alone, so its frames are spread evenly over it."""
    duration_s, frames = episode.attributes.total_duration_s or 0.0, len(episode.images)
    interval_s = duration_s / max(frames - 1, 1)
    if interval_s < _SHORTEST_S:
        remarks.note(f"episodes without a believable duration: their frames are shown {_ASSUMED_S:g} s apart")
        return _ASSUMED_S
    remarks.note("an episode file holds its duration and no frame's time: frames are spread evenly over it")
    return interval_s


def start_ns(episode: Episode) -> int:
    """When it was recorded, nanoseconds since 1970; 0 where nobody knows."""
    moment = episode.attributes.collected_at or parse_name(episode.attributes.name).recorded_at
    if moment is None or moment.tzinfo is None:
        return 0
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1)
    return microseconds * 1000 if 0 <= microseconds <= _LAST_S * 10**6 else 0
