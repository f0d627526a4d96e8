"""The solids of a room: one list, of which physics builds its model and the camera its picture."""

from dataclasses import dataclass
from typing import Literal

from ._scenario import Box, Rgb, Scenario

WALL_HEIGHT = 2.6
_CUP_RADIUS = 0.085
_CUP_HALF_HEIGHT = 0.11


@dataclass(frozen=True)
class Solid:
    """A box turned about the vertical, or an upright cylinder (half_x is its radius). Metres, radians."""

    name: str
    kind: Literal["box", "cylinder"]
    x: float
    y: float
    z: float
    half_x: float
    half_y: float
    half_z: float
    yaw: float
    rgb: Rgb
    style: int = -1
    """Printed pattern of an obstacle's sides; -1 is plain."""


def solids_of(scenario: Scenario) -> tuple[Solid, ...]:
    """Obstacle, furniture and cup, in that order. Floor and walls are not solids."""
    obstacle = [_solid(f"box{i}", box) for i, box in enumerate(scenario.boxes)]
    furniture = [_solid(f"clutter{i}", box) for i, box in enumerate(scenario.clutter)]
    return (*obstacle, *furniture, *_cup(scenario.cup, scenario.cup_rgb))


def _solid(name: str, box: Box) -> Solid:
    size = (box.half_x, box.half_y, box.half_z)
    return Solid(name, "box", box.x, box.y, box.half_z, *size, box.yaw, box.rgb, box.style)


def _cup(at: tuple[float, float], rgb: Rgb) -> list[Solid]:
    """A mug: body, something dark in it, and a handle of three bars."""
    x, y = at
    top = 2 * _CUP_HALF_HEIGHT
    body = Solid("cup", "cylinder", x, y, _CUP_HALF_HEIGHT, _CUP_RADIUS, _CUP_RADIUS, _CUP_HALF_HEIGHT, 0.0, rgb)
    inside = Solid("cup-inside", "cylinder", x, y, top + 0.0015, 0.068, 0.068, 0.002, 0.0, (0.12, 0.09, 0.07))
    bars = [
        Solid(f"cup-handle{i}", "box", x, y - offset, z, 0.012, half_y, half_z, 0.0, rgb)
        for i, (offset, z, half_y, half_z) in enumerate(
            ((0.115, 0.06, 0.035, 0.012), (0.115, 0.16, 0.035, 0.012), (0.150, 0.11, 0.012, 0.062))
        )
    ]
    return [body, inside, *bars]
