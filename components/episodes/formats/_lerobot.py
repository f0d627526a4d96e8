"""LeRobotDataset as episodes: the door."""

from pathlib import Path

from components.contracts import Axis
from components.contracts.errors import EpisodeError

from ._conversion import Conversion, Remarks, checked_robot
from ._lazily import lazily
from ._lerobot_info import choose_axes, choose_camera, read_info
from ._write import write_episodes


def import_lerobot(
    source: Path,
    out: Path,
    *,
    robot: str,
    camera: str | None = None,
    action: str = "action",
    axes: dict[Axis, str] | None = None,
    strict: bool = False,
    allow_partial: bool = False,
) -> Conversion:
    """A LeRobotDataset (v3.x or v2.1, video or image features) as episode files.

    Action elements become axes by their names: x.vel, y.vel and theta.vel (LeKiwi: m/s, m/s, deg/s, converted to
    rad/s), linear_x, linear_y and angular_z and alike. Times are the dataset's own. `source` is `lerobot`; an episode
    that Drover exported becomes what it was.

    Args:
        source: the dataset's folder, with meta/info.json.
        out: where the episode files go; created.
        robot: whose episodes these become.
        camera: feature that holds the images; None takes the only one.
        action: feature that holds the actions.
        axes: axis -> element's name or index from 0, with or without :unit (m/s, rad/s, deg/s), for names that are not
            known.
        strict: refuse the dataset for one damaged frame or episode instead of leaving it out.
        allow_partial: take what is there where info.json or the index declares more.

    Raises:
        EpisodeError: `lerobot`, `image`, `video`, `frames` or `partial`: what is wrong, and where. Nothing was written.
        ConfigurationError: no such robot id or axis, or `pyarrow` or `av` is not installed.
    """
    with lazily("drover import lerobot"):
        import av  # noqa: F401

        from ._lerobot_read import LeRobotReader
    checked_robot(robot)
    if not source.is_dir():
        raise EpisodeError("lerobot", f"{source}: expected a LeRobotDataset's folder, found none there")
    remarks, info = Remarks(), read_info(source)
    chosen = choose_camera(info, camera)
    sources = choose_axes(info, action, axes or {}, remarks)
    for name, feature in info.features.items():
        if name not in {chosen, action, "timestamp", "frame_index", "episode_index", "index", "task_index"}:
            remarks.lose(f"feature {name} ({feature.dtype})")
    reader = LeRobotReader(source, info, chosen, action, sources, robot, remarks, strict)
    done = write_episodes(
        reader.recordings(), out, remarks, allow_partial=allow_partial, unit="episodes", strict=strict
    )
    if not done.files:
        raise EpisodeError("lerobot", f"{source}: expected episodes, found none")
    return done
