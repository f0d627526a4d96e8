"""ROS 2 recordings (MCAP files, rosbag2 folders) as episodes."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.contracts import ACTION_LIMIT
from components.contracts.errors import EpisodeError
from components.episodes._episode import EpisodeAttributes

from ._bag import OWN_TOPICS, Bag, RosOptions, choose_topics
from ._conversion import Action, Conversion, Recording, Remarks, Step, as_name, checked_robot, drive
from ._lazily import lazily
from ._own import read_own
from ._synchronise import Message, SyncedFrame, synchronise
from ._write import write_episodes

if TYPE_CHECKING:
    from ._ros_messages import RosImage


def import_mcap(source: Path, out: Path, *, robot: str, options: RosOptions | None = None) -> Conversion:
    """ROS 2 messages in MCAP (Image or CompressedImage, Twist or TwistStamped, String) as episode files.

    Frames are taken as `synchronise` says, by the recorder's clock. Actions stay as they are: m/s and rad/s as
    geometry_msgs defines, not snapped to key presses (`source` is `ros`). A file that Drover exported becomes the
    episode that it was, unresampled.

    Args:
        source: a .mcap file, or a folder of them.
        out: where the episode files go; created.
        robot: whose episodes these become.
        options: topics, rate and gaps.

    Raises:
        EpisodeError: `mcap`, `message`, `image`, `topics` or `frames`: what is wrong, and where. Nothing was written.
        ConfigurationError: no such robot id, or `mcap` or `rosbags` is not installed.
    """
    with lazily("drover import mcap"):
        from ._mcap_read import mcap_bag
    return _import(lambda path, remarks: mcap_bag([path], remarks), _files(source), out, robot, options)


def import_rosbag2(source: Path, out: Path, *, robot: str, options: RosOptions | None = None) -> Conversion:
    """A rosbag2 recording (sqlite3 or mcap storage) as episode files: otherwise as `import_mcap`.

    Args:
        source: the folder with metadata.yaml, or a single .db3 or .mcap file.
        out: where the episode files go; created.
        robot: whose episodes these become.
        options: topics, rate and gaps.

    Raises:
        EpisodeError: `rosbag2`, `mcap`, `message`, `image`, `topics` or `frames`. Nothing was written.
        ConfigurationError: no such robot id, or `mcap` or `rosbags` is not installed.
    """
    with lazily("drover import rosbag2"):
        from ._rosbag2_read import rosbag2_bag
    return _import(rosbag2_bag, [source], out, robot, options)


def _import(
    opened: Callable[[Path, Remarks], Bag], paths: list[Path], out: Path, robot: str, options: RosOptions | None
) -> Conversion:
    checked_robot(robot)
    options, remarks = options or RosOptions(), Remarks()

    def recordings() -> Iterator[Recording]:
        for path in paths:
            remarks.begin(path.name)
            bag = opened(path, remarks)
            if bag.own is not None:
                yield _own(bag, robot, remarks)
            else:
                yield from _foreign(bag, path, robot, options, remarks)

    done = write_episodes(recordings(), out, remarks, frames_per_episode=options.frames_per_episode)
    if not done.files:
        raise EpisodeError("frames", f"{paths[0]}: expected images, found none on its topic; look at `ros2 bag info`")
    return done


def _files(source: Path) -> list[Path]:
    files = sorted(source.glob("*.mcap")) if source.is_dir() else [source]
    if not files or not files[0].is_file():
        raise EpisodeError("mcap", f"{source}: expected a .mcap file or a folder of them, found none")
    return files


def _messages(bag: Bag, chosen: dict[str, str], remarks: Remarks) -> "Iterator[Message[RosImage]]":
    from ._ros_messages import Decoder

    decoder = Decoder(remarks)
    decode = {
        topic: {
            "image": decoder.image, "command": decoder.command, "instruction": decoder.instruction,
            "event": decoder.event,
        }[kind]
        for kind, topic in chosen.items()
    }  # fmt: skip
    for raw in bag.read({topic: bag.topics[topic] for topic in chosen.values()}):
        yield decode[raw.topic](raw)


def _foreign(bag: Bag, path: Path, robot: str, options: RosOptions, remarks: Remarks) -> Iterator[Recording]:
    """An episode a segment; segments of one image are left out, and told."""
    messages = _messages(bag, choose_topics(bag, options), remarks)
    frames = synchronise(messages, remarks, rate_hz=options.rate_hz, gap_s=options.gap_s)
    title, session = as_name(path.stem), None
    for segment, members in itertools.groupby(frames, key=lambda frame: frame.segment):
        head = list(itertools.islice(members, 2))
        first = head[0]
        if len(head) < 2:
            remarks.note(f"{title}: a stretch of a single frame {first.time_ns / 1e9:.3f} s after 1970 was left out")
            continue
        moment = datetime.fromtimestamp(first.time_ns / 1e9, UTC)
        session = session or f"{robot}-{moment:%Y%m%d-%H%M%S}"
        attributes = EpisodeAttributes(
            name=f"episode_{moment:%Y%m%d_%H%M%S}_ros_{title}_{segment:03d}", robot=robot, session=session,
            collected_at=moment, instruction=first.instruction or options.instruction, source="ros",
        )  # fmt: skip
        steps = drive(_frames(itertools.chain(head, members), remarks))  # noqa: B031  # its rest
        yield Recording(attributes, steps)


def _frames(
    frames: "Iterator[SyncedFrame[RosImage]]", remarks: Remarks
) -> "Iterator[tuple[NDArray[np.uint8], Action, float]]":
    first_ns, shown, pixels, beyond = None, None, None, 0
    for frame in frames:
        first_ns = frame.time_ns if first_ns is None else first_ns
        if frame.image is not shown or pixels is None:  # at a rate above the camera's the same image again
            shown, pixels = frame.image, frame.image.decode()
        beyond += any(abs(value) > ACTION_LIMIT for value in frame.action)
        yield pixels, frame.action, (frame.time_ns - first_ns) / 1e9
    if beyond:
        remarks.note(f"{beyond} frames command more than +-{ACTION_LIMIT}: the checks will quarantine their episodes")


def _own(bag: Bag, robot: str, remarks: Remarks) -> Recording:
    """An exported episode: every image is a frame, with the action and the event of its own moment."""
    attributes = read_own((bag.own or {}).get("attributes", ""), robot, bag.name)
    if missing := set(OWN_TOPICS.values()) - set(bag.topics) - {OWN_TOPICS["instruction"]}:
        raise EpisodeError(
            "mcap",
            f"{bag.name}: expected the topics of an exported episode, found none of {', '.join(sorted(missing))}",
        )
    chosen = {kind: topic for kind, topic in OWN_TOPICS.items() if topic in bag.topics}
    frames = synchronise(_messages(bag, chosen, remarks), remarks, rate_hz=None, gap_s=1e9)

    def steps() -> Iterator[Step]:
        first_ns = None
        for frame in frames:
            first_ns = frame.time_ns if first_ns is None else first_ns
            elapsed_s = (frame.time_ns - first_ns) / 1e9
            yield Step(frame.image.decode(), frame.action, frame.event or "", elapsed_s)

    return Recording(attributes, steps(), attributes.total_duration_s, own=True)
