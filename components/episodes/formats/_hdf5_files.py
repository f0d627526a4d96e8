"""Other people's HDF5: RECON's trajectories and episode files that came by other ways than an upload. Whatever makes
HDF5 read another file (external and soft links, external storage, virtual datasets) is refused before it is read."""

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile
from typing import Annotated, Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from components.contracts.errors import ConfigurationError, DamagedImageError, EpisodeError
from components.episodes._episode import EpisodeAttributes
from components.episodes._hdf5 import read_episode

from ._accounting import Tally
from ._conversion import (
    Action,
    Conversion,
    Recording,
    Remarks,
    Step,
    Unreadable,
    as_name,
    checked_robot,
    commands_counted,
    drive,
)
from ._exporting import free_name, read_episodes, whole
from ._images import MAX_BYTES, check_size, read_image
from ._sources import files_in
from ._write import EPISODE_BYTES, write_episodes

RECON_HZ = 4.0
_MAX_FRAMES = 1_000_000
_OWN_DATASETS = ("images", "actions", "action_event_types")
_FILTERS = {"gzip", "lzf", None}
_Rate = TypeAdapter(Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)])


def import_recon(
    source: Path,
    out: Path,
    *,
    robot: str,
    rate_hz: float = RECON_HZ,
    instruction: str | None = None,
    strict: bool = False,
) -> Conversion:
    """RECON-style HDF5 trajectories: JPEG in `images/rgb_left`, `commands/linear_velocity` (m/s) and
    `commands/angular_velocity` (rad/s). linear_y is zero. `source` is `recon`.

    Args:
        source: a file, or a folder of .hdf5 and .h5 files.
        out: where the episode files go; created.
        robot: whose episodes these become.
        rate_hz: frames a second; the files do not tell it.
        instruction: what the robot was told; the files hold none.
        strict: refuse all for one damaged file or frame; otherwise it is left out, counted and noted.

    Raises:
        EpisodeError: `recon`, `image` or `frames`: what is wrong, and where. Nothing was written.
        ConfigurationError: no such robot id, or a senseless rate.
    """
    checked_robot(robot)
    try:
        _Rate.validate_python(rate_hz)
    except ValidationError:
        raise ConfigurationError(f"expected a rate over 0 and up to 1000 Hz, got {rate_hz}") from None
    remarks = Remarks()
    remarks.note(f"frames stand {1 / rate_hz:g} s apart: the files hold no times, the rate was given or assumed")
    remarks.note("linear_y is zero; linear_velocity is m/s, angular_velocity rad/s")
    remarks.lose("everything but images/rgb_left and commands (the other camera, GPS, IMU, lidar, collisions)")

    def recordings() -> Iterator[Recording]:
        for path in _listed(source, remarks):
            remarks.begin(path.name)
            session = as_name(re.sub(r"_r\d+$", "", path.stem))
            attributes = EpisodeAttributes(
                name=f"recon_{as_name(path.stem)}", robot=robot, session=f"{robot}-{session}",
                instruction=instruction, source="recon",
            )  # fmt: skip
            tally = Tally("frames")
            frames = _recon_frames(path, rate_hz, tally, None if strict else remarks)
            yield Recording(
                attributes, drive(commands_counted(frames, remarks, path.name)), frames=tally, label=path.name
            )

    return write_episodes(recordings(), out, remarks, unit="files", strict=strict)


def import_hdf5(source: Path, out: Path, *, robot: str, strict: bool = False) -> Conversion:
    """The robots' own episode files, from a disk instead of an upload: checked, and written anew under `robot`.

    Args:
        source: a file, or a folder of .h5 and .hdf5 files.
        out: where the episode files go; created.
        robot: whose episodes these become.
        strict: refuse all for one damaged file; otherwise it is left out, counted and noted.

    Raises:
        EpisodeError: with the rule that a file breaks. Nothing was written.
        ConfigurationError: no such robot id.
    """
    checked_robot(robot)
    remarks = Remarks()

    def recordings() -> Iterator[Recording | Unreadable]:
        for path in _listed(source, remarks):
            remarks.begin(path.name)
            try:
                yield _own_recording(path, robot)
            except EpisodeError as error:
                yield Unreadable(path.name, error)

    return write_episodes(recordings(), out, remarks, unit="files", strict=strict)


def _own_recording(path: Path, robot: str) -> Recording:
    with opened(path) as file:
        for name in _OWN_DATASETS:
            dataset(file, name, path)
    episode = read_episode(path, max_bytes=EPISODE_BYTES, fallback_name=as_name(path.stem))
    attributes = episode.attributes.model_copy(update={"robot": robot})
    count, duration_s = len(episode.images), attributes.total_duration_s or 0.0
    steps = (
        Step(image, _triple(action), event, duration_s * index / max(count - 1, 1))
        for index, (image, action, event) in enumerate(
            zip(episode.images, episode.actions, episode.events, strict=True)
        )
    )
    tally = Tally("frames", undeclared=count, read=count, used=count)  # what the file states is the checks' to compare
    return Recording(attributes, steps, attributes.total_duration_s, own=True, frames=tally, label=path.name)


