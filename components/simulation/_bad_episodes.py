"""Five uploads that must be caught, for demonstrations and tests: each breaks one rule and is sound otherwise."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import h5py
import numpy as np

from components.episodes import EpisodeWriter, make_name
from components.robot import Uploader, UploadReport

from ._body import Motion
from ._camera import CAMERA_HEIGHT, CAMERA_WIDTH
from ._demonstration import Demonstration, DrivenFrame
from ._fleet import attributes_of
from ._plan import PlannedEpisode, plan_fleet

BAD_EPISODES = ("truncated", "wrong-shape", "nan-action", "duplicate", "external-link")
"""In the order of their recording times."""


def write_bad_episodes(
    folder: Path,
    original: PlannedEpisode | None = None,
    *,
    motion: Motion | None = None,
    width: int = CAMERA_WIDTH,
    height: int = CAMERA_HEIGHT,
) -> dict[str, Path]:
    """Write the five files. Equal arguments give equal bytes.

    Args:
        folder: there already.
        original: a planned episode; `duplicate` holds its frames and actions under another name and time, so in other
            bytes. It is one only where the original was simulated with the same motion and size. None takes episode 0
            of `plan_fleet(4, 96)`.
        motion: what a press does.
        width, height: of the frames.

    Returns:
        Kind -> file, in the order of BAD_EPISODES: `truncated` ends after half of its bytes, `wrong-shape` has images
        without colours, `nan-action` has one action that is no number, `external-link` keeps its images in a file of
        someone else's.
    """
    original = original or plan_fleet(4, 96)[0]
    frames = list(Demonstration(original.scenario(), motion=motion, width=width, height=height))
    spoil: dict[str, Callable[[Path], None]] = {
        "truncated": _truncate,
        "wrong-shape": _drop_colours,
        "nan-action": _put_nan,
        "duplicate": lambda path: None,
        "external-link": _link_outside,
    }
    written = {}
    for hours, kind in enumerate(BAD_EPISODES, start=1):
        written[kind] = _write(folder, original, frames, kind, hours)
        spoil[kind](written[kind])
    return written


def plant_bad_episodes(
    uploader: Uploader,
    original: PlannedEpisode | None = None,
    *,
    width: int = CAMERA_WIDTH,
    height: int = CAMERA_HEIGHT,
) -> tuple[dict[str, str], UploadReport]:
    """Put the five files into a robot's spool and upload them, as a robot with a broken disk or a bad mind would.

    Returns:
        Kind -> episode name, and what the uploader did.

    Raises:
        SpoolFullError: the spool has no room for them.
    """
    spool = uploader.spool
    folder = spool.folder / "planted"
    folder.mkdir(exist_ok=True)
    names = {}
    for kind, path in write_bad_episodes(folder, original, width=width, height=height).items():
        spool.add(path)
        path.unlink()
        names[kind] = path.stem
    folder.rmdir()
    return names, uploader.sync()


def _write(folder: Path, original: PlannedEpisode, frames: list[DrivenFrame], kind: str, hours: int) -> Path:
    """The sound episode, under a name of its own."""
    recorded_at = original.recorded_at + timedelta(days=40, hours=hours)
    name = make_name(recorded_at, original.scenario_name, original.pattern, original.distance, suffix=kind)
    path = folder / f"{name}.h5"
    path.unlink(missing_ok=True)
    attributes = attributes_of(original).model_copy(
        update={"name": name, "collected_at": recorded_at, "session": "planted"}
    )
    height, width = frames[0].image.shape[:2]
    with EpisodeWriter(path, attributes, height, width) as writer:
        for frame in frames:
            writer.append(frame.image, frame.action, frame.event, elapsed_s=frame.elapsed_s)
    return path


def _truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _drop_colours(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        grey = file["images"][..., 0]
        del file["images"]
        file.create_dataset("images", data=grey, compression="gzip", compression_opts=1, chunks=(1, *grey.shape[1:]))


def _put_nan(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["actions"][5, 0] = np.nan


def _link_outside(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["images"]
        file["images"] = h5py.ExternalLink("/etc/passwd", "/images")
