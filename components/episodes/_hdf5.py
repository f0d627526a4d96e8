"""The robots' HDF5 file, read and written: `images` (T, H, W, 3) uint8, `actions` (T, 3) float32,
`action_event_types` (T,) UTF-8, all gzip, and attributes."""

import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from components.contracts.errors import EpisodeError

from ._episode import Episode, EpisodeAttributes
from ._zlib import GZIP_LEVEL

MAX_BYTES = 2 * 2**30
"""Decoded frames of one episode."""

_ATTRIBUTES = {
    "episode_name": "name",
    "robot": "robot",
    "collection_session": "session",
    "collection_datetime": "collected_at",
    "instruction": "instruction",
    "source": "source",
    "renderer": "renderer",
    "obstacle_layout_type": "scenario",
    "position": "position",
    "time_period": "time_period",
    "action_chunk_size": "action_chunk_size",
    "total_duration": "total_duration_s",
    "num_frames": "num_frames",
    "colour_order": "colour_order",
    "action_units": "action_units",
}


def read_episode(path: Path, *, max_bytes: int = MAX_BYTES, fallback_name: str | None = None) -> Episode:
    """Read an episode file that is trusted, or that a structure scan has passed.

    Attributes that are missing or make no sense are taken as absent; frames and actions are taken as they are, so
    actions may hold NaN. Frames stored as BGR come back as RGB. A file that states no name is named `fallback_name`, or
    as the file is.

    Raises:
        EpisodeError: with the rule `unreadable`, `missing-dataset`, `shape`, `type`, `length` or `too-large`.
    """
    try:
        with h5py.File(path, "r") as file:
            images, actions, events = (_dataset(file, name) for name in ("images", "actions", "action_event_types"))
            _check_shapes(path, images, actions, events, max_bytes)
            attributes = file_attributes(file, fallback_name=fallback_name or path.stem)
            frames: NDArray[np.uint8] = images[...]
            if attributes.colour_order == "bgr":
                swap_red_and_blue(frames)
            return Episode(frames, actions[...].astype(np.float32), _texts(events), attributes)
    except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
        raise EpisodeError("unreadable", f"{path.name}: expected an HDF5 episode file, but: {error}") from None


def file_attributes(file: h5py.File, *, fallback_name: str) -> EpisodeAttributes:
    """What an open file says about itself; whatever is missing or makes no sense is absent.

    Raises:
        EpisodeError: rule `name`: neither the file nor `fallback_name` gives one.
    """
    return attributes_from(_plain(file.attrs), fallback_name=fallback_name)


def swap_red_and_blue(frames: NDArray[np.uint8]) -> None:
    """In place: three times as fast as a reversed copy."""
    red = frames[..., 0].copy()
    frames[..., 0] = frames[..., 2]
    frames[..., 2] = red


def attributes_from(found: Mapping[str, Any], *, fallback_name: str) -> EpisodeAttributes:
    """Build attributes from what a file says, dropping whatever is not of its type."""
    fields: dict[str, Any] = {"name": fallback_name}
    for stored, field in _ATTRIBUTES.items():
        value = found.get(stored)
        if value is None:
            continue
        if field == "name":
            value = str(value).removesuffix(".h5")
        elif field == "collected_at":
            value = _moment(value)
        elif field == "total_duration_s" and not (isinstance(value, int | float) and math.isfinite(value)):
            continue
        with suppress(ValidationError):
            EpisodeAttributes.model_validate(fields | {field: value})
            fields[field] = value
    try:
        return EpisodeAttributes.model_validate(fields)
    except ValidationError:
        raise EpisodeError(
            "name", f"expected a name of letters, digits, '.', '_' and '-' (128 at most), got {fallback_name!r}"
        ) from None


def attributes_to(attributes: EpisodeAttributes) -> dict[str, Any]:
    """The file's attributes; absent ones are left out."""
    values = attributes.model_dump(exclude_none=True)
    stored = {name: values[field] for name, field in _ATTRIBUTES.items() if field in values}
    if "collection_datetime" in stored:
        stored["collection_datetime"] = stored["collection_datetime"].isoformat()
    return stored


