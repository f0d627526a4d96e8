"""LeRobotDataset v3 and v2.1 as episodes. Loads `pyarrow` and, for videos, `av`."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import DamagedImageError, EpisodeError
from components.episodes._episode import EpisodeAttributes

from ._accounting import Tally
from ._conversion import Action, Recording, Remarks, Step, Unreadable, as_name, commands_counted, drive
from ._images import read_image
from ._lerobot_index import Entry, read_entries, read_tasks, real, rows
from ._lerobot_info import AxisSource, LeRobotInfo, MissingFileError, inside
from ._own import OwnEpisode, read_own_episode
from ._sources import is_side_file

_MAX_TEXT = 512

_Row = dict[str, Any]
_Frame = tuple[NDArray[np.uint8], Action, float]


@dataclass
class LeRobotReader:
    """Reads episodes in the index's order; a file that several share is opened once."""

    root: Path
    info: LeRobotInfo
    camera: str
    action: str
    axes: list[AxisSource]
    robot: str
    remarks: Remarks
    strict: bool = False
    _tasks: dict[int, str] = field(default_factory=dict, init=False)
    _groups: "tuple[str, Iterator[tuple[int, Iterator[_Row]]]] | None" = field(default=None, init=False)
    _places: dict[int, str] | None = field(default=None, init=False)
    _video: Any = field(default=None, init=False)

    def recordings(self) -> Iterator[Recording | Unreadable]:
        """One an episode of the index. What info.json and the index declare is compared with what is read."""
        self._tasks = read_tasks(self.root, self.info, self.remarks)
        title = as_name(self.root.resolve().name)
        episodes, frames = self.remarks.counts.of("episodes"), self.remarks.counts.of("frames")
        listed = length = 0
        for entry in read_entries(self.root, self.info, self.camera):
            listed, episodes.declared = listed + 1, episodes.declared + 1
            if isinstance(entry, EpisodeError):
                yield Unreadable("", entry)
                continue
            length += entry.length
            try:
                yield self._recording(entry, title)
            except MissingFileError as error:
                frames.declared += entry.length
                self.remarks.leave_out("episodes", error)
            except EpisodeError as error:
                yield Unreadable(f"episode {entry.index}", error, Tally("frames", declared=entry.length))
        episodes.declared += max(self.info.total_episodes - listed, 0)
        frames.declared += max(self.info.total_frames - length, 0)
        if self.info.total_episodes > listed:
            self.remarks.note(f"info.json states {self.info.total_episodes} episodes, the index lists {listed}")

    def _recording(self, entry: Entry, title: str) -> Recording:
        tally, label = Tally("frames", declared=entry.length), f"episode {entry.index}"
        found = self._rows_of(entry)
        first = next(found, None)
        counted = itertools.chain([first] if first else [], found)
        frames = commands_counted(self._frames(counted, entry, tally), self.remarks, label)
        if entry.own is not None:
            own = read_own_episode(entry.own, self.robot, f"{title}, episode {entry.index}")
            steps, duration_s = self._own(frames, entry, own), own.attributes.total_duration_s
            return Recording(own.attributes, steps, duration_s, own=True, frames=tally, label=label)
        return Recording(self._attributes(first or {}, entry, title), drive(frames), frames=tally, label=label)

    def _attributes(self, first: _Row, entry: Entry, title: str) -> EpisodeAttributes:
        task = self._task(first, entry)
        if len(task) > _MAX_TEXT:
            self.remarks.lose(f"a task's text after {_MAX_TEXT} characters")
        return EpisodeAttributes(
            name=f"lerobot_{title}_{entry.index:06d}", robot=self.robot, session=f"{self.robot}-{title}",
            instruction=task[:_MAX_TEXT] or None, source="lerobot",
        )  # fmt: skip

    def _task(self, first: _Row, entry: Entry) -> str:
        """The text that `task_index` points at, as lerobot's loader gives it; the index's copy where it points at
        none."""
        if len(entry.tasks) > 1:
            self.remarks.lose("all but the first task of an episode that has several")
        listed = entry.tasks[0] if entry.tasks else ""
        text = self._tasks.get(first.get("task_index", -1))
        if text is None:
            self.remarks.note("episodes whose rows point at no text of meta/tasks have the text that the index gives")
            return listed
        if entry.tasks and text not in entry.tasks:
            self.remarks.note(
                f"episode {entry.index}: its rows' task_index means {text!r}, the index says {listed!r}; the rows "
                "count, as for lerobot's loader"
            )
        return text

    def _own(self, frames: Iterator[_Frame], entry: Entry, own: OwnEpisode) -> Iterator[Step]:
        events = own.events or ()
        if len(events) != entry.length:
            raise EpisodeError("lerobot", f"episode {entry.index}: expected {entry.length} events, got {len(events)}")
        try:
            for event, (image, action, elapsed_s) in zip(events, frames, strict=True):
                yield Step(image, action, event, elapsed_s)
        except ValueError:
            raise EpisodeError(
                "lerobot", f"episode {entry.index}: expected {entry.length} whole frames, found fewer"
            ) from None

    def _frames(self, found: Iterator[_Row], entry: Entry, tally: Tally) -> Iterator[_Frame]:
        first_s = task = None
        for row in found:
            tally.read += 1
            where = f"episode {entry.index}, frame {tally.read - 1}"
            time_s = real(row.get("timestamp"), f"episode {entry.index}, timestamp")
            first_s = time_s if first_s is None else first_s
            task = row.get("task_index") if task is None else task
            if row.get("task_index") != task:
                self.remarks.lose("all but the first task of an episode that has several")
            action = self._action(row, entry)
            try:
                image = self._image(row, entry, time_s, where)
            except DamagedImageError as error:
                if self.strict:
                    raise
                tally.drop("damaged")
                self.remarks.leave_out("frames", error)
                continue
            tally.used += 1
            yield image, action, time_s - first_s

    def _action(self, row: _Row, entry: Entry) -> Action:
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

    def _image(self, row: _Row, entry: Entry, time_s: float, where: str) -> NDArray[np.uint8]:
        if entry.video is None:
            cell = row.get(self.camera)
            data = cell.get("bytes") if isinstance(cell, dict) else None
            if not isinstance(data, bytes):
                raise EpisodeError(
                    "lerobot", f"episode {entry.index}: expected {self.camera}'s images inside the parquet file"
                )
            return read_image(data, f"{where}, {self.camera}")
        from ._video import VideoReader

        if self._video is None or self._video[0] != entry.video:
            path = inside(self.root, entry.video)
            self._video = (entry.video, VideoReader(path, tolerance_s=0.75 / self.info.fps))
        image: NDArray[np.uint8] = self._video[1].at(entry.video_from_s + time_s)
        return image

    def _rows_of(self, entry: Entry) -> Iterator[_Row]:
        """Exactly as many rows as the index declares.

        Raises:
            MissingFileError: no data file holds rows of the episode.
            EpisodeError: `lerobot`, there are more or fewer, or the file that holds them is damaged.
        """
        if entry.video is not None:
            inside(self.root, entry.video)
        taken = 0
        for row in self._group(entry):
            taken += 1
            if taken > entry.length:
                break
            yield row
        if taken != entry.length:
            more = "more" if taken > entry.length else str(taken)
            raise EpisodeError("lerobot", f"episode {entry.index}: expected {entry.length} rows of it, found {more}")

    def _group(self, entry: Entry) -> Iterator[_Row]:
        """The rows of one episode: in the file that the index names, or in the one that holds them."""
        if (self.root / entry.data).is_file():
            if self._groups is None or self._groups[0] != entry.data:
                self._open(entry.data, entry)
            found = self._next_group(entry)
            if found is not None:
                return found
        place = self._located().get(entry.index)
        if place is None:
            raise MissingFileError("lerobot", f"episode {entry.index}: expected its rows in {entry.data}, found none")
        if place != entry.data:
            self.remarks.note(f"episode {entry.index} is in {place}; the index names {entry.data}")
        self._open(place, entry)
        found = self._next_group(entry)
        assert found is not None  # `_located` saw it
        return found

    def _open(self, name: str, entry: Entry) -> None:
        columns = [self.action, "timestamp", "episode_index", "task_index", "frame_index"]
        columns += [] if entry.video else [self.camera]
        path = inside(self.root, name)
        found = rows(path, columns, batch=512 if entry.video else 8, optional={"task_index", "frame_index"})
        self._groups = (name, itertools.groupby(found, key=lambda row: row["episode_index"]))

    def _next_group(self, entry: Entry) -> Iterator[_Row] | None:
        assert self._groups is not None
        return next((members for index, members in self._groups[1] if index == entry.index), None)

    def _located(self) -> dict[int, str]:
        """Episode -> the data file that holds its rows, from the rows themselves."""
        if self._places is None:
            self._places = {}
            found = sorted(path.relative_to(self.root) for path in (self.root / "data").rglob("*.parquet"))
            for path in (path for path in found if not is_side_file(path)):
                try:
                    for row in rows(inside(self.root, path.as_posix()), ["episode_index"], batch=4096):
                        self._places.setdefault(row["episode_index"], path.as_posix())
                except EpisodeError:
                    continue  # a damaged file is told when an episode of it is read
        return self._places
