"""Donkey Car tubs as episodes."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError

from components.contracts.errors import ConfigurationError, EpisodeError

from ._episode import EpisodeAttributes
from ._names import make_name
from ._tub import TubRecord, opened, read_records
from ._writer import EpisodeWriter

INSTRUCTION = "Follow the track"
_MAX_SIDE = 1920


def import_donkey(tub: Path, out: Path, *, robot: str, frames_per_episode: int = 50) -> list[Path]:
    """Cut a Donkey tub (version 2) into episode files.

    throttle becomes linear_x and angle angular_z as they are: proxies in [-1, 1] without a unit (`action_units` says
    `normalised`), and a positive angle steers to the right, where a robot's positive angular_z turns left. linear_y is
    0. Each episode begins with an `episode_start` of zero action that shows the first record's image, then
    `frames_per_episode` records follow (the last episode of a block may have fewer). Durations are by the tub's own
    clock, believable or not. A gap in the indices, or another session, begins a new collection session.

    Args:
        tub: the folder, or a tar archive of it (.tar, .tar.gz).
        out: where the files go; created. Importing again gives the same files.
        robot: whose episodes these become.
        frames_per_episode: records of an episode.

    Returns:
        The files in recording order; their names sort that way too.

    Raises:
        EpisodeError: `tub`, it is malformed: the message names file and line; `exists`, other episodes have these
            names in `out`. Nothing was written then.
        ConfigurationError: `robot` or `frames_per_episode` make no sense.
    """
    if frames_per_episode < 1:
        raise ConfigurationError(f"expected at least 1 frame an episode, got {frames_per_episode}")
    out.mkdir(parents=True, exist_ok=True)
    with opened(tub) as root, TemporaryDirectory(prefix=".importing-", dir=out) as scratch:
        records = read_records(root)
        begin = _moment(records[0])
        written = []
        moment = begin
        for block, index, chunk in _chunks(records, frames_per_episode):
            moment = max(moment, _moment(chunk[0]))  # a clock that was set back does not change the order
            try:
                attributes = EpisodeAttributes(
                    name=make_name(begin, "donkey", suffix=f"{index:06d}"),
                    robot=robot,
                    session=f"{robot}-{begin:%Y%m%d-%H%M%S}-{block:03d}",
                    collected_at=moment,
                    instruction=INSTRUCTION,
                    source="donkey",
                    action_units="normalised",
                )
            except ValidationError as error:
                raise ConfigurationError(f"expected a robot id such as donkey-1, got {robot!r}: {error}") from None
            written.append(_write(Path(scratch) / f"{attributes.name}.h5", attributes, chunk))
        return _moved(written, out)


def _moved(files: list[Path], out: Path) -> list[Path]:
    for path in files:
        there = out / path.name
        if there.exists() and there.read_bytes() != path.read_bytes():
            raise EpisodeError("exists", f"{there} holds another episode; import into another folder")
    return [path.replace(out / path.name) for path in files]


def _chunks(records: list[TubRecord], size: int) -> Iterator[tuple[int, int, list[TubRecord]]]:
    """(block, first index, records), never across a gap or a change of session."""
    breaks = [
        position + 1
        for position, (one, other) in enumerate(pairwise(records))
        if other.index != one.index + 1 or other.session != one.session
    ]
    for block, (start, stop) in enumerate(pairwise([0, *breaks, len(records)])):
        for first in range(start, stop, size):
            yield block, records[first].index, records[first : min(first + size, stop)]


def _write(path: Path, attributes: EpisodeAttributes, records: list[TubRecord]) -> Path:
    first = _image(records[0].image)
    with EpisodeWriter(path, attributes, *first.shape[:2], sync=False) as writer:
        writer.append(first, (0, 0, 0), "episode_start", elapsed_s=0)
        for record in records:
            image = _image(record.image)
            if image.shape != first.shape:
                raise EpisodeError(
                    "tub", f"{record.image.name}: expected {first.shape[1]}x{first.shape[0]} as the episode's first "
                    f"image, got {image.shape[1]}x{image.shape[0]}"
                )  # fmt: skip
            elapsed_s = (record.timestamp_ms - records[0].timestamp_ms) / 1000
            writer.append(image, (record.throttle, 0, record.angle), "start_action", elapsed_s=elapsed_s)
    return path


def _image(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB."""
    try:
        with Image.open(path) as image:
            if max(image.size) > _MAX_SIDE:
                raise EpisodeError("tub", f"{path.name}: expected at most {_MAX_SIDE} pixels a side, got {image.size}")
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise EpisodeError("tub", f"{path.name}: expected an image, but: {error}") from None


def _moment(record: TubRecord) -> datetime:
    try:
        return datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise EpisodeError(
            "tub", f"record {record.index}: expected _timestamp_ms since 1970, got {record.timestamp_ms}"
        ) from None
