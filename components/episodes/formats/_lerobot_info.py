"""What a LeRobotDataset says about itself (meta/info.json), read as a stranger's: paths stay inside the dataset."""

import math
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.contracts import AXES, Axis, Frozen
from components.contracts.errors import ConfigurationError, EpisodeError

from ._conversion import Remarks
from ._images import check_size
from ._sources import json_text

_JSON_BYTES = 16 * 2**20
_MAX_FEATURES = 500
_MAX_ELEMENTS = 1000
_FIELD = re.compile(r"\{([a-z_]+)(?::0(\d)d)?\}")
_SAFE_KEY = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")

Unit = Literal["m/s", "rad/s", "deg/s"]
UNITS: tuple[Unit, ...] = ("m/s", "rad/s", "deg/s")
_KNOWN: dict[str, tuple[Axis, Unit]] = {
    "linear_x": ("linear_x", "m/s"), "linear.x": ("linear_x", "m/s"), "x.vel": ("linear_x", "m/s"),
    "linear_velocity": ("linear_x", "m/s"),
    "linear_y": ("linear_y", "m/s"), "linear.y": ("linear_y", "m/s"), "y.vel": ("linear_y", "m/s"),
    "angular_z": ("angular_z", "rad/s"), "angular.z": ("angular_z", "rad/s"),
    "angular_velocity": ("angular_z", "rad/s"),
    "theta.vel": ("angular_z", "deg/s"),
}  # fmt: skip
"""Action names that say what they mean. LeKiwi's theta.vel is in degrees a second."""


class MissingFileError(EpisodeError):
    """A file that the dataset names is not there."""


class _Feature(BaseModel):
    dtype: str
    shape: Annotated[list[int], Field(max_length=8)]
    names: Any = None

    def labels(self) -> list[str | None]:
        """A name for each element, None where it has none. LeRobot writes a list, a mapping of groups to lists, or of
        names to indices; names that are not as many as the elements name none of them."""
        count = self.shape[0]
        if isinstance(self.names, dict) and self.names and all(type(at) is int for at in self.names.values()):
            by_index = {at: str(name) for name, at in self.names.items()}
            return [by_index.get(at) for at in range(count)]
        groups = list(self.names.values()) if isinstance(self.names, dict) else [self.names]
        flat = [name for group in groups if isinstance(group, list) for name in group]
        if len(flat) != count:
            return [None] * count
        return [name if isinstance(name, str) and name else None for name in flat]


class LeRobotInfo(BaseModel):
    """The part of meta/info.json that an import needs."""

    model_config = ConfigDict(extra="ignore")

    codebase_version: str
    fps: Annotated[float, Field(gt=0, le=1000)]
    data_path: Annotated[str, Field(max_length=300)]
    video_path: Annotated[str | None, Field(max_length=300)] = None
    chunks_size: Annotated[int, Field(ge=1)] = 1000
    total_episodes: Annotated[int, Field(ge=0)] = 0
    total_frames: Annotated[int, Field(ge=0)] = 0
    features: Annotated[dict[str, _Feature], Field(max_length=_MAX_FEATURES)]

    @property
    def version(self) -> Literal["v2.1", "v3.0"]:
        found: Literal["v2.1", "v3.0"] = "v3.0" if self.codebase_version.startswith("v3.") else "v2.1"
        return found


class AxisSource(Frozen):
    """Which element of the action feature an axis is, and in which unit."""

    axis: Axis
    index: int
    name: str
    unit: Unit

    @property
    def factor(self) -> float:
        """Into m/s and rad/s."""
        return math.pi / 180 if self.unit == "deg/s" else 1.0


def read_info(root: Path) -> LeRobotInfo:
    """Raises EpisodeError (`lerobot`): no dataset, or one of another version."""
    path = root / "meta" / "info.json"
    try:
        info = LeRobotInfo.model_validate_json(read_text(root, "meta/info.json"))
    except ValidationError as error:
        fault = error.errors()[0]
        raise EpisodeError(
            "lerobot",
            f"{path}: expected a LeRobotDataset's info, but {'.'.join(map(str, fault['loc']))}: {fault['msg']}",
        ) from None
    if not re.match(r"^v(3\.\d+|2\.1)$", info.codebase_version):
        raise EpisodeError(
            "lerobot", f"{path}: expected codebase_version v2.1 or v3.x, got {info.codebase_version!r}; "
            "convert it with lerobot's own scripts"
        )  # fmt: skip
    return info


def read_text(root: Path, name: str) -> str:
    path = inside(root, name)
    if path.stat().st_size > _JSON_BYTES:
        raise EpisodeError("lerobot", f"{path}: expected at most {_JSON_BYTES} bytes, got {path.stat().st_size}")
    try:
        return json_text(path.read_bytes())
    except UnicodeDecodeError as error:
        raise EpisodeError("lerobot", f"{path}: expected UTF-8 text, but: {error}") from None


def fill(template: str, **values: int | str) -> str:
    """A path template of info.json, filled in. Never by `str.format`, which obeys whoever wrote the template."""

    def value(match: re.Match[str]) -> str:
        found = values.get(match[1])
        if found is None:
            raise EpisodeError("lerobot", f"expected a path of {', '.join(values)}, got {template!r}")
        return f"{found:0{int(match[2])}d}" if match[2] and isinstance(found, int) else str(found)

    filled = _FIELD.sub(value, template)
    if "{" in filled or "}" in filled:
        raise EpisodeError("lerobot", f"expected a path of {', '.join(values)}, got {template!r}")
    return filled


