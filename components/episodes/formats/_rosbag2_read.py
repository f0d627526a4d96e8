"""rosbag2 recordings: a folder (sqlite3 or mcap storage), or one .db3 or .mcap file."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components.contracts.errors import EpisodeError

from ._bag import Bag, Scanned
from ._conversion import Remarks
from ._mcap_read import scan_mcap
from ._references import Declared
from ._sqlite_read import scan_db3

_YAML_BYTES = 4 * 2**20
METADATA = "metadata.yaml"
_SEAM_NS = 10 * 10**9
"""A recorder goes on in the next file at once; recordings of their own begin later."""
_STORAGE = {".mcap": "mcap", ".db3": "sqlite3"}


class _TopicName(BaseModel):
    name: str


class _Topic(BaseModel):
    topic_metadata: _TopicName
    message_count: Annotated[int, Field(ge=0)]


class _Information(BaseModel):
    storage_identifier: str
    relative_file_paths: Annotated[list[str], Field(min_length=1, max_length=10_000)]
    compression_mode: str = ""
    message_count: Annotated[int, Field(ge=0)] | None = None
    topics_with_message_count: list[_Topic] = []

    def declared(self) -> Declared | None:
        if self.message_count is None:
            return None
        topics: dict[str, int] = {}
        for topic in self.topics_with_message_count:
            name = topic.topic_metadata.name
            topics[name] = topics.get(name, 0) + topic.message_count
        return Declared(self.message_count, topics)


def rosbag2_bag(source: Path, remarks: Remarks, workspace: Path, *, allow_partial: bool = False) -> Bag:
    """Open a recording. Without metadata.yaml, which a recorder writes last, a folder's files are taken as its parts.

    Args:
        workspace: a folder for copies of files that were not closed.

    Raises:
        EpisodeError: `rosbag2`, no such recording, or one of a kind that is not read; `mcap`, as `mcap_bag`.
    """

    def scan(paths: list[Path], storage: str, declared: Declared | None = None) -> Bag:
        if storage == "mcap":
            files = [scan_mcap(path, remarks, allow_partial=allow_partial) for path in paths]
        else:
            files = [scan_db3(path, remarks, workspace, allow_partial=allow_partial) for path in paths]
        return Bag(files, declared, source.stem)

    if source.is_file() and source.suffix in _STORAGE:
        return scan([source], _STORAGE[source.suffix])
    if source.is_dir() and not (source / METADATA).is_file():
        unlisted = _unlisted(source)
        remarks.note(f"{source.name} has no {METADATA}, as its recorder was stopped hard: all its files were taken")
        return scan(unlisted, _STORAGE[unlisted[0].suffix])
    found = _information(source)
    if found.compression_mode.lower() not in {"", "none"}:
        raise _compressed(source, f"mode {found.compression_mode}")
    if found.storage_identifier not in _STORAGE.values():
        raise EpisodeError("rosbag2", f"{source}: expected sqlite3 or mcap storage, got {found.storage_identifier!r}")
    listed = [_inside(source, name) for name in dict.fromkeys(found.relative_file_paths)]
    there = {path.name for suffix in _STORAGE for path in storage_files(source, suffix)}
    if more := sorted(there - {path.name for path in listed}):
        remarks.note(f"{source.name}: left out what {METADATA} does not name: {', '.join(more[:5])}")
    return scan(listed, found.storage_identifier, found.declared())


def mcap_recordings(
    source: Path, remarks: Remarks, workspace: Path, *, allow_partial: bool = False
) -> Iterator[Bag | EpisodeError]:
    """A .mcap file, or the recordings of a folder: its metadata.yaml says which files are one, or their names and times
    do. In place of one that cannot be read stands why, if there are others.

    Raises:
        EpisodeError: `mcap` or `rosbag2`, there is none, or the only one cannot be read.
    """
    if source.is_dir() and (source / METADATA).is_file():
        yield rosbag2_bag(source, remarks, workspace, allow_partial=allow_partial)
        return
    files = storage_files(source, ".mcap") if source.is_dir() else [source]
    if not files or not files[0].is_file():
        raise EpisodeError("mcap", f"{source}: expected a .mcap file or a folder of them, found none")
    parts: list[Scanned] = []
    for path in files:
        try:
            found = scan_mcap(path, remarks, allow_partial=allow_partial)
        except EpisodeError as error:
            if len(files) == 1:
                raise
            yield error
            continue
        if parts and not _continues(parts, found):
            yield Bag(parts)
            parts = []
        parts.append(found)
    if parts:
        yield Bag(parts)


def _continues(parts: list[Scanned], found: Scanned) -> bool:
    """The next part of the same recording: by its name, and recorded right after it, or empty."""
    (name, number), (other, following) = part_of(parts[-1].path), part_of(found.path)
    if name != other or number < 0 or following != number + 1:
        return False
    spans = [span for part in parts if (span := part.references.span())]
    span = found.references.span()
    if not spans or span is None:
        return True
    return abs(span[0] - max(last for _, last in spans)) <= _SEAM_NS


def storage_files(folder: Path, suffix: str) -> list[Path]:
    """A folder's files of a suffix, part 10 after part 2; without the `._` files that macOS leaves beside others."""
    found = [path for path in folder.iterdir() if path.name.endswith(suffix) and not path.name.startswith("._")]
    return sorted((path for path in found if path.is_file() and not path.is_symlink()), key=part_of)


