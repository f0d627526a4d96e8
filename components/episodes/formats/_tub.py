"""A Donkey Car tub (version 2) on disk or in a tar: found, unpacked and read without trusting it."""

import json
import math
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ValidationError

from components.contracts import ACTION_LIMIT
from components.contracts.errors import EpisodeError

_MAX_FILES = 500_000
_MAX_FILE_BYTES = 64 * 2**20
_MAX_TOTAL_BYTES = 8 * 2**30
ASSUMED_HZ = 20


class _Catalogs(BaseModel):
    paths: list[str]
    deleted_indexes: list[int] = []


@dataclass(frozen=True)
class TubRecord:
    index: int
    image: Path
    angle: float
    throttle: float
    timestamp_ms: float
    """The tub's own; index / 20 Hz where it has none."""
    session: str | None


@contextmanager
def opened(tub: Path) -> Iterator[Path]:
    """The folder that holds the tub's manifest.json, unpacked for as long as it is open where `tub` is an archive."""
    if tub.is_dir():
        yield _root(tub, tub)
    elif tub.is_file():
        with TemporaryDirectory(prefix="drover-tub-") as scratch:
            _unpack(tub, Path(scratch))
            yield _root(Path(scratch), tub)
    else:
        raise EpisodeError("tub", f"{tub}: expected a Donkey tub's folder or its tar archive, found nothing there")


def read_records(root: Path) -> list[TubRecord]:
    """All records that the manifest does not call deleted, by index.

    Raises:
        EpisodeError: `tub`, with the file and line that are wrong.
    """
    catalogs, deleted = _manifest(root / "manifest.json")
    records = [
        _record(root, catalog.name, number, line)
        for catalog in (_inside(root, name, "manifest.json") for name in catalogs)
        for number, line in enumerate(_lines(catalog), start=1)
        if line.strip()
    ]
    records = sorted((record for record in records if record.index not in deleted), key=lambda record: record.index)
    for one, other in pairwise(records):
        if one.index == other.index:
            raise EpisodeError("tub", f"expected each _index once, found {one.index} twice; the tub's catalogs overlap")
    if not records:
        raise EpisodeError("tub", f"{root.name}: expected records, found none that is not deleted")
    return records


def _root(folder: Path, tub: Path) -> Path:
    for candidate in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        if (candidate / "manifest.json").is_file():
            return candidate
    raise EpisodeError(
        "tub", f"{tub}: expected a manifest.json (Donkey tub version 2), found none; convert older tubs with donkey's "
        "convert_to_tub_v2"
    )  # fmt: skip


def _manifest(path: Path) -> tuple[list[str], set[int]]:
    """Its last line names the catalogs and the deleted records."""
    try:
        found = _Catalogs.model_validate_json(([line for line in _lines(path) if line.strip()] or [""])[-1])
    except ValidationError as error:
        raise EpisodeError(
            "tub", f"{path.name}: expected its last line to be JSON with paths and deleted_indexes, but: {error}"
        ) from None
    return found.paths, set(found.deleted_indexes)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise EpisodeError("tub", f"expected the file {path.name} that the tub names, found none") from None
    except UnicodeDecodeError as error:
        raise EpisodeError("tub", f"{path.name}: expected UTF-8 text, but: {error}") from None


def _record(root: Path, catalog: str, number: int, line: str) -> TubRecord:
    where = f"{catalog}, line {number}"
    try:
        fields = json.loads(line)
        index = int(fields["_index"])
        image = fields["cam/image_array"]
    except (ValueError, KeyError, TypeError) as error:
        raise EpisodeError(
            "tub", f"{where}: expected a JSON record with _index and cam/image_array, but: {error!r}"
        ) from None
    path = _inside(root / "images", image, where)
    if not path.is_file():
        raise EpisodeError("tub", f"{where}: expected the image images/{image}, found none")
    session = fields.get("_session_id")
    return TubRecord(
        index=index,
        image=path,
        angle=_command(fields, "user/angle", where),
        throttle=_command(fields, "user/throttle", where),
        timestamp_ms=_number(fields.get("_timestamp_ms", index * 1000 / ASSUMED_HZ), "_timestamp_ms", where),
        session=str(session)[:64] if session is not None else None,
    )


def _command(fields: dict[str, Any], name: str, where: str) -> float:
    value = _number(fields.get(name), name, where)
    if abs(value) > ACTION_LIMIT:
        raise EpisodeError("tub", f"{where}: expected {name} in [-1, 1], got {value}")
    return value


def _number(value: object, name: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise EpisodeError("tub", f"{where}: expected {name} to be a number, got {value!r}")
    return float(value)


def _inside(folder: Path, name: object, where: str) -> Path:
    """A file directly in `folder`, whatever the tub calls it."""
    if not isinstance(name, str) or name in {"", ".", ".."} or "/" in name or "\\" in name or "\0" in name:
        raise EpisodeError("tub", f"{where}: expected a file name without a path, got {name!r}")
    path = folder / name
    if path.is_symlink():
        raise EpisodeError("tub", f"{where}: expected a file, found that {name} is a link")
    return path


def _unpack(archive: Path, target: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            total = 0
            for number, member in enumerate(tar):
                parts = PurePosixPath(member.name).parts
                if member.isdir() or (parts and parts[-1].startswith("._")):  # macOS writes a ._ beside each file
                    continue
                total += member.size
                _check_member(archive, member, parts)
                if number >= _MAX_FILES or member.size > _MAX_FILE_BYTES or total > _MAX_TOTAL_BYTES:
                    raise EpisodeError(
                        "tub", f"{archive.name}: expected at most {_MAX_FILES} files of {_MAX_FILE_BYTES} bytes and "
                        f"{_MAX_TOTAL_BYTES} in all, found more at {member.name!r}; unpack it yourself if you trust it"
                    )  # fmt: skip
                _extract(tar, member, target.joinpath(*parts))
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise EpisodeError(
            "tub", f"{archive.name}: expected a whole tar archive of a tub, but: {error}; copy it again"
        ) from None


def _check_member(archive: Path, member: tarfile.TarInfo, parts: tuple[str, ...]) -> None:
    if not member.isreg():
        raise EpisodeError(
            "tub", f"{archive.name}: expected files and folders alone, found a link or device: {member.name!r}"
        )
    if not parts or PurePosixPath(member.name).is_absolute() or ".." in parts:
        raise EpisodeError("tub", f"{archive.name}: expected names inside the archive, found {member.name!r}")


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None  # a regular file
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(source, file, 2**20)
