"""rosbag2 recordings: a folder with metadata.yaml (sqlite3 or mcap storage), or one .db3 or .mcap file. Loads
`rosbags`."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.errors import ReaderError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components.contracts.errors import EpisodeError

from ._bag import Bag
from ._conversion import Remarks
from ._mcap_read import mcap_bag
from ._ros_messages import RawMessage

_YAML_BYTES = 4 * 2**20


class _Information(BaseModel):
    storage_identifier: str
    relative_file_paths: Annotated[list[str], Field(min_length=1, max_length=10_000)]
    compression_mode: str = ""


def rosbag2_bag(source: Path, remarks: Remarks) -> Bag:
    """Open a recording.

    Raises:
        EpisodeError: `rosbag2`, no such recording, or one of a kind that is not read.
    """
    if source.is_file() and source.suffix == ".mcap":
        return mcap_bag([source], remarks)
    if source.is_file() and source.suffix == ".db3":
        return _sqlite_bag(source)
    found = _information(source)
    if found.compression_mode.lower() not in {"", "none"}:
        raise EpisodeError(
            "rosbag2", f"{source}: expected a recording without rosbag2's own compression, got mode "
            f"{found.compression_mode}; convert it (`ros2 bag convert`), mcap's own compression is read"
        )  # fmt: skip
    if found.storage_identifier == "mcap":
        return mcap_bag([_inside(source, name) for name in found.relative_file_paths], remarks)
    if found.storage_identifier == "sqlite3":
        for name in found.relative_file_paths:
            _inside(source, name)
        return _sqlite_bag(source)
    raise EpisodeError("rosbag2", f"{source}: expected sqlite3 or mcap storage, got {found.storage_identifier!r}")


def _information(source: Path) -> _Information:
    path = source / "metadata.yaml"
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


def _sqlite_bag(source: Path) -> Bag:
    """`rosbags` sorts by time, so a clock that was set back within the recording cannot be seen here."""
    failures = _failures()

    def wrong(error: Exception) -> EpisodeError:
        return EpisodeError("rosbag2", f"{source}: expected a rosbag2 recording, but: {error}")

    def read(topics: dict[str, str]) -> Iterator[RawMessage]:
        try:
            with Reader(source) as reader:
                wanted = [connection for connection in reader.connections if connection.topic in topics]
                for connection, time_ns, data in reader.messages(wanted):
                    yield RawMessage(connection.topic, connection.msgtype, time_ns, data)
        except failures as error:
            raise wrong(error) from None

    try:
        with Reader(source) as reader:
            topics = {connection.topic: connection.msgtype for connection in reader.connections}
    except failures as error:
        raise wrong(error) from None
    return Bag(source.name, topics, read)


def _failures() -> tuple[type[Exception], ...]:
    import apsw

    return (ReaderError, apsw.Error, OSError, ValueError, KeyError, TypeError, StopIteration, AssertionError)
