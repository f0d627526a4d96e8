"""The index of a LeRobotDataset: which episodes and tasks it declares, and where their rows and videos are."""

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.contracts.errors import EpisodeError

from ._conversion import Remarks
from ._lerobot_info import LeRobotInfo, MissingFileError, fill, inside, read_text
from ._lerobot_tables import OWN_COLUMN, TASK_COLUMNS
from ._sources import is_side_file, json_lines

_GROUP_BYTES = 512 * 2**20
_META_ROWS = 1_000_000


@dataclass(frozen=True)
class Entry:
    """One episode as the index declares it."""

    index: int
    length: int
    data: str
    """The file of its rows, inside the dataset; there or not."""
    tasks: tuple[str, ...]
    video: str | None
    video_from_s: float
    own: str | None


def read_entries(root: Path, info: LeRobotInfo, camera: str) -> Iterator[Entry | EpisodeError]:
    """The episodes of the index, in its order; an error for a line of it that makes no sense.

    Raises:
        EpisodeError: `lerobot`, the index is missing or makes no sense.
    """
    entries = _v3(root, info, camera) if info.version == "v3.0" else _v21(root, info, camera)
    seen: set[int] = set()
    for entry in entries:
        if isinstance(entry, EpisodeError):
            yield entry
            continue
        if entry.index in seen:
            raise EpisodeError("lerobot", f"{root}: expected each episode once in the index, found {entry.index} twice")
        seen.add(entry.index)
        yield entry


def read_tasks(root: Path, info: LeRobotInfo, remarks: Remarks) -> dict[int, str]:
    """task_index -> text, as lerobot's own loader looks it up: by the number that stands beside the text in v2.1
    (tasks.jsonl), by the row's position in v3 (tasks.parquet). Empty where the dataset has no such table."""
    try:
        return _tasks_v3(root, remarks) if info.version == "v3.0" else _tasks_v21(root, remarks)
    except MissingFileError:
        return {}


def _tasks_v21(root: Path, remarks: Remarks) -> dict[int, str]:
    name, tasks = "meta/tasks.jsonl", dict[int, str]()
    for number, line in json_lines(read_text(root, name)):
        try:
            index, text = _task(line, f"{name}, line {number}")
        except EpisodeError as error:
            remarks.leave_out("tasks", error)
        else:
            tasks[index] = text
    return tasks


def _task(line: str, where: str) -> tuple[int, str]:
    row = _json_row(line, where)
    text = row.get("task")
    if not isinstance(text, str):
        raise EpisodeError("lerobot", f"{where}: expected a task's text, got {text!r}")
    return whole(row.get("task_index"), where), text


def _tasks_v3(root: Path, remarks: Remarks) -> dict[int, str]:
    name = "meta/tasks.parquet"
    tasks, moved = dict[int, str](), 0
    columns = ["task_index", *TASK_COLUMNS]
    for position, row in enumerate(rows(inside(root, name), columns, batch=256, optional=set(columns))):
        text = next((row[column] for column in TASK_COLUMNS if isinstance(row.get(column), str)), None)
        if text is None:
            raise EpisodeError("lerobot", f"{name}: expected the tasks' texts as its index, found none at {position}")
        tasks[position] = text
        moved += row.get("task_index") not in {None, position}
    if moved:
        remarks.note(f"{name}: {moved} rows are not in the order of task_index; their position counts, as for lerobot")
    return tasks


def _v3(root: Path, info: LeRobotInfo, camera: str) -> Iterator[Entry]:
    is_video = info.features[camera].dtype == "video"
    found = [path.relative_to(root) for path in (root / "meta/episodes").glob("*/*.parquet")]
    names = sorted(path.as_posix() for path in found if not is_side_file(path))
    if not names:
        raise EpisodeError("lerobot", f"{root}: expected meta/episodes/*/*.parquet, found none")
    video = f"videos/{camera}"
    wanted = ["episode_index", "tasks", "length", "data/chunk_index", "data/file_index", OWN_COLUMN]
    if is_video:
        wanted += [f"{video}/chunk_index", f"{video}/file_index", f"{video}/from_timestamp"]
    for name in names:
        for row in rows(inside(root, name), wanted, batch=256, optional={OWN_COLUMN, "tasks"}):
            where = f"{name}, episode {row['episode_index']}"
            chunk, file = (whole(row[f"data/{part}_index"], where) for part in ("chunk", "file"))
            yield Entry(
                whole(row["episode_index"], where), whole(row["length"], where),
                _checked(root, fill(info.data_path, chunk_index=chunk, file_index=file)),
                _texts(row.get("tasks")),
                _v3_video(root, info, camera, row, where) if is_video else None,
                real(row[f"{video}/from_timestamp"], where) if is_video else 0.0,
                row.get(OWN_COLUMN),
            )  # fmt: skip


def _v3_video(root: Path, info: LeRobotInfo, camera: str, row: dict[str, Any], where: str) -> str:
    chunk, file = (whole(row[f"videos/{camera}/{part}_index"], where) for part in ("chunk", "file"))
    return _checked(root, fill(info.video_path or "", video_key=camera, chunk_index=chunk, file_index=file))


def _v21(root: Path, info: LeRobotInfo, camera: str) -> Iterator[Entry | EpisodeError]:
    is_video = info.features[camera].dtype == "video"
    name = "meta/episodes.jsonl"
    for number, line in json_lines(read_text(root, name)):
        where = f"{name}, line {number}"
        try:
            row = _json_row(line, where)
            index, length = whole(row.get("episode_index"), where), whole(row.get("length"), where)
        except EpisodeError as error:
            yield error
            continue
        values = {"episode_chunk": index // info.chunks_size, "episode_index": index}
        video = _checked(root, fill(info.video_path or "", video_key=camera, **values)) if is_video else None
        data = _checked(root, fill(info.data_path, **values))
        yield Entry(index, length, data, _texts(row.get("tasks")), video, 0.0, None)


def _json_row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise EpisodeError("lerobot", f"{where}: expected a line of JSON, but: {error}") from None
    if not isinstance(row, dict):
        raise EpisodeError("lerobot", f"{where}: expected a JSON object, got {line[:80]!r}")
    return row


def _checked(root: Path, name: str) -> str:
    """The name, if it stays inside the dataset, whether such a file is there or not."""
    with suppress(MissingFileError):
        inside(root, name)
    return name


def _texts(found: object) -> tuple[str, ...]:
    return tuple(text for text in found if isinstance(text, str)) if isinstance(found, list) else ()


def rows(path: Path, columns: list[str], *, batch: int, optional: set[str] = frozenset()) -> Iterator[dict[str, Any]]:  # type: ignore[assignment]
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


def whole(value: object, where: str) -> int:
    """Raises EpisodeError (`lerobot`) unless it is a whole number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
        raise EpisodeError("lerobot", f"{where}: expected a whole number from 0 on, got {value!r}")
    return value


def real(value: object, where: str) -> float:
    """Raises EpisodeError (`lerobot`) unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise EpisodeError("lerobot", f"{where}: expected a finite number, got {value!r}")
    return float(value)
