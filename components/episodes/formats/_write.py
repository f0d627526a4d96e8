"""Recordings to episode files: all of an import or nothing."""

import filecmp
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from components.contracts.errors import EpisodeError
from components.episodes._writer import EpisodeWriter

from ._conversion import Conversion, Recording, Remarks, Step

EPISODE_BYTES = 480 * 2**20
"""Decoded frames of one episode: ingest quarantines what declares more than 512 MiB."""


def write_episodes(
    recordings: Iterable[Recording],
    out: Path,
    remarks: Remarks,
    *,
    frames_per_episode: int | None = None,
    allow_partial: bool = False,
) -> Conversion:
    """Write each recording as one episode file, or as several where it is too long for one.

    Raises:
        EpisodeError: `exists`, other episodes have these names in `out`; `frames`, a recording's images change size;
            `partial` or `counts`, as `ImportCounts.settle` says. Nothing was written then.
    """
    frames = 0
    with scratch_beside(out) as scratch:
        written = []
        for recording in recordings:
            for path, count in _parts(recording, scratch, remarks, frames_per_episode):
                written.append(path)
                frames += count
        counts = remarks.counts.settle(allow_partial=allow_partial)
        files = move_all(written, out)
    return Conversion(tuple(files), len(files), frames, tuple(remarks.notes), tuple(remarks.lost), counts)


@contextmanager
def scratch_beside(out: Path) -> Iterator[Path]:
    """A folder in `out`, for files that are moved to `out` when all are written."""
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".importing-", dir=out) as scratch:
        yield Path(scratch)


def move_all(files: list[Path], out: Path) -> list[Path]:
    """Move files into `out`, unless another of such a name is there. Equal ones are taken over."""
    for path in files:
        there = out / path.name
        if there.exists() and not filecmp.cmp(there, path, shallow=False):
            raise EpisodeError("exists", f"{there} holds another episode; import into another folder")
    return [path.replace(out / path.name) for path in files]


def _parts(
    recording: Recording, folder: Path, remarks: Remarks, frames_per_episode: int | None
) -> Iterator[tuple[Path, int]]:
    """(file, frames). A part after the first begins with a start frame of its own that shows its first image."""
    steps = iter(recording.steps)
    name = recording.attributes.name
    for part in itertools.count():
        step = next(steps, None)
        if step is None:
            if part == 0:
                remarks.note(f"{name}: no frames, left out")
            return
        most = None if recording.own else max(2, EPISODE_BYTES // step.image.nbytes)
        if most and frames_per_episode:
            most = min(most, frames_per_episode + 1)
        if part == 0:
            steps = itertools.chain([step], steps)
        else:
            remarks.note(f"{name}: longer than an episode may be ({most} frames): cut into several")
            steps = itertools.chain(_restart(step), steps)
        yield _write(recording, part, folder, itertools.islice(steps, most))


def _restart(step: Step) -> list[Step]:
    return [Step(step.image, (0.0, 0.0, 0.0), "episode_start", step.elapsed_s), step]


def _write(recording: Recording, part: int, folder: Path, steps: Iterator[Step]) -> tuple[Path, int]:
    first = next(steps)
    attributes = recording.attributes
    if part:
        attributes = attributes.model_copy(update={"name": f"{attributes.name[:120]}_part{part:03d}"})
    path = folder / f"{attributes.name}.h5"
    writer = EpisodeWriter(path, attributes, *first.image.shape[:2], sync=False)
    try:
        for step in itertools.chain([first], steps):
            _check_size(step, first, f"{attributes.name}, frame {writer.frames}")
            with np.errstate(over="ignore"):  # a command beyond float32 becomes infinite, and the checks say so
                writer.append(step.image, step.action, step.event, elapsed_s=step.elapsed_s - first.elapsed_s)
    except BaseException:
        writer.discard()
        raise
    writer.close(total_duration_s=recording.total_duration_s)
    return path, writer.frames


def _check_size(step: Step, first: Step, where: str) -> None:
    if step.image.shape != first.image.shape:
        one, other = (f"{shape[1]}x{shape[0]}" for shape in (first.image.shape, step.image.shape))
        raise EpisodeError(
            "frames", f"{where}: expected {one} pixels as the first, got {other}; an episode's frames are of one size"
        )
