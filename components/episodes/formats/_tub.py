"""Donkey Car tubs (version 2) on disk or in an archive: found, unpacked and read without trusting them."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ValidationError

from components.contracts import ACTION_LIMIT
from components.contracts.errors import EpisodeError

from ._accounting import Tally
from ._archives import unpack
from ._conversion import Remarks
from ._sources import is_side_file, json_lines, json_text

ASSUMED_HZ = 20
_DEPTH = 3
"""Folders below the one that is named: an archive of `mycar/data/tub_1`."""
_ANGLES = ("angle", "steering")
"""Names of the steering command: donkeycar's templates write `angle`, some forks `steering`."""


class _Catalogs(BaseModel):
    paths: list[str]
    deleted_indexes: list[int] = []


class _CatalogManifest(BaseModel):
    line_lengths: list[int]


@dataclass(frozen=True)
class TubRecord:
    index: int
    image: Path
    angle: float
    throttle: float
    timestamp_ms: float
    """The tub's own; index / 20 Hz where it has none."""
    moment: datetime
    session: str | None


@dataclass
class RecordReader:
    """Reads the records of one tub. A damaged one is left out, or, if `strict`, refuses the tub."""

    root: Path
    remarks: Remarks
    tally: Tally
    strict: bool = False
    _drivers: dict[str, int] = field(default_factory=dict, init=False)

    def records(self) -> list[TubRecord]:
        """By index; those that the manifest calls deleted are left out.

        Raises:
            EpisodeError: `tub`, with the file and line that are wrong.
        """
        names, deleted = self._manifest()
        records = []
        for path in [self._inside(self.root, name, "manifest.json") for name in names]:
            declared = self._count_declared(path)
            for number, line in json_lines(self._text(path)):
                self.tally.read += 1
                self.tally.undeclared += not declared
                try:
                    record = self._record(f"{path.name}, line {number}", line)
                except DamagedRecordError as error:
                    self.leave_out(error, "damaged")
                    continue
                if record.index in deleted:
                    self.tally.drop("deleted in the tub")
                else:
                    records.append(record)
        records.sort(key=lambda record: record.index)
        for one, other in pairwise(records):
            if one.index == other.index:
                raise EpisodeError(
                    "tub", f"expected each _index once, found {one.index} twice; the tub's catalogs overlap"
                )
        for driver, count in sorted(self._drivers.items()):
            self.remarks.note(f"{count} records were driven by the pilot (user/mode {driver}): its commands are taken")
        return records

    def leave_out(self, error: EpisodeError, reason: str) -> None:
        """Raises it if `strict`."""
        if self.strict:
            raise error
        self.tally.drop(reason)
        self.remarks.leave_out("records", error)

    def _manifest(self) -> tuple[list[str], set[int]]:
        """Its last line names the catalogs and the deleted records."""
        path = self.root / "manifest.json"
        lines = [line for _, line in json_lines(self._text(path))]
        try:
            found = _Catalogs.model_validate_json((lines or [""])[-1])
        except ValidationError as error:
            fault = error.errors()[0]
            raise EpisodeError(
                "tub", f"{path.name}: expected its last line to be JSON with paths and deleted_indexes, but "
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            ) from None  # fmt: skip
        return found.paths, set(found.deleted_indexes)

    def _count_declared(self, catalog: Path) -> bool:
        """The file beside a catalog lists its lines; donkeycar seeks by it. False where it is not there."""
        path = catalog.with_name(f"{catalog.name}_manifest")
        if not path.is_file() or path.is_symlink():
            return False
        try:
            self.tally.declared += len(_CatalogManifest.model_validate_json(self._text(path)).line_lengths)
        except ValidationError:
            self.remarks.note(f"{path.name} makes no sense: how many records the tub should hold is not known")
            return False
        return True

    def _text(self, path: Path) -> str:
        try:
            return json_text(path.read_bytes())
        except OSError:
            raise EpisodeError("tub", f"expected the file {path.name} that the tub names, found none") from None
        except UnicodeDecodeError as error:
            raise EpisodeError("tub", f"{path.name}: expected UTF-8 text, but: {error}") from None

    def _record(self, where: str, line: str) -> TubRecord:
        try:
            fields = json.loads(line)
            index = int(fields["_index"])
            image = fields["cam/image_array"]
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise DamagedRecordError(
                f"{where}: expected a JSON record with _index and cam/image_array, but: {error!r}"
            ) from None
        path = self._inside(self.root / "images", image, where)
        if not path.is_file():
            raise DamagedRecordError(f"{where}: expected the image images/{image}, found none")
        angle, throttle = self._commands(fields, where)
        session = fields.get("_session_id")
        stated_ms = _number(fields.get("_timestamp_ms", index * 1000 / ASSUMED_HZ), "_timestamp_ms", where)
        return TubRecord(
            index=index,
            image=path,
            angle=angle,
            throttle=throttle,
            timestamp_ms=stated_ms,
            moment=_moment(stated_ms, where),
            session=str(session)[:64] if session is not None else None,
        )

    def _commands(self, fields: dict[str, Any], where: str) -> tuple[float, float]:
        """Of whoever drove: the user, the pilot, or the pilot at the wheel and the user at the throttle."""
        mode = fields.get("user/mode")
        steers = "user" if mode in {None, "user"} else "pilot"
        drives = "pilot" if mode == "local" else "user"
        if mode not in {None, "user", "local", "local_angle", "local_steering"}:
            raise DamagedRecordError(f"{where}: expected user/mode user, local_angle or local, got {str(mode)[:40]!r}")
        names = [name for name in (f"{steers}/{angle}" for angle in _ANGLES) if name in fields]
        if not names:
            told = ", ".join(sorted(fields)[:20])
            raise DamagedRecordError(f"{where}: expected {' or '.join(f'{steers}/{a}' for a in _ANGLES)}, found {told}")
        angle = _command(fields, names[0], where)
        throttle = _command(fields, f"{drives}/throttle", where)
        if steers == "pilot":
            self._drivers[str(mode)] = self._drivers.get(str(mode), 0) + 1
        if names[0].endswith("steering"):
            self.remarks.note(f"the tub calls the angle {names[0]}: it is taken as {steers}/angle")
        return angle, throttle

    def _inside(self, folder: Path, name: object, where: str) -> Path:
        """A file directly in `folder`, whatever the tub calls it."""
        if not isinstance(name, str) or name in {"", ".", ".."} or "/" in name or "\\" in name or "\0" in name:
            raise EpisodeError("tub", f"{where}: expected a file name without a path, got {name!r}")
        path = folder / name
        if path.is_symlink():
            raise EpisodeError("tub", f"{where}: expected a file, found that {name} is a link")
        return path


