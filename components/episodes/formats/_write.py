"""Recordings to episode files. What is written appears together or not at all; an episode that cannot be read is left
out and told, or, if asked for, ends the import."""

import filecmp
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from components.contracts.errors import EpisodeError
from components.episodes._writer import EpisodeWriter

from ._accounting import Tally
from ._conversion import Conversion, Recording, Remarks, Step, Unreadable

EPISODE_BYTES = 480 * 2**20
"""Decoded frames of one episode: ingest quarantines what declares more than 512 MiB."""

_OURS = {"exists", "counts"}
"""Rules whose breach is not the recording's fault."""


def write_episodes(
    recordings: Iterable[Recording | Unreadable],
    out: Path,
    remarks: Remarks,
    *,
    frames_per_episode: int | None = None,
    allow_partial: bool = False,
    unit: str | None = None,
    strict: bool = True,
) -> Conversion:
    """Write each recording as one episode file, or as several where it is too long for one.

    Args:
        recordings: in order; two of one name are told apart by a number.
        out: where the files go; created.
        remarks: what is noted and counted on the way.
        frames_per_episode: of longer recordings, as many frames go into one file.
        allow_partial: take what is there where the source declares more.
        unit: as which each recording is counted (`files`, `episodes`); None: not at all.
        strict: one that cannot be read ends the import; otherwise it is left out, counted and noted.

    Raises:
        EpisodeError: `exists`, other episodes have these names in `out`; `frames`, a recording's images change size;
            `partial` or `counts`, as `ImportCounts.settle` says. Nothing was written then.
    """
    with scratch_beside(out) as scratch:
        batch = _Batch(scratch, remarks, frames_per_episode, unit, strict=strict)
        for recording in recordings:
            batch.take(recording)
        if remarks.first_left_out and not batch.written:
            raise remarks.first_left_out
        counts = remarks.counts.settle(allow_partial=allow_partial)
        files = move_all([path for path, _ in batch.written], out)
    frames = sum(count for _, count in batch.written)
    return Conversion(tuple(files), len(files), frames, tuple(remarks.notes), tuple(remarks.lost), counts)


class _Batch:
    """The episodes of one import, in a folder of their own until all are written."""

    def __init__(
        self, folder: Path, remarks: Remarks, frames_per_episode: int | None, unit: str | None, *, strict: bool
    ) -> None:
        self._folder, self._remarks, self._frames_per_episode = folder, remarks, frames_per_episode
        self._tally = remarks.counts.of(unit) if unit else Tally("recordings")
        self._strict = strict
        self._names: set[str] = set()
        self.written: list[tuple[Path, int]] = []

    def take(self, recording: Recording | Unreadable) -> None:
        tally = self._tally
        tally.read += 1
        parts: list[tuple[Path, int]] = []
        try:
            if isinstance(recording, Unreadable):
                raise recording.error
            parts.extend(_parts(self._named(recording), self._folder, self._remarks, self._frames_per_episode))
        except EpisodeError as failure:
            if failure.rule in _OURS:
                raise
            error = _named_error(recording.label, failure)
            if self._strict:
                raise error from None
            for path, _ in parts:
                path.unlink()
            self._remarks.leave_out(tally.unit, error)
            tally.drop("unreadable")
            self._count(recording.frames, whole=False)
        else:
            self.written += parts
            tally.used += bool(parts)
            tally.drop("without a frame", not parts)
            self._count(recording.frames, whole=True)

    def _named(self, recording: Recording) -> Recording:
        name, number = recording.attributes.name, 2
        while name in self._names:
            name, number = f"{recording.attributes.name[:120]}-{number}", number + 1
        self._names.add(name)
        if name == recording.attributes.name:
            return recording
        self._remarks.note(f"another recording is named {recording.attributes.name} too: this one became {name}")
        return replace(recording, attributes=recording.attributes.model_copy(update={"name": name}))

    def _count(self, found: Tally | None, *, whole: bool) -> None:
        if found is None:
            return
        tally = self._remarks.counts.of(found.unit)
        tally.declared += found.declared
        tally.undeclared += found.undeclared
        tally.read += found.read if whole else max(found.read, found.declared)
        if whole:
            tally.used += found.used
            tally.dropped.update(found.dropped)
        else:
            tally.drop(f"in {self._tally.unit} that were left out", max(found.read, found.declared))


def _named_error(label: str, error: EpisodeError) -> EpisodeError:
    """The same error; its message names the recording."""
    return error if not label or label in str(error) else EpisodeError(error.rule, f"{label}: {error}")


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
