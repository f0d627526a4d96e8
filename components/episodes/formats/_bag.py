"""A ROS 2 recording, whatever its storage, and the choice of its topics."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from components.contracts import Frozen
from components.contracts.errors import EpisodeError

if TYPE_CHECKING:
    from ._ros_messages import RawMessage

OWN = "drover.episode"
"""Metadata record of an exported MCAP: the episode's attributes, as JSON."""
OWN_TOPICS = {
    "image": "/camera/image/compressed", "command": "/cmd_vel", "instruction": "/instruction", "event": "/drover/event",
}  # fmt: skip
KINDS = {
    "image": ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"),
    "command": ("geometry_msgs/msg/Twist", "geometry_msgs/msg/TwistStamped"),
    "instruction": ("std_msgs/msg/String",),
    "event": ("std_msgs/msg/String",),
}
_SPEAKS = ("instruction", "task", "language", "command_text", "prompt")


@dataclass(frozen=True)
class Bag:
    """An opened recording; `read` goes through it anew each time."""

    name: str
    topics: dict[str, str]
    """Topic -> type."""
    read: "Callable[[dict[str, str]], Iterator[RawMessage]]"
    """Messages on these topics (topic -> type), in recording order."""
    own: dict[str, str] | None = None
    """What an export of Drover's says about its episode."""


class RosOptions(Frozen):
    """What to take from a ROS 2 recording, and how often."""

    image_topic: str | None = None
    """None: the only topic of a type that fits."""
    command_topic: str | None = None
    instruction_topic: str | None = None
    """None: the only String topic whose name speaks of an instruction, a task or language, if there is one."""
    instruction: Annotated[str | None, Field(max_length=512)] = None
    """Where the recording tells none."""
    rate_hz: Annotated[float | None, Field(gt=0, le=1000)] = None
    """Frames a second; None: one at each image."""
    gap_s: Annotated[float, Field(gt=0)] = 2.0
    """A longer gap between images parts two episodes."""
    frames_per_episode: Annotated[int | None, Field(ge=2)] = None


def choose_topics(bag: Bag, options: RosOptions) -> dict[str, str]:
    """Kind -> topic.

    Raises:
        EpisodeError: `topics`, one is missing, of another type, or several would do: the message names them.
    """
    chosen = {
        "image": _chosen(bag, "image", options.image_topic, "--images"),
        "command": _chosen(bag, "command", options.command_topic, "--commands"),
    }
    spoken = [
        topic
        for topic, kind in bag.topics.items()
        if kind in KINDS["instruction"] and any(word in topic.lower() for word in _SPEAKS)
    ]
    if options.instruction_topic is not None or len(spoken) == 1:
        wanted = options.instruction_topic or spoken[0]
        chosen["instruction"] = _chosen(bag, "instruction", wanted, "--instructions")
    return chosen


def _chosen(bag: Bag, kind: str, wanted: str | None, option: str) -> str:
    fitting = [topic for topic, found in bag.topics.items() if found in KINDS[kind]]
    if wanted is None and len(fitting) == 1:
        return fitting[0]
    if wanted in fitting:
        return wanted
    there = ", ".join(f"{topic} ({found})" for topic, found in sorted(bag.topics.items())[:20]) or "no topics"
    what = f"a topic {wanted!r}" if wanted else "one topic"
    raise EpisodeError(
        "topics", f"{bag.name}: expected {what} of {' or '.join(KINDS[kind])}, found {there}; choose one with {option}"
    )