class DamagedRecordError(EpisodeError):
    """One record of a tub makes no sense; the others may."""

    def __init__(self, message: str) -> None:
        super().__init__("tub", message)


@contextmanager
def opened(tub: Path) -> Iterator[list[Path]]:
    """The folders that hold a tub's manifest.json, by name, unpacked for as long as they are open where `tub` is an
    archive.

    Raises:
        EpisodeError: `tub`, there is none.
    """
    if tub.is_dir():
        yield _tubs(tub, tub)
    elif tub.is_file():
        with TemporaryDirectory(prefix="drover-tub-") as scratch:
            unpack(tub, Path(scratch))
            yield _tubs(Path(scratch), tub)
    else:
        raise EpisodeError(
            "tub", f"{tub}: expected a Donkey tub's folder or its tar or zip archive, found nothing there"
        )


def _tubs(folder: Path, tub: Path) -> list[Path]:
    found = list(_search(folder, _DEPTH))
    if not found:
        raise EpisodeError(
            "tub", f"{tub}: expected a manifest.json (Donkey tub version 2), found none; convert older tubs with "
            "donkey's convert_to_tub_v2"
        )  # fmt: skip
    return found


def _search(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "manifest.json").is_file():
        yield folder
    elif depth:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink() and not is_side_file(path):
                yield from _search(path, depth - 1)


def _moment(timestamp_ms: float, where: str) -> datetime:
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise DamagedRecordError(f"{where}: expected _timestamp_ms since 1970, got {timestamp_ms}") from None


def _command(fields: dict[str, Any], name: str, where: str) -> float:
    value = _number(fields.get(name), name, where)
    if abs(value) > ACTION_LIMIT:
        raise DamagedRecordError(f"{where}: expected {name} in [-1, 1], got {value}")
    return value


def _number(value: object, name: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DamagedRecordError(f"{where}: expected {name} to be a number, got {value!r}")
    return float(value)
