"""ROS 2 recordings that the real `rosbags` and `mcap` write, for tests."""

from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from components.episodes import read_episode

STORE = get_typestore(Stores.ROS2_JAZZY)  # another release than the importer's
START_NS = 1_700_000_000 * 10**9
HEIGHT, WIDTH = 8, 12

Topic = tuple[str, str, float, Any]
"""Topic, type, seconds after the start, message."""


def make(kind: str, **fields: Any) -> Any:
    return STORE.types[kind](**fields)


def header(seconds: float) -> Any:
    nanoseconds = START_NS + round(seconds * 1e9)
    stamp = make("builtin_interfaces/msg/Time", sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id="camera")


def picture(value: int) -> np.ndarray:
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[..., 0], pixels[:, :6, 1], pixels[..., 2] = value, 100, 30
    return pixels


def raw(seconds: float, value: int, encoding: str = "rgb8", *, stamp: float | None = None, pad: int = 0) -> Topic:
    rgb = picture(value)
    opaque = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    pixels = {
        "rgb8": rgb, "bgr8": rgb[..., ::-1], "8UC3": rgb[..., ::-1], "mono8": rgb[..., :1],
        "rgba8": np.concatenate([rgb, opaque], axis=2), "bgra8": np.concatenate([rgb[..., ::-1], opaque], axis=2),
    }.get(encoding, rgb)  # fmt: skip
    rows = np.pad(pixels.reshape(HEIGHT, -1), ((0, 0), (0, pad)))
    message = make(
        "sensor_msgs/msg/Image", header=header(seconds if stamp is None else stamp), height=HEIGHT, width=WIDTH,
        encoding=encoding, is_bigendian=0, step=rows.shape[1], data=np.ascontiguousarray(rows).ravel(),
    )  # fmt: skip
    return ("/camera/image", "sensor_msgs/msg/Image", seconds, message)


def compressed(seconds: float, data: bytes, form: str = "jpeg") -> Topic:
    message = make(
        "sensor_msgs/msg/CompressedImage", header=header(seconds), format=form, data=np.frombuffer(data, np.uint8)
    )
    return ("/camera/compressed", "sensor_msgs/msg/CompressedImage", seconds, message)


def twist(seconds: float, x: float, y: float = 0, turn: float = 0, *, lift: float = 0, stamped: bool = False) -> Topic:
    linear = make("geometry_msgs/msg/Vector3", x=float(x), y=float(y), z=float(lift))
    angular = make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=float(turn))
    message = make("geometry_msgs/msg/Twist", linear=linear, angular=angular)
    if stamped:
        message = make("geometry_msgs/msg/TwistStamped", header=header(seconds), twist=message)
    return ("/cmd_vel", f"geometry_msgs/msg/Twist{'Stamped' if stamped else ''}", seconds, message)


def text(seconds: float, words: str, topic: str = "/instruction") -> Topic:
    return (topic, "std_msgs/msg/String", seconds, make("std_msgs/msg/String", data=words))


def bag(folder: Path, messages: list[Topic], storage: StoragePlugin = StoragePlugin.SQLITE3) -> Path:
    with Writer(folder, version=9, storage_plugin=storage) as writer:
        connections = {
            topic: writer.add_connection(topic, kind, typestore=STORE)
            for topic, kind in dict.fromkeys((topic, kind) for topic, kind, _, _ in messages)
        }
        for topic, kind, seconds, message in messages:
            writer.write(connections[topic], START_NS + round(seconds * 1e9), STORE.serialize_cdr(message, kind))
    return folder


def mcap(path: Path, messages: list[Topic], *, encoding: str = "cdr", chunk: int = 2**20, **options: Any) -> Path:
    """In the order in which they are given, whatever their times."""
    with path.open("wb") as file:
        writer = McapWriter(file, chunk_size=chunk, **options)
        writer.start(profile="ros2")
        channels: dict[tuple[str, str], int] = {}
        for topic, kind, seconds, message in messages:
            if (topic, kind) not in channels:
                definition, _ = STORE.generate_msgdef(kind, ros_version=2)
                schema = writer.register_schema(kind, "ros2msg", definition.encode())
                channels[topic, kind] = writer.register_channel(topic, encoding, schema)
            time_ns = START_NS + round(seconds * 1e9)
            data = message if isinstance(message, bytes) else bytes(STORE.serialize_cdr(message, kind))
            writer.add_message(channels[topic, kind], time_ns, data, time_ns)
        writer.finish()
    return path


def drive(count: int = 5, period: float = 0.1) -> list[Topic]:
    """Images and, a little before each, a command that tells its number."""
    messages = [text(0.0, "go left")]
    for index in range(count):
        messages += [
            twist(index * period, index / 10, -index / 20, index / 40),
            raw(index * period + 0.01, 10 * index % 256),
        ]
    return messages


def reds(path: Path) -> list[int]:
    return read_episode(path).images[:, 0, 0, 0].tolist()
