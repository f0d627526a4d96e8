"""Episodes as MCAP files of ROS 2 messages, one an episode: they open in Foxglove and play in ROS 2."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from components.episodes._episode import Episode

from ._bag import OWN, OWN_TOPICS
from ._conversion import Conversion, Remarks
from ._exporting import free_name, read_episodes, whole
from ._images import encode_image
from ._lazily import lazily
from ._own import OwnEpisode, frame_interval_s, start_ns

_TYPES = {
    "image": "sensor_msgs/msg/CompressedImage", "command": "geometry_msgs/msg/TwistStamped",
    "instruction": "std_msgs/msg/String", "event": "std_msgs/msg/String",
}  # fmt: skip


def export_mcap(files: Iterable[Path], out: Path, *, images: Literal["png", "jpeg"] = "png") -> Conversion:
    """One .mcap file an episode: CompressedImage on /camera/image/compressed, TwistStamped on /cmd_vel (m/s, rad/s),
    String on /instruction and /drover/event, and the attributes as metadata `drover.episode`.

    Args:
        files: episode files.
        out: a new folder.
        images: `png` is exact; `jpeg` (quality 90) is about a tenth of the size and loses a little of each frame.

    Raises:
        EpisodeError: a file is no episode, there is none, or `out` holds something.
        ConfigurationError: `mcap` or `rosbags` is not installed.
    """
    with lazily("drover export mcap"):
        import mcap.writer  # noqa: F401
        import rosbags.typesys  # noqa: F401
    remarks, names, frames = Remarks(), list[str](), 0
    if images == "jpeg":
        remarks.lose("exact frames: they are JPEG of quality 90")
    with whole(out) as folder:
        for episode in read_episodes(files):
            path = free_name(folder, episode.attributes.name, ".mcap")
            _write(episode, path, images, remarks)
            names.append(path.name)
            frames += len(episode.images)
    written = tuple(out / name for name in names)
    return Conversion(written, len(written), frames, tuple(remarks.notes), tuple(remarks.lost))


def _write(episode: Episode, path: Path, images: Literal["png", "jpeg"], remarks: Remarks) -> None:
    from mcap.writer import Writer

    messages = _Messages()
    begin_ns, interval_ns = start_ns(episode), round(frame_interval_s(episode, remarks) * 1e9)
    if episode.attributes.action_units == "normalised":
        remarks.note("normalised actions (throttle and angle in [-1, 1]) stand in /cmd_vel as they are, not as m/s")
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2", library="drover")
        writer.add_metadata(OWN, {"attributes": OwnEpisode(attributes=episode.attributes).model_dump_json()})
        schemas = {
            kind: writer.register_schema(kind, "ros2msg", messages.definition(kind))
            for kind in dict.fromkeys(_TYPES.values())
        }
        channels = {
            kind: writer.register_channel(topic, "cdr", schemas[_TYPES[kind]]) for kind, topic in OWN_TOPICS.items()
        }

        def add(kind: str, time_ns: int, message: Any) -> None:
            data = messages.serialised(message, _TYPES[kind])
            writer.add_message(channels[kind], time_ns, data, time_ns)

        if episode.attributes.instruction is not None:
            add("instruction", begin_ns, messages.text(episode.attributes.instruction))
        for index, (image, action, event) in enumerate(
            zip(episode.images, episode.actions, episode.events, strict=True)
        ):
            time_ns = begin_ns + index * interval_ns
            add("command", time_ns, messages.twist(time_ns, action))
            add("event", time_ns, messages.text(event))
            add("image", time_ns, messages.image(time_ns, encode_image(image, images), images))
        writer.finish()  # type: ignore[no-untyped-call]


class _Messages:
    """ROS 2 messages and their definitions, by `rosbags`."""

    def __init__(self) -> None:
        from rosbags.typesys import Stores, get_typestore

        self._store = get_typestore(Stores.ROS2_HUMBLE)

    def definition(self, kind: str) -> bytes:
        text, _ = self._store.generate_msgdef(kind, ros_version=2)
        return text.encode()

    def serialised(self, message: Any, kind: str) -> bytes:
        return bytes(self._store.serialize_cdr(message, kind))

    def text(self, text: str) -> Any:
        return self._make("std_msgs/msg/String", data=text)

    def twist(self, time_ns: int, action: Any) -> Any:
        x, y, turn = (float(value) for value in action)
        linear = self._make("geometry_msgs/msg/Vector3", x=x, y=y, z=0.0)
        angular = self._make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=turn)
        twist = self._make("geometry_msgs/msg/Twist", linear=linear, angular=angular)
        return self._make(_TYPES["command"], header=self._header(time_ns, "base_link"), twist=twist)

    def image(self, time_ns: int, data: bytes, images: str) -> Any:
        import numpy as np

        pixels = np.frombuffer(data, np.uint8)
        return self._make(_TYPES["image"], header=self._header(time_ns, "camera"), format=images, data=pixels)

    def _header(self, time_ns: int, frame: str) -> Any:
        stamp = self._make("builtin_interfaces/msg/Time", sec=time_ns // 10**9, nanosec=time_ns % 10**9)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)

    def _make(self, kind: str, **fields: Any) -> Any:
        return self._store.types[kind](**fields)
