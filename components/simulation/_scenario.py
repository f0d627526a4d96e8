"""What a room looks like, as pure data: sampled from a seed, no simulator needed."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from components.contracts.errors import ConfigurationError
from components.episodes import SCENARIOS

Pattern = Literal["core", "variant"]
Distance = Literal["close", "medium", "far"]
Position = Literal["left", "center", "right"]
Rgb = tuple[float, float, float]

_PATTERNS: tuple[Pattern, ...] = ("core", "core", "variant")  # as often as operators drove each
_DISTANCES: tuple[Distance, ...] = ("close", "medium", "far")
POSITIONS: tuple[Position, ...] = ("left", "center", "right")

ROOM = (-1.6, 6.0, -2.6, 2.6)
"""x from, x to, y from, y to: metres. The robot starts near the origin and looks along x; y is to its left."""

_BOX_DISTANCE = {"close": 0.9, "medium": 1.25, "far": 1.35}  # robot's centre to the first face, m
_BOX_OFFSET = {"left": 0.3, "center": 0.0, "right": -0.3}  # of the obstacle, m
_CUP_COLOURS: tuple[Rgb, ...] = (
    (0.80, 0.08, 0.08),
    (0.10, 0.25, 0.80),
    (0.10, 0.60, 0.20),
    (0.90, 0.75, 0.10),
    (0.92, 0.92, 0.92),
    (0.95, 0.45, 0.05),
)
_CARDBOARD = np.array([0.72, 0.54, 0.34])


@dataclass(frozen=True)
class Box:
    """A box on the floor. Metres; half sizes; yaw in radians."""

    x: float
    y: float
    half_x: float
    half_y: float
    half_z: float
    yaw: float
    style: int
    """Which printed pattern; -1 is plain."""
    rgb: Rgb

    @property
    def extent(self) -> tuple[float, float]:
        """Half sizes of the upright rectangle, along x and y, that holds the turned box."""
        cosine, sine = abs(math.cos(self.yaw)), abs(math.sin(self.yaw))
        return self.half_x * cosine + self.half_y * sine, self.half_x * sine + self.half_y * cosine


@dataclass(frozen=True)
class Look:
    """What decides how a room looks and nothing else."""

    floor: int
    wall: int
    floor_rgb: Rgb
    wall_rgb: Rgb
    light_x: float
    light_y: float
    light_gain: float
    ambient: float
    warmth: float
    texture_seed: int


@dataclass(frozen=True)
class Scenario:
    """One seeded room with its task."""

    name: str
    """`{1box,2box}_{vert,hori}_{left,right}`."""
    pattern: Pattern
    """`core` starts looking ahead; `variant` starts turned away, so that its first presses turn back (R or T)."""
    distance: Distance
    position: Position
    seed: int
    boxes: tuple[Box, ...]
    """The obstacle, nearest first."""
    clutter: tuple[Box, ...]
    """Furniture along the side walls: landmarks, never in the way."""
    cup: tuple[float, float]
    cup_rgb: Rgb
    start: tuple[float, float, float]
    """x, y in metres, yaw in radians."""
    look: Look

    @property
    def side(self) -> float:
        """+1 where the instruction says left, -1 where it says right."""
        return 1.0 if self.name.endswith("left") else -1.0


def sample_scenario(
    name: str,
    seed: int,
    *,
    pattern: Pattern | None = None,
    distance: Distance | None = None,
    position: Position | None = None,
) -> Scenario:
    """Draw a room. Equal arguments give an equal room on every machine.

    Args:
        name: one of the eight scenarios.
        seed: of everything that is not given.
        pattern: None draws it, as for the two after it.
        distance: to the first box.
        position: of the obstacle, seen from the robot.

    Raises:
        ConfigurationError: no such scenario.
    """
    if name not in SCENARIOS:
        raise ConfigurationError(f"expected a scenario of {', '.join(SCENARIOS)}, got {name!r}")
    rng = np.random.default_rng([seed, SCENARIOS.index(name)])
    # Drawn whether given or not, so that naming one leaves the rest of the room as it was.
    drawn = (rng.integers(len(_PATTERNS)), rng.integers(len(_DISTANCES)), rng.integers(len(POSITIONS)))
    pattern = pattern or _PATTERNS[drawn[0]]
    distance = distance or _DISTANCES[drawn[1]]
    position = position or POSITIONS[drawn[2]]
    front = _BOX_DISTANCE[distance] + rng.uniform(-0.08, 0.08)
    offset = _BOX_OFFSET[position] + rng.uniform(-0.08, 0.08)
    boxes = _obstacle(rng, name, front, offset)
    back = max(box.x + box.half_x for box in boxes)
    turned = 0.0 if pattern == "core" else float(rng.choice([-1, 1]) * rng.uniform(0.25, 0.42))
    return Scenario(
        name=name,
        pattern=pattern,
        distance=distance,
        position=position,
        seed=seed,
        boxes=boxes,
        cup=(float(back + rng.uniform(0.95, 1.15)), float(offset + rng.uniform(-0.25, 0.25))),
        cup_rgb=_CUP_COLOURS[rng.integers(len(_CUP_COLOURS))],
        start=(_u(rng, 0.08), _u(rng, 0.08), turned + _u(rng, 0.05)),
        look=_look(rng),
        clutter=_clutter(rng),
    )


def _u(rng: np.random.Generator, half: float) -> float:
    return float(rng.uniform(-half, half))


def _rgb(values: np.ndarray) -> Rgb:
    red, green, blue = np.clip(values, 0, 1).tolist()
    return red, green, blue


def _box(rng: np.random.Generator, x: float, y: float, half_x: float, half_y: float) -> Box:
    cardboard = rng.random() < 0.65
    rgb = (
        _CARDBOARD * rng.uniform(0.75, 1.15) + rng.uniform(-0.06, 0.06, 3) if cardboard else rng.uniform(0.15, 0.85, 3)
    )
    return Box(
        x=float(x),
        y=float(y),
        half_x=float(half_x),
        half_y=float(half_y),
        half_z=float(rng.uniform(0.13, 0.20)),
        yaw=_u(rng, 0.12),
        style=int(rng.integers(4)),
        rgb=_rgb(rgb),
    )


def _obstacle(rng: np.random.Generator, name: str, front: float, offset: float) -> tuple[Box, ...]:
    """`vert` stands in line with the way, `hori` across it."""
    count, orientation, _ = name.split("_")
    if count == "1box":
        long, short = rng.uniform(0.30, 0.38), rng.uniform(0.16, 0.21)
        half_x, half_y = (long, short) if orientation == "vert" else (short, long)
        return (_box(rng, front + half_x, offset, half_x, half_y),)
    first, second = rng.uniform(0.17, 0.22, 2)
    if orientation == "vert":
        gap = rng.uniform(0.08, 0.18)
        behind = front + 2 * first + gap + second
        return (
            _box(rng, front + first, offset, first, rng.uniform(0.17, 0.22)),
            _box(rng, behind, offset + _u(rng, 0.06), second, rng.uniform(0.17, 0.22)),
        )
    gap = rng.uniform(0.04, 0.12)
    return (
        _box(rng, front + 0.2, offset + first + gap / 2, rng.uniform(0.16, 0.20), first),
        _box(rng, front + 0.2 + _u(rng, 0.06), offset - second - gap / 2, rng.uniform(0.16, 0.20), second),
    )


def _look(rng: np.random.Generator) -> Look:
    return Look(
        floor=int(rng.integers(4)),
        wall=int(rng.integers(3)),
        floor_rgb=_rgb(rng.uniform(0.30, 0.72) + rng.uniform(-0.09, 0.09, 3)),
        wall_rgb=_rgb(rng.uniform(0.60, 0.86) + rng.uniform(-0.06, 0.06, 3)),
        light_x=_u(rng, 1.2),
        light_y=_u(rng, 1.2),
        light_gain=float(rng.uniform(0.75, 1.15)),
        ambient=float(rng.uniform(0.25, 0.42)),
        warmth=_u(rng, 0.06),
        texture_seed=int(rng.integers(1 << 30)),
    )


def _clutter(rng: np.random.Generator) -> tuple[Box, ...]:
    items = []
    for _ in range(rng.integers(4)):
        half_x, half_y, half_z = rng.uniform([0.15, 0.15, 0.2], [0.35, 0.25, 0.8]).tolist()
        side = float(rng.choice([-1, 1]))
        items.append(
            Box(
                x=float(rng.uniform(1.5, ROOM[1] - 0.6)),
                y=side * (ROOM[3] - half_y - 0.02),
                half_x=half_x,
                half_y=half_y,
                half_z=half_z,
                yaw=0.0,
                style=-1,
                rgb=_rgb(rng.uniform(0.15, 0.85, 3)),
            )
        )
    return tuple(items)
