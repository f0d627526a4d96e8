"""Donkey Car tubs as episodes."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import ConfigurationError, EpisodeError
from components.episodes._episode import EpisodeAttributes
from components.episodes._names import make_name

from ._conversion import Conversion, Recording, Remarks, Step, as_name, checked_robot
from ._images import read_image
from ._tub import RecordReader, TubRecord, opened
from ._write import write_episodes

INSTRUCTION = "Follow the track"

_Seen = tuple[TubRecord, NDArray[np.uint8]]


def import_donkey(
    tub: Path,
    out: Path,
    *,
    robot: str,
    frames_per_episode: int = 50,
    strict: bool = False,
    allow_partial: bool = False,
) -> Conversion:
    """Cut Donkey tubs (version 2) into episode files.

    throttle becomes linear_x and angle angular_z as they are: proxies in [-1, 1] without a unit (`action_units` says
    `normalised`), and a positive angle steers to the right, where a robot's positive angular_z turns left. linear_y is
    0. Each episode begins with an `episode_start` of zero action that shows the first record's image, then
    `frames_per_episode` records follow (the last episode of a block may have fewer). Durations are by the tub's own
    clock, believable or not. A gap in the indices, another session or another size of the images begins a new
    collection session.

    Args:
        tub: the folder, one that holds several tubs, or a tar or zip archive of either.
        out: where the files go; created. Importing again gives the same files.
        robot: whose episodes these become.
        frames_per_episode: records of an episode.
        strict: refuse all for one damaged record; otherwise it is left out, counted and noted.
        allow_partial: take what is there where the tub's manifests declare more records.

    Returns:
        What was written: the files in recording order; their names sort that way too.

    Raises:
        EpisodeError: `tub`, it is malformed: the message names file and line; `partial`, it declares more than it
            holds; `exists`, other episodes have these names in `out`. Nothing was written then.
        ConfigurationError: `robot` or `frames_per_episode` make no sense.
    """
    if frames_per_episode < 1:
        raise ConfigurationError(f"expected at least 1 frame an episode, got {frames_per_episode}")
    checked_robot(robot)
    out.mkdir(parents=True, exist_ok=True)
    remarks = Remarks()

    def recordings(roots: list[Path]) -> Iterator[Recording]:
        for root in roots:
            reader = RecordReader(root, remarks, remarks.counts.of("records"), strict)
            title = as_name(root.name, 40) if len(roots) > 1 else ""
            yield from _recordings(reader, robot, frames_per_episode, title)

    with opened(tub) as roots:
        if len(roots) > 1:
            remarks.note(f"{len(roots)} tubs: {', '.join(root.name for root in roots)}")
        done = write_episodes(recordings(roots), out, remarks, allow_partial=allow_partial)
    if not done.files:
        raise EpisodeError("tub", f"{tub.name}: expected records, found none that is not deleted")
    return done


def _recordings(reader: RecordReader, robot: str, frames_per_episode: int, title: str) -> Iterator[Recording]:
    """Episodes of one tub; `title` tells several tubs apart."""
    records = reader.records()
    if not records:
        return
    begin = moment = records[0].moment
    session = f"{robot}-{begin:%Y%m%d-%H%M%S}" + (f"-{title}" if title else "")
    numbered = _numbered(_seen(records, reader), frames_per_episode)
    for (block, _), members in itertools.groupby(numbered, key=lambda item: item[0]):
        first = next(members)[1]
        moment = max(moment, first[0].moment)  # a clock that was set back does not change the order
        index = f"{first[0].index:06d}"
        attributes = EpisodeAttributes(
            name=make_name(begin, "donkey", suffix=f"{title}_{index}" if title else index),
            robot=robot,
            session=f"{session}-{block:03d}",
            collected_at=moment,
            instruction=INSTRUCTION,
            source="donkey",
            action_units="normalised",
        )
        yield Recording(attributes, _steps(itertools.chain([first], (seen for _, seen in members))))  # noqa: B031


def _seen(records: list[TubRecord], reader: RecordReader) -> Iterator[_Seen]:
    """Each record whose image is whole, with the image."""
    for record in records:
        try:
            image = read_image(record.image.read_bytes(), record.image.name)
        except EpisodeError as error:
            reader.leave_out(error, "with a damaged image")
            continue
        reader.tally.used += 1
        yield record, image


def _numbered(seen: Iterator[_Seen], size: int) -> Iterator[tuple[tuple[int, int], _Seen]]:
    """With (block, number of the episode in it): a block has no gap, no change of session and one size of images."""
    block = count = 0
    last: _Seen | None = None
    for record, image in seen:
        if last and (
            record.index != last[0].index + 1 or record.session != last[0].session or image.shape != last[1].shape
        ):
            block, count = block + 1, 0
        yield (block, count // size), (record, image)
        count += 1
        last = record, image


def _steps(members: Iterator[_Seen]) -> Iterator[Step]:
    begin_ms: float | None = None
    for record, image in members:
        if begin_ms is None:
            begin_ms = record.timestamp_ms
            yield Step(image, (0.0, 0.0, 0.0), "episode_start", 0.0)
        elapsed_s = (record.timestamp_ms - begin_ms) / 1000
        yield Step(image, (record.throttle, 0.0, record.angle), "start_action", elapsed_s)