def export_hdf5(files: Iterable[Path], out: Path) -> Conversion:
    """The robots' own files, as they are, under their episodes' names.

    Raises:
        EpisodeError: a file is no episode, there is none, or `out` holds something.
    """
    names, frames = list[str](), 0
    with whole(out) as folder:
        for path in files:
            episode = next(read_episodes([path]))
            target = free_name(folder, episode.attributes.name, ".h5")
            copyfile(path, target)
            names.append(target.name)
            frames += len(episode.images)
        if not names:
            next(read_episodes([]))
    return Conversion(tuple(out / name for name in names), len(names), frames)


def hdf5_files(source: Path) -> list[Path]:
    """Raises EpisodeError (`unreadable`) if there is none."""
    files = files_in(source, ".h5", ".hdf5") if source.is_dir() else [source]
    if not files or not files[0].is_file():
        raise EpisodeError("unreadable", f"{source}: expected an HDF5 file or a folder of them, found none")
    return files


def _listed(source: Path, remarks: Remarks) -> list[Path]:
    files = hdf5_files(source)
    remarks.counts.of("files").declared = len(files)
    return files


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise EpisodeError("unreadable", f"{path.name}: expected an HDF5 file, but: {error}") from None


def dataset(file: h5py.File, name: str, path: Path) -> Any:
    """A dataset that lies in this very file.

    Raises:
        EpisodeError: `missing-dataset`, or `link`, `external-storage`, `virtual-dataset`, `filter`.
    """
    group: Any = file
    for part in name.split("/"):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) and part in group else None
        if link is None:
            raise EpisodeError("missing-dataset", f"{path.name}: expected {name}, found {', '.join(file) or 'nothing'}")
        if not isinstance(link, h5py.HardLink):
            raise EpisodeError("link", f"{path.name}: expected {name} in this file, found a link to elsewhere")
        group = group[part]
    if not isinstance(group, h5py.Dataset):
        raise EpisodeError("missing-dataset", f"{path.name}: expected {name} to be a dataset, found a group")
    if group.external:
        raise EpisodeError("external-storage", f"{path.name}: expected {name} in this file, found it in others")
    if group.is_virtual:
        raise EpisodeError("virtual-dataset", f"{path.name}: expected {name} in this file, found a view of others")
    if group.compression not in _FILTERS:
        raise EpisodeError("filter", f"{path.name}: expected {name} as gzip, lzf or plain, found {group.compression}")
    return group


def _recon_frames(
    path: Path, rate_hz: float, tally: Tally, remarks: Remarks | None
) -> Iterator[tuple[NDArray[np.uint8], Action, float]]:
    """Each frame with its command. `remarks`: where a damaged frame is noted that is left out; None refuses it."""
    with opened(path) as file:
        images = dataset(file, "images/rgb_left", path)
        ahead, turn = (
            _series(dataset(file, f"commands/{name}_velocity", path), path) for name in ("linear", "angular")
        )
        count = tally.declared = len(images) if images.shape else 0
        if not count == len(ahead) == len(turn):
            raise EpisodeError(
                "recon", f"{path.name}: expected as many images as commands, found {count} images, {len(ahead)} linear "
                f"and {len(turn)} angular velocities"
            )  # fmt: skip
        for index in range(count):
            tally.read += 1
            try:
                image = _recon_image(images, index, f"{path.name}, images/rgb_left[{index}]")
            except DamagedImageError as error:
                if remarks is None:
                    raise
                tally.drop("damaged")
                remarks.leave_out("frames", error)
                continue
            tally.used += 1
            yield image, (float(ahead[index]), 0.0, float(turn[index])), index / rate_hz


def _recon_image(images: Any, index: int, where: str) -> NDArray[np.uint8]:
    """RECON keeps each image as the bytes of a JPEG: as text of fixed size, or as a row of bytes of any length."""
    if images.ndim == 4 and images.dtype == np.uint8 and images.shape[3] == 3:
        check_size(images.shape[2], images.shape[1], where)
        pixels: NDArray[np.uint8] = images[index]
        return pixels
    if images.ndim not in {1, 2} or math.prod(images.shape[1:]) * images.dtype.itemsize > MAX_BYTES:
        raise EpisodeError("recon", f"{where}: expected a JPEG's bytes, found {images.shape} {images.dtype}")
    cell = images[index]
    data = cell.tobytes() if isinstance(cell, np.ndarray | np.generic) else bytes(cell)
    return read_image(data, where)


def _series(found: Any, path: Path) -> NDArray[np.float64]:
    if found.ndim != 1 or found.dtype.kind not in "fiu" or len(found) > _MAX_FRAMES:
        raise EpisodeError(
            "recon", f"{path.name}: expected {found.name} of (T,) numbers, found {found.shape} {found.dtype}"
        )
    values: NDArray[np.float64] = found[...].astype(np.float64)
    return values


def _triple(action: NDArray[np.float32]) -> Action:
    x, y, turn = action.tolist()
    return x, y, turn
