"""Episodes as Rerun recordings: frames with the action drawn in, the axes over time, the instruction. Loads `rerun`."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.contracts import ACTION_LIMIT, AXES
from components.episodes._episode import Episode
from components.episodes._keys import key_of

from ._conversion import Conversion, Remarks
from ._exporting import free_name, read_episodes, whole
from ._images import encode_image
from ._lazily import lazily
from ._own import OwnEpisode, frame_interval_s, start_ns

if TYPE_CHECKING:
    from rerun import RecordingStream
    from rerun.blueprint import Blueprint

APPLICATION = "drover"
_TURN_STEPS = 12


def export_rerun(files: Iterable[Path], out: Path, *, images: Literal["png", "jpeg"] = "jpeg") -> Conversion:
    """One .rrd file an episode, for Rerun's viewer (`rerun FILE`).

    Entities: `camera` (the frame), `camera/drive` (linear_x and linear_y as an arrow from the bottom centre, ahead is
    up), `camera/turn` (angular_z as an arc), `action/<axis>` (m/s, m/s, rad/s), `instruction`, `event`, `episode` (the
    attributes as JSON). Timelines: `frame`, and `time` since the episode's start.

    Args:
        files: episode files.
        out: a new folder.
        images: `jpeg` (quality 90) is for looking at; `png` is exact and several times as large.

    Raises:
        EpisodeError: a file is no episode, there is none, or `out` holds something.
        ConfigurationError: `rerun-sdk` is not installed.
    """
    with lazily("drover export rerun"):
        import rerun as rr
    remarks, names, frames = Remarks(), list[str](), 0
    if images == "jpeg":
        remarks.lose("exact frames: they are JPEG of quality 90")
    with whole(out) as folder:
        for episode in read_episodes(files):
            path = free_name(folder, episode.attributes.name, ".rrd")
            with rr.RecordingStream(APPLICATION, recording_id=path.stem) as recording:
                recording.save(path, default_blueprint=_blueprint())
                log_episode(recording, episode, remarks, images=images)
                recording.flush()
                recording.disconnect()
            names.append(path.name)
            frames += len(episode.images)
    written = tuple(out / name for name in names)
    return Conversion(written, len(written), frames, tuple(remarks.notes), tuple(remarks.lost))


def log_episode(
    recording: "RecordingStream", episode: Episode, remarks: Remarks, *, images: Literal["png", "jpeg"] = "jpeg"
) -> None:
    """Log an episode to an open recording: a file's, or a viewer's."""
    import rerun as rr

    attributes = episode.attributes
    recording.send_recording_name(attributes.name)
    if begin_ns := start_ns(episode):
        recording.send_recording_start_time_nanos(begin_ns)
    document = OwnEpisode(attributes=attributes).model_dump_json()
    recording.log("episode", rr.TextDocument(document, media_type="application/json"), static=True)
    recording.log("instruction", rr.TextDocument(attributes.instruction or "(none)"), static=True)
    for axis in AXES:
        recording.log(f"action/{axis}", rr.SeriesLines(names=f"{axis} ({_unit(episode, axis)})"), static=True)
    interval_s = frame_interval_s(episode, remarks)
    for index, (image, action, event) in enumerate(zip(episode.images, episode.actions, episode.events, strict=True)):
        recording.set_time("frame", sequence=index)
        recording.set_time("time", duration=index * interval_s)
        media = "image/png" if images == "png" else "image/jpeg"
        recording.log("camera", rr.EncodedImage(contents=encode_image(image, images), media_type=media))
        for axis, value in zip(AXES, action, strict=True):
            recording.log(f"action/{axis}", rr.Scalars(float(value)))
        recording.log("event", rr.TextLog(f"{event} {key_of(action) or ''}".strip()))
        _draw(recording, image, action)


def _draw(recording: "RecordingStream", image: NDArray[np.uint8], action: NDArray[np.float32]) -> None:
    """The action on the frame, as a driver sees it: ahead is up, left is left."""
    import rerun as rr

    height, width = image.shape[:2]
    ahead, left, turn = np.nan_to_num(action, posinf=0, neginf=0).tolist()
    reach = height / 3 / ACTION_LIMIT
    origin = (width / 2, height * 0.95)
    recording.log(
        "camera/drive",
        rr.Arrows2D(
            origins=[origin], vectors=[(-left * reach, -ahead * reach)], colors=[(0, 220, 90)], radii=height / 150
        ),
    )
    angles = [turn / ACTION_LIMIT * math.pi / 2 * step / _TURN_STEPS for step in range(_TURN_STEPS + 1)]
    radius = height / 6
    arc = [(origin[0] - radius * math.sin(angle), origin[1] - radius * math.cos(angle)) for angle in angles]
    recording.log("camera/turn", rr.LineStrips2D([arc], colors=[(250, 170, 0)], radii=height / 200))


def _unit(episode: Episode, axis: str) -> str:
    if episode.attributes.action_units == "normalised":
        return "normalised"
    return "rad/s" if axis == "angular_z" else "m/s"


def _blueprint() -> "Blueprint":
    import rerun.blueprint as rrb

    side: Any = rrb.Vertical(
        rrb.TextDocumentView(origin="instruction", name="instruction"),
        rrb.TimeSeriesView(origin="action", name="action"),
        rrb.TextLogView(origin="event", name="events"),
        row_shares=[1, 3, 2],
    )
    return rrb.Blueprint(
        rrb.Horizontal(rrb.Spatial2DView(origin="camera", name="camera"), side, column_shares=[3, 2]),
        collapse_panels=True,
    )
