"""Episodes as a LeRobotDataset v3.0. Loads `pyarrow` and, for videos, `av`."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from components.contracts import AXES
from components.contracts.errors import ConfigurationError, EpisodeError
from components.episodes._episode import Episode

from ._conversion import Conversion, Remarks
from ._exporting import read_episodes, whole
from ._images import encode_image
from ._lazily import lazily
from ._lerobot_stats import ImageStats, Stats, number_stats
from ._lerobot_tables import CAMERA, COUNTERS, OWN_COLUMN, data_schema, tasks_table
from ._own import OwnEpisode, frame_interval_s

if TYPE_CHECKING:
    from ._video import VideoWriter

Frames = Literal["h264-lossless", "av1", "h264", "images"]

_DATA_MB, _VIDEO_MB, _CHUNK_FILES = 100, 200, 1000
_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"


def export_lerobot(
    files: Iterable[Path], out: Path, *, frames: Frames = "h264-lossless", fps: int | None = None
) -> Conversion:
    """A LeRobotDataset v3.0 with one camera, `action` (linear_x m/s, linear_y m/s, angular_z rad/s) and the
    instruction as task.

    LeRobot has one rate for a whole dataset: frame n of an episode is at n / fps. An episode's own duration, its
    events and its attributes stand in the episodes' table, column `drover/episode`, from which `import_lerobot` makes
    the same episode again.

    Args:
        files: episode files whose frames are of one size.
        out: a new folder.
        frames: `h264-lossless` (default) decodes to the very same pixels; `av1` is what lerobot itself records, small,
            lossy, and plays in browsers; `h264` is lossy too; `images` are PNG inside the parquet files, exact and
            without video decoding.
        fps: whole frames a second; None takes the first episode's, rounded, at least 1.

    Raises:
        EpisodeError: a file is no episode, there is none, sizes differ, or `out` holds something.
        ConfigurationError: `pyarrow` or `av` is not installed, or a senseless `fps`.
    """
    with lazily("drover export lerobot"):
        import av  # noqa: F401
        import pyarrow as pa  # noqa: F401
    if fps is not None and fps < 1:
        raise ConfigurationError(f"expected at least 1 frame a second, got {fps}")
    remarks = Remarks()
    if frames in {"av1", "h264"}:
        remarks.lose(f"exact frames: {frames} is lossy; h264-lossless and images are not")
    with whole(out) as folder:
        dataset: _Dataset | None = None
        for episode in read_episodes(files):
            interval_s = frame_interval_s(episode, remarks)
            if dataset is None:
                rate = fps or max(1, round(1 / interval_s))
                remarks.note(f"frames stand {1 / rate:g} s apart ({rate} a second) as LeRobot wants one rate; the "
                             "episodes' durations are kept in drover/episode")  # fmt: skip
                dataset = _Dataset(folder, frames, rate, episode.images.shape[1], episode.images.shape[2], remarks)
            dataset.add(episode)
        assert dataset is not None  # read_episodes gave one
        dataset.close()
    written = tuple(sorted(path for path in out.rglob("*") if path.is_file()))
    return Conversion(written, len(dataset.episodes), dataset.total, tuple(remarks.notes), tuple(remarks.lost))


@dataclass
class _Dataset:
    root: Path
    frames: Frames
    fps: int
    height: int
    width: int
    remarks: Remarks
    episodes: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    _tasks: dict[str, int] = field(default_factory=dict)
    _columns: dict[str, list[Any]] = field(default_factory=dict)
    _images: ImageStats = field(default_factory=ImageStats)
    _video: "VideoWriter | None" = None
    _video_file: int = -1
    _table: Any = None
    _table_file: int = -1

    def add(self, episode: Episode) -> None:
        name, shape = episode.attributes.name, episode.images.shape
        if shape[1:3] != (self.height, self.width):
            raise EpisodeError(
                "frames", f"{name}: expected {self.width}x{self.height} as the first, got {shape[2]}x{shape[1]}; "
                "a LeRobotDataset has one size: export them apart"
            )  # fmt: skip
        if episode.attributes.action_units == "normalised":
            self.remarks.note("normalised actions (throttle and angle in [-1, 1]) stand as they are, not as m/s")
        if not np.isfinite(episode.actions).all():
            self.remarks.note(
                f"{name}: actions that are not finite stand in the data and are left out of its statistics"
            )
        index, length = len(self.episodes), len(episode.images)
        task = episode.attributes.instruction or ""
        columns = self._frame_columns(episode, self._tasks.setdefault(task, len(self._tasks)), index)
        row: dict[str, Any] = {"episode_index": index, "tasks": [task], "length": length}
        images = ImageStats()
        for image in episode.images:
            images.add(image)
        row |= self._write_table(columns, episode)
        row |= {"dataset_from_index": self.total, "dataset_to_index": self.total + length}
        if self.frames != "images":
            row |= self._write_video(episode)
        self._images.merge(images)
        stats = {CAMERA: images.stats()} | {key: number_stats(_as_array(values)) for key, values in columns.items()}
        row |= {f"stats/{key}/{figure}": value for key, found in stats.items() for figure, value in found.items()}
        own = OwnEpisode(attributes=episode.attributes, events=episode.events)
        self.episodes.append(
            row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0, OWN_COLUMN: own.model_dump_json()}
        )
        for key, values in columns.items():
            self._columns.setdefault(key, []).append(_as_array(values))
        self.total += length

    def _frame_columns(self, episode: Episode, task: int, index: int) -> dict[str, Any]:
        frames = np.arange(len(episode.images))
        return {
            "action": episode.actions,
            "timestamp": (frames / self.fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(len(frames), index),
            "index": frames + self.total,
            "task_index": np.full(len(frames), task),
        }

    def _write_table(self, columns: dict[str, Any], episode: Episode) -> dict[str, Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = data_schema(images=self.frames == "images")
        if self._table is None or self._table_path().stat().st_size > _DATA_MB * 2**20:
            if self._table is not None:
                self._table.close()
            self._table_file += 1
            self._table_path().parent.mkdir(parents=True, exist_ok=True)
            self._table = pq.ParquetWriter(self._table_path(), schema, compression="snappy")
        arrays = [
            pa.FixedSizeListArray.from_arrays(pa.array(columns["action"].ravel(), pa.float32()), 3),
            pa.array(columns["timestamp"], pa.float32()),
            *(pa.array(columns[name], pa.int64()) for name in COUNTERS),
        ]
        if self.frames == "images":
            cells = [
                {"bytes": encode_image(image, "png"), "path": f"frame-{frame:06d}.png"}
                for frame, image in enumerate(episode.images)
            ]
            arrays.insert(0, pa.array(cells, schema.field(CAMERA).type))
        self._table.write_table(pa.Table.from_arrays(arrays, schema=schema))
        return _place("data", self._table_file)

    def _write_video(self, episode: Episode) -> dict[str, Any]:
        from ._video import VideoWriter

        assert self.frames != "images"
        if self._video is None or self._video.size > _VIDEO_MB * 2**20:
            if self._video is not None:
                self._video.close()
            self._video_file += 1
            path = self.root / "videos" / CAMERA / _file(self._video_file, "mp4")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._video = VideoWriter(path, self.frames, fps=self.fps, height=self.height, width=self.width)
        begin = self._video.frames
        for image in episode.images:
            self._video.append(image)
        return _place(f"videos/{CAMERA}", self._video_file) | {
            f"videos/{CAMERA}/from_timestamp": begin / self.fps,
            f"videos/{CAMERA}/to_timestamp": self._video.frames / self.fps,
        }

    def close(self) -> None:
        """Write everything under meta/."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._table.close()
        if self._video is not None:
            self._video.close()
        meta = self.root / "meta"
        (meta / "episodes" / "chunk-000").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self.episodes), meta / "episodes" / _file(0, "parquet"))
        pq.write_table(tasks_table(list(self._tasks)), meta / "tasks.parquet")
        stats: dict[str, Stats] = {CAMERA: self._images.stats()}
        stats |= {key: number_stats(np.concatenate(values)) for key, values in self._columns.items()}
        (meta / "stats.json").write_text(json.dumps(stats, indent=4))
        (meta / "info.json").write_text(json.dumps(self._info(), indent=4))
        (self.root / "README.md").write_text(_CARD)

    def _info(self) -> dict[str, Any]:
        camera: dict[str, Any] = {
            "dtype": "image" if self._video is None else "video",
            "shape": [self.height, self.width, 3],
            "names": ["height", "width", "channels"],
        }
        if self._video is not None:
            camera["info"] = {
                "video.height": self.height, "video.width": self.width, "video.fps": self.fps, "video.channels": 3,
                "video.codec": "av1" if self.frames == "av1" else "h264", "video.pix_fmt": self._video.pixels,
                "video.is_depth_map": False, "has_audio": False,
            }  # fmt: skip
        one: dict[str, Any] = {"shape": [1], "names": None}
        return {
            "codebase_version": "v3.0",
            "robot_type": "drover",
            "total_episodes": len(self.episodes),
            "total_frames": self.total,
            "total_tasks": len(self._tasks),
            "chunks_size": _CHUNK_FILES,
            "data_files_size_in_mb": _DATA_MB,
            "video_files_size_in_mb": _VIDEO_MB,
            "fps": self.fps,
            "splits": {"train": f"0:{len(self.episodes)}"},
            "data_path": f"data/{_FILE}.parquet",
            "video_path": None if self._video is None else f"videos/{{video_key}}/{_FILE}.mp4",
            "features": {
                CAMERA: camera,
                "action": {"dtype": "float32", "shape": [3], "names": list(AXES)},
                "timestamp": {"dtype": "float32"} | one,
                **{name: {"dtype": "int64"} | one for name in COUNTERS},
            },
        }

    def _table_path(self) -> Path:
        return self.root / "data" / _file(self._table_file, "parquet")


_CARD = """---
tags: [LeRobot]
configs:
- config_name: default
  data_files: data/*/*.parquet
---
LeRobotDataset v3.0, exported by Drover. `action`: linear_x (m/s, ahead), linear_y (m/s, left), angular_z (rad/s,
left); for episodes of source `donkey` throttle and angle in [-1, 1] instead. `timestamp` is frame_index / fps: an
episode's own duration, events and attributes are in meta/episodes, column `drover/episode`.
"""


def _file(number: int, suffix: str) -> str:
    return f"{_FILE.format(chunk_index=number // _CHUNK_FILES, file_index=number % _CHUNK_FILES)}.{suffix}"


def _place(what: str, number: int) -> dict[str, int]:
    return {f"{what}/chunk_index": number // _CHUNK_FILES, f"{what}/file_index": number % _CHUNK_FILES}


def _as_array(values: Any) -> Any:
    return values if values.ndim == 2 else values[:, None]