def write_file(
    path: Path,
    attributes: EpisodeAttributes,
    *,
    shape: tuple[int, int],
    compressed_frames: Iterable[bytes],
    actions: NDArray[np.float32],
    events: list[str],
) -> None:
    """Write the whole file beside `path`, force it to disk, then give it its name. Frames come as zlib streams of
    (H, W, 3) BGR and are stored as they are."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # a killed writer's, or a link; made anew below, never followed
    try:
        _write(part, attributes, shape=shape, compressed_frames=compressed_frames, actions=actions, events=events)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    except RuntimeError as error:  # what h5py makes of a failed write when it closes the file
        raise OSError(f"{part.name} could not be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write(
    part: Path,
    attributes: EpisodeAttributes,
    *,
    shape: tuple[int, int],
    compressed_frames: Iterable[bytes],
    actions: NDArray[np.float32],
    events: list[str],
) -> None:
    frames = len(events)
    with h5py.File(part, "x", libver=("earliest", "v110")) as file:
        images = file.create_dataset(
            "images", (frames, *shape, 3), np.uint8, chunks=(1, *shape, 3), compression="gzip",
            compression_opts=GZIP_LEVEL,
        )  # fmt: skip
        for index, data in enumerate(compressed_frames):
            images.id.write_direct_chunk((index, 0, 0, 0), data)
        file.create_dataset("actions", data=actions, compression="gzip", compression_opts=GZIP_LEVEL)
        file.create_dataset(
            "action_event_types", data=events, dtype=h5py.string_dtype("utf-8"), compression="gzip",
            compression_opts=GZIP_LEVEL,
        )  # fmt: skip
        file.attrs.update(attributes_to(attributes))


def sync_folder(folder: Path) -> None:
    """Force a folder's names to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _dataset(file: h5py.File, name: str) -> Any:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise EpisodeError("missing-dataset", f"expected a dataset {name!r}, found {', '.join(file) or 'nothing'}")
    return found


def _check_shapes(path: Path, images: Any, actions: Any, events: Any, max_bytes: int) -> None:
    if images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape:
        raise EpisodeError("shape", f"{path.name}: expected images of (T, H, W, 3), found {images.shape}")
    if images.dtype != np.uint8:
        raise EpisodeError("type", f"{path.name}: expected images of uint8, found {images.dtype}")
    if actions.dtype.kind != "f":
        raise EpisodeError("type", f"{path.name}: expected actions of float32, found {actions.dtype}")
    if math.prod(images.shape) > max_bytes:
        raise EpisodeError(
            "too-large", f"{path.name}: expected at most {max_bytes} bytes of frames, found {math.prod(images.shape)}"
        )
    if actions.ndim != 2 or actions.shape[1] != 3:
        raise EpisodeError("shape", f"{path.name}: expected actions of (T, 3), found {actions.shape}")
    if events.ndim != 1 or events.dtype.kind not in "OS":
        raise EpisodeError("shape", f"{path.name}: expected event types of (T,) text, found {events.shape}")
    if not len(images) == len(actions) == len(events):
        lengths = f"{len(images)} frames, {len(actions)} actions, {len(events)} events"
        raise EpisodeError("length", f"{path.name}: expected as many of each, found {lengths}")


def _plain(attributes: Any) -> dict[str, Any]:
    """HDF5 attributes as Python scalars and text; what is neither is left out."""
    plain: dict[str, Any] = {}
    for name in _ATTRIBUTES:
        try:
            value = attributes.get(name)
        except (OSError, TypeError, ValueError, RuntimeError):  # a type that h5py cannot read
            continue
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
            value = value.rstrip(" ") if has_space_padding(attributes.get_id(name)) else value
        if isinstance(value, str | int | float):
            plain[name] = value
    return plain


def has_space_padding(stored: h5py.h5d.DatasetID | h5py.h5a.AttrID) -> bool:
    """Texts of a fixed size that end where their spaces begin, as Fortran writes them; h5py leaves the spaces there."""
    kind = stored.get_type()
    return isinstance(kind, h5py.h5t.TypeStringID) and kind.get_strpad() == h5py.h5t.STR_SPACEPAD


def _texts(events: h5py.Dataset) -> tuple[str, ...]:
    padded = has_space_padding(events.id)
    texts = (value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in events[...].tolist())
    return tuple(text.rstrip(" ") if padded else text for text in texts)


def _moment(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None
