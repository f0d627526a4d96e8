"""Donkey Car tubs as episodes."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from components.contracts.errors import ConfigurationError, EpisodeError
from components.episodes._episode import EpisodeAttributes
from components.episodes._names import make_name

from ._conversion import Recording, Remarks, Step, checked_robot
from ._images import read_image
from ._tub import TubRecord, opened, read_records
from ._write import write_episodes

INSTRUCTION = "Follow the track"


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
    checked_robot(robot)
    out.mkdir(parents=True, exist_ok=True)
    with opened(tub) as root:
        recordings = _recordings(read_records(root), robot, frames_per_episode)
        return list(write_episodes(recordings, out, Remarks()).files)


def _recordings(records: list[TubRecord], robot: str, frames_per_episode: int) -> Iterator[Recording]:
    begin = moment = _moment(records[0])
    for block, index, chunk in _chunks(records, frames_per_episode):
        moment = max(moment, _moment(chunk[0]))  # a clock that was set back does not change the order
        attributes = EpisodeAttributes(
            name=make_name(begin, "donkey", suffix=f"{index:06d}"),
            robot=robot,
            session=f"{robot}-{begin:%Y%m%d-%H%M%S}-{block:03d}",
            collected_at=moment,
            instruction=INSTRUCTION,
            source="donkey",
            action_units="normalised",
        )
        yield Recording(attributes, _steps(chunk))


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


def _steps(records: list[TubRecord]) -> Iterator[Step]:
    first = read_image(records[0].image.read_bytes(), records[0].image.name)
    yield Step(first, (0.0, 0.0, 0.0), "episode_start", 0.0)
    for record in records:
        elapsed_s = (record.timestamp_ms - records[0].timestamp_ms) / 1000
        image = read_image(record.image.read_bytes(), record.image.name)
        yield Step(image, (record.throttle, 0.0, record.angle), "start_action", elapsed_s)


def _moment(record: TubRecord) -> datetime:
    try:
        return datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise EpisodeError(
            "tub", f"record {record.index}: expected _timestamp_ms since 1970, got {record.timestamp_ms}"
        ) from None
