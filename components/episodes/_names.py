"""Names and scenarios: `episode_YYYYMMDD_HHMMSS_<scenario>[_<pattern>_<distance>]`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

SCENARIOS: tuple[str, ...] = (
    "1box_vert_left", "1box_vert_right", "1box_hori_left", "1box_hori_right",
    "2box_vert_left", "2box_vert_right", "2box_hori_left", "2box_hori_right",
)  # fmt: skip
"""One box or two, in line with the way (`vert`) or across it (`hori`), passed left or right."""

PATTERNS = ("core", "variant")
DISTANCES = ("close", "medium", "far")
POSITIONS = ("left", "center", "right")
"""Of the obstacle, seen from the robot where it starts."""

_POSITION_WORDS = {"left": "left", "right": "right"} | dict.fromkeys(("center", "centre", "middle"), "center")

_NAME = re.compile(
    r"^episode_(?P<day>\d{8})_(?P<time>\d{6})"
    rf"(?:_(?P<scenario>{'|'.join(SCENARIOS)})(?:_(?P<pattern>{'|'.join(PATTERNS)})_(?P<distance>{'|'.join(DISTANCES)}))?)?"
    r"(?P<rest>[._-][A-Za-z0-9._-]*)?$"
)


@dataclass(frozen=True)
class EpisodeNameParts:
    """What a name says. Everything is None for a name that does not follow the robots' convention."""

    recorded_at: datetime | None = None
    """The name's time, which has no zone; read as UTC."""
    scenario: str | None = None
    pattern: str | None = None
    distance: str | None = None


def parse_name(name: str) -> EpisodeNameParts:
    """Read an episode's name, with or without `.h5`. Never raises: names come from outside."""
    match = _NAME.match(name.removesuffix(".h5"))
    if match is None:
        return EpisodeNameParts()
    try:
        recorded_at = datetime.strptime(match["day"] + match["time"], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        recorded_at = None
    return EpisodeNameParts(recorded_at, match["scenario"], match["pattern"], match["distance"])


def parse_position(name: str, stated: str | None = None) -> str | None:
    """The obstacle's position: what the file states, or else a part of the name after pattern and distance, such as
    `..._core_medium_center`; `centre` and `middle` count too. None where neither tells."""
    match = _NAME.match(name.removesuffix(".h5"))
    rest = match["rest"] if match and match["pattern"] else None
    for text in (stated, rest):
        said = re.split(r"[^a-z]+", (text or "").lower())
        found = {_POSITION_WORDS[word] for word in said if word in _POSITION_WORDS}
        if len(found) == 1:
            return found.pop()
    return None


def make_name(
    recorded_at: datetime, scenario: str, pattern: str | None = None, distance: str | None = None, suffix: str = ""
) -> str:
    """The name (without `.h5`) that `parse_name` reads back. `suffix` is appended after an underscore."""
    parts = ["episode", recorded_at.strftime("%Y%m%d_%H%M%S"), scenario]
    if pattern and distance:
        parts += [pattern, distance]
    return "_".join([*parts, suffix] if suffix else parts)


def mirror_scenario(scenario: str) -> str:
    """The scenario seen in a mirror: left and right change places."""
    if scenario.endswith("_left"):
        return scenario.removesuffix("left") + "right"
    if scenario.endswith("_right"):
        return scenario.removesuffix("right") + "left"
    return scenario
