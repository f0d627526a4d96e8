"""LeRobotDataset v3 and v2.1 as episodes. Loads `pyarrow` and, for videos, `av`."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.contracts.errors import EpisodeError
from components.episodes._episode import EpisodeAttributes

from ._conversion import Action, Recording, Remarks, Step, as_name, drive
from ._images import read_image
from ._lerobot_info import AxisSource, LeRobotInfo, fill, inside, read_text
from ._lerobot_tables import OWN_COLUMN
from ._own import OwnEpisode, read_own_episode

_GROUP_BYTES = 512 * 2**20
_META_ROWS = 1_000_000
_MAX_TEXT = 512


@dataclass(frozen=True)
class _Entry:
    """One episode of the dataset's index."""

    index: int
    length: int
    data: Path
    tasks: tuple[str, ...]
    video: Path | None
    video_from_s: float
    own: str | None


@dataclass
class LeRobotReader:
    """Reads episodes in order; a file that several share is opened once."""

    root: Path
    info: LeRobotInfo
    camera: str
    action: str
    axes: list[AxisSource]
    robot: str
    remarks: Remarks
    _rows: "tuple[Path, Iterator[dict[str, Any]]] | None" = field(default=None, init=False)
    _video: Any = field(default=None, init=False)

    def recordings(self) -> Iterator[Recording]:
        entries = self._v3() if self.info.version == "v3.0" else self._v21()
        title = as_name(self.root.resolve().name)
        for entry in entries:
            if entry.own is not None:
                own = read_own_episode(entry.own, self.robot, f"{title}, episode {entry.index}")
                yield Recording(own.attributes, self._own(entry, own), own.attributes.total_duration_s, own=True)
            else:
                yield Recording(self._attributes(entry, title), drive(self._frames(entry)))

    def _attributes(self, entry: _Entry, title: str) -> EpisodeAttributes:
        if len(entry.tasks) > 1:
            self.remarks.lose("all but the first task of an episode that has several")
        task = entry.tasks[0] if entry.tasks else ""
        if len(task) > _MAX_TEXT:
            self.remarks.lose(f"a task's text after {_MAX_TEXT} characters")
        return EpisodeAttributes(
            name=f"lerobot_{title}_{entry.index:06d}", robot=self.robot, session=f"{self.robot}-{title}",
            instruction=task[:_MAX_TEXT] or None, source="lerobot",
        )  # fmt: skip

    def _own(self, entry: _Entry, own: OwnEpisode) -> Iterator[Step]:
        events = own.events or ()
        if len(events) != entry.length:
            raise EpisodeError("lerobot", f"episode {entry.index}: expected {entry.length} events, got {len(events)}")
        for event, (image, action, elapsed_s) in zip(events, self._frames(entry), strict=True):
            yield Step(image, action, event, elapsed_s)

    def _frames(self, entry: _Entry) -> Iterator[tuple[NDArray[np.uint8], Action, float]]:
        first_s = None
        for row in self._rows_of(entry):
            time_s = _number(row.get("timestamp"), f"episode {entry.index}, timestamp")
            first_s = time_s if first_s is None else first_s
            yield self._image(row, entry, time_s), self._action(row, entry), time_s - first_s

    def _action(self, row: dict[str, Any], entry: _Entry) -> Action:
        values, found = row.get(self.action), {"linear_x": 0.0, "linear_y": 0.0, "angular_z": 0.0}
        for source in self.axes:
            if not isinstance(values, list) or len(values) <= source.index:
                raise EpisodeError(
                    "lerobot", f"episode {entry.index}: expected {self.action} to be a list with {source.name}"
                )
            value = values[source.index]
            if not isinstance(value, int | float):
                raise EpisodeError("lerobot", f"episode {entry.index}: expected {source.name} a number, got {value!r}")
            found[source.axis] = value * source.factor if source.factor != 1 else value
        return found["linear_x"], found["linear_y"], found["angular_z"]

    def _image(self, row: dict[str, Any], entry: _Entry, time_s: float) -> NDArray[np.uint8]:
        if entry.video is None:
            cell = row.get(self.camera)
            data = cell.get("bytes") if isinstance(cell, dict) else None
            if not isinstance(data, bytes):
                raise EpisodeError(
                    "lerobot", f"episode {entry.index}: expected {self.camera}'s images inside the parquet file"
                )
            return read_image(data, f"episode {entry.index}, {self.camera}")
        from ._video import VideoReader

        if self._video is None or self._video[0] != entry.video:
            self._video = (entry.video, VideoReader(entry.video, tolerance_s=0.75 / self.info.fps))
        image: NDArray[np.uint8] = self._video[1].at(entry.video_from_s + time_s)
        return image

    def _rows_of(self, entry: _Entry) -> Iterator[dict[str, Any]]:
        if self._rows is None or self._rows[0] != entry.data:
            columns = [self.action, "timestamp", "episode_index"]
            columns += [] if entry.video else [self.camera]
            self._rows = (entry.data, _rows(entry.data, columns, batch=512 if entry.video else 8))
        taken = 0
        for row in self._rows[1]:
            if row["episode_index"] == entry.index:
                yield row
                taken += 1
                if taken == entry.length:
                    return
        raise EpisodeError(
            "lerobot",
            f"{entry.data.name}: expected {entry.length} rows of episode {entry.index} in order, found {taken}",
        )

    def _v3(self) -> Iterator[_Entry]:
        is_video = self.info.features[self.camera].dtype == "video"
        names = sorted(path.relative_to(self.root).as_posix() for path in self.root.glob("meta/episodes/*/*.parquet"))
        if not names:
            raise EpisodeError("lerobot", f"{self.root}: expected meta/episodes/*/*.parquet, found none")
        video = f"videos/{self.camera}"
        wanted = ["episode_index", "tasks", "length", "data/chunk_index", "data/file_index", OWN_COLUMN]
        if is_video:
            wanted += [f"{video}/chunk_index", f"{video}/file_index", f"{video}/from_timestamp"]
        for name in names:
            for row in _rows(inside(self.root, name), wanted, batch=256, optional={OWN_COLUMN, "tasks"}):
                where = f"{name}, episode {row['episode_index']}"
                chunk, file = (_whole(row[f"data/{part}_index"], where) for part in ("chunk", "file"))
                yield _Entry(
                    _whole(row["episode_index"], where), _whole(row["length"], where),
                    inside(self.root, fill(self.info.data_path, chunk_index=chunk, file_index=file)),
                    tuple(task for task in row.get("tasks") or () if isinstance(task, str)),
                    self._v3_video(row, video, where) if is_video else None,
                    _number(row[f"{video}/from_timestamp"], where) if is_video else 0.0,
                    row.get(OWN_COLUMN),
                )  # fmt: skip

    def _v3_video(self, row: dict[str, Any], video: str, where: str) -> Path:
        chunk, file = (_whole(row[f"{video}/{part}_index"], where) for part in ("chunk", "file"))
        template = self.info.video_path or ""
        return inside(self.root, fill(template, video_key=self.camera, chunk_index=chunk, file_index=file))

    def _v21(self) -> Iterator[_Entry]:
        is_video = self.info.features[self.camera].dtype == "video"
        for number, line in enumerate(read_text(self.root, "meta/episodes.jsonl").splitlines(), 1):
            if not line.strip():
                continue
            where = f"meta/episodes.jsonl, line {number}"
            try:
                row = json.loads(line)
                index, length = _whole(row["episode_index"], where), _whole(row["length"], where)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise EpisodeError("lerobot", f"{where}: expected an episode's JSON, but: {error!r}") from None
            values = {"episode_chunk": index // self.info.chunks_size, "episode_index": index}
            data = inside(self.root, fill(self.info.data_path, **values))
            template = self.info.video_path or ""
            video = inside(self.root, fill(template, video_key=self.camera, **values)) if is_video else None
            tasks = row.get("tasks") or ()
            yield _Entry(index, length, data, tuple(task for task in tasks if isinstance(task, str)), video, 0.0, None)


def _rows(path: Path, columns: list[str], *, batch: int, optional: set[str] = frozenset()) -> Iterator[dict[str, Any]]:  # type: ignore[assignment]
    """Rows of a parquet file, a few in memory at a time.

    Raises:
        EpisodeError: `lerobot`, no parquet file, a column is missing, or a row group that unpacks to too much.
    """
    try:
        with pq.ParquetFile(path) as file:
            there = set(file.schema_arrow.names)
            if missing := [name for name in columns if name not in there and name not in optional]:
                raise EpisodeError(
                    "lerobot",
                    f"{path.name}: expected columns {', '.join(missing)}, found {', '.join(sorted(there)[:30])}",
                )
            groups = [file.metadata.row_group(index).total_byte_size for index in range(file.num_row_groups)]
            if max(groups, default=0) > _GROUP_BYTES or file.metadata.num_rows > _META_ROWS * 100:
                raise EpisodeError(
                    "lerobot",
                    f"{path.name}: expected row groups of at most {_GROUP_BYTES} bytes, got {max(groups, default=0)}",
                )
            for records in file.iter_batches(batch, columns=[name for name in columns if name in there]):
                yield from records.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise EpisodeError("lerobot", f"{path.name}: expected a parquet file, but: {error}") from None


def _whole(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
        raise EpisodeError("lerobot", f"{where}: expected a whole number from 0 on, got {value!r}")
    return value


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise EpisodeError("lerobot", f"{where}: expected a finite number, got {value!r}")
    return float(value)