def part_of(path: Path) -> tuple[str, int]:
    """rosbag2 calls the parts of a recording NAME_0, NAME_1 and so on."""
    name, number = re.fullmatch(r"(.*?)(?:_(\d{1,9}))?", path.stem, re.DOTALL).groups()  # type: ignore[union-attr]
    return name, int(number) if number else -1


def _unlisted(folder: Path) -> list[Path]:
    databases, mcaps = storage_files(folder, ".db3"), storage_files(folder, ".mcap")
    if packed := [*storage_files(folder, ".db3.zstd"), *storage_files(folder, ".mcap.zstd")]:
        raise _compressed(folder, f"the file {packed[0].name}")
    if not databases and not mcaps:
        raise EpisodeError(
            "rosbag2", f"{folder}: expected a rosbag2 folder with {METADATA}, or a .db3 or .mcap file, found neither"
        )
    if databases and mcaps:
        raise EpisodeError("rosbag2", f"{folder}: expected files of one storage, found .db3 and .mcap; name one file")
    return databases or mcaps


def _compressed(source: Path, what: str) -> EpisodeError:
    return EpisodeError(
        "rosbag2", f"{source}: expected a recording without rosbag2's own compression, got {what}; convert it "
        "(`ros2 bag convert`), mcap's own compression is read"
    )  # fmt: skip


def _information(source: Path) -> _Information:
    path = source / METADATA
    if not path.is_file():
        raise EpisodeError(
            "rosbag2", f"{source}: expected a rosbag2 folder with metadata.yaml, or a .db3 or .mcap file"
        )
    if path.stat().st_size > _YAML_BYTES:
        raise EpisodeError("rosbag2", f"{path}: expected at most {_YAML_BYTES} bytes, got {path.stat().st_size}")
    try:
        document: Any = YAML(typ="safe", pure=True).load(path.read_bytes())
        return _Information.model_validate(document["rosbag2_bagfile_information"])
    except (YAMLError, ValidationError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise EpisodeError("rosbag2", f"{path}: expected rosbag2's metadata, but: {error}") from None


def _inside(folder: Path, name: str) -> Path:
    """The storage file of that name: rosbag2 before version 4 wrote the folder's own name before it."""
    path = folder / PurePosixPath(name).name
    if path.is_symlink() or not path.is_file():
        raise EpisodeError("rosbag2", f"{folder}: expected the file {path.name} that metadata.yaml names, found none")
    return path
