"""ROS 2 recordings (MCAP files, rosbag2 folders) as episodes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from components.contracts.errors import EpisodeError

from ._bag import Bag, RosOptions
from ._conversion import Conversion, Recording, Remarks, checked_robot
from ._lazily import lazily
from ._write import scratch_beside, write_episodes

if TYPE_CHECKING:
    from ._ros_recordings import RosRecordings

Opened = Callable[[Remarks, Path], Iterator[Bag | EpisodeError]]
"""Given a folder for copies: recordings one after another, or why one of several is left out."""


def import_mcap(source: Path, out: Path, *, robot: str, options: RosOptions | None = None) -> Conversion:
    """ROS 2 messages in MCAP (Image or CompressedImage, Twist or TwistStamped, String) as episode files.

    Messages are taken in the order of their log time, wherever they stand; frames as `synchronise` says. Actions stay
    as they are: m/s and rad/s as geometry_msgs defines, not snapped to key presses (`source` is `ros`). A file that
    Drover exported becomes the episode that it was, unresampled.

    Args:
        source: a .mcap file, or a folder of them: the parts NAME_0, NAME_1, ... of one recording are read as one.
        out: where the episode files go; created.
        robot: whose episodes these become.
        options: topics, rate, gaps, and what to do with less than was declared.

    Raises:
        EpisodeError: `mcap`, `message`, `messages`, `image`, `topics`, `frames` or `partial`: what is wrong, and where.
            Nothing was written.
        ConfigurationError: no such robot id, or `mcap` or `rosbags` is not installed.
    """
    with lazily("drover import mcap"):
        from . import _ros_recordings  # noqa: F401  # rosbags
        from ._rosbag2_read import mcap_recordings
    chosen = options or RosOptions()
    return _import(
        lambda remarks, workspace: mcap_recordings(source, remarks, workspace, allow_partial=chosen.allow_partial),
        source, out, robot, chosen,
    )  # fmt: skip


def import_rosbag2(source: Path, out: Path, *, robot: str, options: RosOptions | None = None) -> Conversion:
    """A rosbag2 recording (sqlite3 or mcap storage) as episode files: otherwise as `import_mcap`.

    Args:
        source: the folder, or a single .db3 or .mcap file.
        out: where the episode files go; created.
        robot: whose episodes these become.
        options: topics, rate, gaps, and what to do with less than was declared.

    Raises:
        EpisodeError: `rosbag2`, or as `import_mcap`. Nothing was written.
        ConfigurationError: no such robot id, or `mcap` or `rosbags` is not installed.
    """
    with lazily("drover import rosbag2"):
        from . import _ros_recordings  # noqa: F401  # rosbags
        from ._rosbag2_read import rosbag2_bag
    chosen = options or RosOptions()

    def opened(remarks: Remarks, workspace: Path) -> Iterator[Bag | EpisodeError]:
        yield rosbag2_bag(source, remarks, workspace, allow_partial=chosen.allow_partial)

    return _import(opened, source, out, robot, chosen)


def _import(opened: Opened, source: Path, out: Path, robot: str, options: RosOptions) -> Conversion:
    checked_robot(robot)
    remarks, faults = Remarks(), list[EpisodeError]()

    def recordings(workspace: Path) -> Iterator[Recording]:
        files = remarks.counts.of("files")
        for bag in opened(remarks, workspace):
            count = 1 if isinstance(bag, EpisodeError) else len(bag.files)
            files.declared += count
            files.read += count
            if isinstance(bag, Bag):
                remarks.begin(bag.files[0].path.name)
            try:
                found = _prepared(bag, options, remarks)
            except EpisodeError as error:
                faults.append(error)
                remarks.note(f"left out: {error}")
                files.drop("left out", count)
                continue
            files.used += count
            yield from found.recordings(robot, faults)

    with scratch_beside(out) as workspace:
        done = write_episodes(
            recordings(workspace), out, remarks, frames_per_episode=options.frames_per_episode,
            allow_partial=options.allow_partial,
        )  # fmt: skip
    if not done.files:
        wrong = f"{source}: expected images, found none on its topic; look at `ros2 bag info`"
        raise faults[0] if faults else EpisodeError("frames", wrong)
    return done


def _prepared(bag: Bag | EpisodeError, options: RosOptions, remarks: Remarks) -> "RosRecordings":
    from ._ros_recordings import RosRecordings

    if isinstance(bag, EpisodeError):
        raise bag
    return RosRecordings(bag, options, remarks)
