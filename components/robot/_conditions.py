"""When a robot may upload, and how fast: what the user wrote down, and pure decisions on it."""

import json
import time
import tomllib
from datetime import datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from components.contracts import Frozen
from components.contracts.errors import ConfigurationError

RULES_FILE = "upload.toml"
"""In a robot's spool folder, for its user to edit."""
POWER_FILE = "power.json"
"""In a robot's spool folder: `{"battery_percent": 81.5, "docked": true}`, written by whatever knows it better than the
kernel, e.g. a ROS node that subscribes to sensor_msgs/BatteryState (to a file beside it, then renamed)."""
_POWER_LIFE_S = 300.0
_SUPPLIES = Path("/sys/class/power_supply")


class UploadRules(BaseSettings):
    """`<spool>/upload.toml`, and over it the environment: `DROVER_ROBOT_UPLOAD_WINDOW=22:00-06:00`."""

    model_config = SettingsConfigDict(env_prefix="DROVER_ROBOT_", extra="forbid", frozen=True)

    bandwidth_kib_s: Annotated[float, Field(gt=0)] | None = None
    """KiB/s that uploads may take at most, on average; None: no limit."""
    upload_window: str | None = None
    """Local time in which uploads may run, `22:00-06:00`; None: always."""
    dock_only: bool = False
    """Upload only while the robot stands on its dock, i.e. has power from outside."""
    min_battery_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    """Upload only with at least this much charge, unless it is docked."""

    @field_validator("upload_window")
    @classmethod
    def _has_two_times(cls, value: str | None) -> str | None:
        if value is not None:
            window_of(value)
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment outranks what the file says."""
        return env_settings, init_settings


def read_rules(folder: Path) -> UploadRules:
    """The rules of a spool: its `upload.toml`, where there is one, and the environment.

    Raises:
        ConfigurationError: a rule that makes no sense, named.
    """
    path = folder / RULES_FILE
    try:
        return UploadRules(**(tomllib.loads(path.read_text()) if path.exists() else {}))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:3])
        raise ConfigurationError(
            f"{path} or DROVER_ROBOT_*: {faults}; mend it, nothing is uploaded until then"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(
            f"{path}: expected TOML, but: {error}; nothing is uploaded until it is mended"
        ) from None


class Power(Frozen):
    """What is known of a robot's power; None: unknown."""

    battery_percent: float | None = None
    docked: bool | None = None


def read_power(folder: Path, *, supplies: Path = _SUPPLIES) -> Power:
    """From `<folder>/power.json` if it is not older than five minutes, else from the kernel's power supplies.

    Of several batteries the emptiest counts; a mains or USB supply that is online is a dock. What cannot be read is
    unknown.
    """
    path = folder / POWER_FILE
    try:
        if 0 <= time.time() - path.stat().st_mtime <= _POWER_LIFE_S:
            return Power.model_validate(json.loads(path.read_text()))
    except (OSError, ValueError, RecursionError):  # ValidationError is a ValueError
        pass
    charges, online = [], []
    try:
        found = sorted(supplies.iterdir())
    except OSError:
        return Power()
    for supply in found:
        kind = _word(supply / "type")
        if kind == "Battery" and (charge := _word(supply / "capacity")) and charge.isdigit():
            charges.append(float(charge))
        elif kind is not None and kind != "Battery" and (state := _word(supply / "online")) is not None:
            online.append(state == "1")
    return Power(battery_percent=min(charges, default=None), docked=any(online) if online else None)


def why_not_now(rules: UploadRules, power: Power, local_time: datetime) -> str | None:
    """Why nothing may be uploaded at this moment; None: it may. What a rule needs and nobody knows forbids."""
    if rules.upload_window is not None and not in_window(rules.upload_window, local_time.time()):
        return f"it is {local_time:%H:%M}, uploads run {rules.upload_window}"
    if rules.dock_only and not power.docked:
        return "the robot is not on its dock" if power.docked is False else "nobody knows whether the robot is docked"
    if rules.min_battery_percent is not None and not power.docked:
        if power.battery_percent is None:
            return f"nobody knows the battery's charge, uploads need {rules.min_battery_percent:g} %"
        if power.battery_percent < rules.min_battery_percent:
            return f"the battery is at {power.battery_percent:g} %, uploads need {rules.min_battery_percent:g} %"
    return None


def in_window(window: str, now: time_of_day) -> bool:
    """Whether a time of day is in `22:00-06:00`; its start is, its end is not."""
    start, end = window_of(window)
    if start < end:
        return start <= now < end
    return now >= start or now < end


def window_of(text: str) -> tuple[time_of_day, time_of_day]:
    """Start and end.

    Raises:
        ValueError: not two different times of day.
    """
    try:
        start, end = (time_of_day.fromisoformat(part.strip()) for part in text.split("-"))
    except ValueError:
        raise ValueError(f"expected two times of day such as 22:00-06:00, got {text!r}") from None
    if start == end or start.tzinfo or end.tzinfo:
        raise ValueError(f"expected two different local times, got {text!r}; leave it out for no window")
    return start, end


class TokenBucket:
    """Lets bytes through at a rate on average, with bursts of at most a second's worth. Time is the caller's."""

    def __init__(self, bytes_per_s: float) -> None:
        self._rate = bytes_per_s
        self._tokens = bytes_per_s
        self._at: float | None = None

    def delay(self, size: int, now: float) -> float:
        """Take `size` tokens; seconds to wait before that many bytes are sent.

        Args:
            size: bytes about to be sent.
            now: a monotonic clock, s.
        """
        if self._at is not None:
            self._tokens = min(self._rate, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        self._tokens -= size
        return max(0.0, -self._tokens / self._rate)


def _word(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