def inside(root: Path, name: str) -> Path:
    """A file of the dataset.

    Raises:
        MissingFileError: `lerobot`, it is not there.
        EpisodeError: `lerobot`, it would be outside: a path with .., an absolute one, a link out.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise EpisodeError("lerobot", f"{root}: expected a path inside the dataset, got {name!r}")
    path = root.joinpath(*parts)
    if not path.is_file():
        raise MissingFileError("lerobot", f"{root}: expected the file {name}, found none; is the dataset whole?")
    if not path.resolve().is_relative_to(root.resolve()):
        raise EpisodeError(
            "lerobot", f"{root}: {name} is a link to somewhere else; copy the dataset with `cp -rL` if you trust it"
        )
    return path


def choose_camera(info: LeRobotInfo, wanted: str | None) -> str:
    """The image or video feature to take. Raises EpisodeError (`lerobot`) if there is none or it is not said which."""
    cameras = [name for name, feature in info.features.items() if feature.dtype in {"image", "video"}]
    if wanted is None and len(cameras) == 1:
        wanted = cameras[0]
    if wanted not in cameras:
        raise EpisodeError(
            "lerobot", f"expected {repr(wanted) if wanted else 'one camera'}, found {', '.join(cameras) or 'none'}; "
            "choose one with --camera"
        )  # fmt: skip
    shape = info.features[wanted].shape
    if not _SAFE_KEY.match(wanted) or len(shape) != 3:
        raise EpisodeError("lerobot", f"{wanted!r}: expected a plain name and a shape (height, width, channels)")
    longest, other, _ = sorted(shape, reverse=True)  # some write channels first
    check_size(longest, other, wanted)
    return wanted


def choose_axes(info: LeRobotInfo, feature: str, given: dict[Axis, str], remarks: Remarks) -> list[AxisSource]:
    """Which elements of the action feature are the robot's axes. An axis that there is none for stays zero.

    Args:
        given: axis -> `name` or `name:unit`, over what is known by name.
    """
    if feature not in info.features or len(info.features[feature].shape) != 1:
        raise EpisodeError(
            "lerobot",
            f"expected a feature {feature!r} of one dimension, found {', '.join(info.features)}; "
            "choose it with --action",
        )
    labels = info.features[feature].labels()
    if len(labels) > _MAX_ELEMENTS:
        raise EpisodeError("lerobot", f"{feature}: expected at most {_MAX_ELEMENTS} elements, got {len(labels)}")
    found: dict[Axis, AxisSource] = {}
    for index, label in enumerate(labels):
        axis, unit = _KNOWN.get(label or "", (None, None))
        if axis is None or unit is None or axis in given:
            continue
        if axis in found:
            raise EpisodeError(
                "lerobot", f"{feature}: expected one element for {axis}, found {found[axis].name} and {label}; say "
                f"which with --axis {axis}=NAME"
            )  # fmt: skip
        found[axis] = AxisSource(axis=axis, index=index, name=label or "", unit=unit)
    for axis, text in given.items():
        found[axis] = _given_axis(axis, text, labels)
    if not found:
        raise EpisodeError(
            "lerobot", f"{feature}: expected action names such as {', '.join(_KNOWN)}, got {_named(labels)}; say which "
            f"is which, by name or by index from 0, e.g. --axis linear_x={next(filter(None, labels), '0')}:m/s"
        )  # fmt: skip
    _tell(found, labels, feature, remarks)
    return [found[axis] for axis in AXES if axis in found]


def _given_axis(axis: Axis, text: str, labels: list[str | None]) -> AxisSource:
    """`name`, or `index` from 0 where no element has that name, with or without `:unit`."""
    name, _, unit_text = text.rpartition(":") if text.endswith(UNITS) else (text, "", "")
    by_index = name.isascii() and name.isdigit() and len(name) <= 6 and int(name) < len(labels)
    if name not in labels and not by_index:
        raise ConfigurationError(
            f"{axis}: expected an element's name or its index from 0 to {len(labels) - 1}, got {name!r}; there are "
            f"{_named(labels)}"
        )
    if labels.count(name) > 1:
        raise ConfigurationError(f"{axis}: expected one element named {name!r}, found several; give its index")
    index = labels.index(name) if name in labels else int(name)
    label = labels[index]
    default: Unit = _KNOWN[label][1] if label in _KNOWN else "rad/s" if axis == "angular_z" else "m/s"
    chosen = next((unit for unit in UNITS if unit == unit_text), default)
    if (chosen == "m/s") == (axis == "angular_z"):
        raise ConfigurationError(f"{axis}: expected {'rad/s or deg/s' if axis == 'angular_z' else 'm/s'}, got {text!r}")
    return AxisSource(axis=axis, index=index, name=label or f"element {index}", unit=chosen)


def _named(labels: list[str | None]) -> str:
    if not any(labels):
        return f"{len(labels)} elements without names of their own"
    return ", ".join(label or f"element {index} without a name" for index, label in enumerate(labels))


def _tell(found: dict[Axis, AxisSource], labels: list[str | None], feature: str, remarks: Remarks) -> None:
    for source in found.values():
        converted = ", converted to rad/s" if source.unit == "deg/s" else ""
        remarks.note(f"{source.axis} is {feature}'s {source.name} in {source.unit}{converted}")
    for axis in AXES:
        if axis not in found:
            remarks.note(f"{axis} is zero: {feature} has no element for it")
    used = {source.index for source in found.values()}
    if unused := [label or f"element {index}" for index, label in enumerate(labels) if index not in used]:
        remarks.lose(f"{feature}: {', '.join(unused)}")
