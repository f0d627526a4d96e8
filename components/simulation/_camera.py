"""The robot's front camera: a ray caster that needs nothing but pip packages."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, product
from typing import cast

import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import ConfigurationError

from ._raycast import Floats, Lights, Solids, Textures, View, render_rows
from ._scenario import ROOM, Scenario, sample_scenario
from ._scene import WALL_HEIGHT, Solid, solids_of
from ._textures import Texture, box_texture, floor_texture, wall_texture, with_levels

RENDERER = "numba-raycast-1"
"""Recorded in every simulated episode; counts up when pictures change."""

CAMERA_WIDTH, CAMERA_HEIGHT = 1280, 720
_VERTICAL_FIELD = np.deg2rad(55.0)
_NEAR = 0.02
_SIGNS = tuple(product((-1, 1), repeat=3))


@dataclass(frozen=True)
class Mount:
    """Where the camera sits on the robot."""

    ahead: float = 0.14
    """Metres before the robot's centre."""
    above: float = 0.50
    """Metres above the floor."""
    pitch: float = 0.20
    """Radians downwards."""


class Camera:
    """Pictures of one room. A pose gives the same picture on every call, in every process and with any threads.

    Args:
        scenario: the room.
        width, height: of the picture. The field of view is the 1280x720 camera's: other aspects are refused.
        samples: rays a pixel along each side, averaged as `episodes.resize_frame` averages pixels.
        threads: rows are shared out among so many.
        mount: where the camera sits.

    Raises:
        ConfigurationError: not the camera's aspect.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        width: int = CAMERA_WIDTH,
        height: int = CAMERA_HEIGHT,
        samples: int = 1,
        threads: int = 1,
        mount: Mount | None = None,
    ) -> None:
        if width * CAMERA_HEIGHT != height * CAMERA_WIDTH:
            raise ConfigurationError(
                f"expected the camera's aspect, {CAMERA_WIDTH}:{CAMERA_HEIGHT}, got {width}x{height}; "
                "render 1280x720 and resize it with episodes.resize_frame"
            )
        self.width, self.height, self._samples = width, height, samples
        self._pixel = 2 * float(np.tan(_VERTICAL_FIELD / 2)) / (height * samples)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._threads, self._mount = threads, mount or Mount()
        self._lights = _lights(scenario)
        solids = solids_of(scenario)
        self._solids, self._corners = _pack_solids(solids, self._lights.sun), _corners(solids)
        self._textures = Textures(*with_levels(_textures(scenario)))
        self._room = np.array([*ROOM, WALL_HEIGHT])

    def render(self, pose: tuple[float, float, float] | Floats) -> NDArray[np.uint8]:
        """What the robot sees from x, y (m), yaw (rad): (H, W, 3) uint8 RGB, a new array."""
        out = np.empty((self.height, self.width, 3), np.uint8)
        scene = (self._samples, self._view(*map(float, pose)), self._room, self._solids, self._textures, self._lights)
        if self._pool is None:
            render_rows(out, (0, self.height), *scene)
        else:
            # Small bands, because solids make some rows dearer than others.
            edges = np.linspace(0, self.height, 8 * self._threads + 1).astype(int).tolist()
            for band in [self._pool.submit(render_rows, out, rows, *scene) for rows in pairwise(edges)]:
                band.result()
        return out

    def _view(self, x: float, y: float, yaw: float) -> View:
        cosine, sine = np.cos(yaw), np.sin(yaw)
        ahead, pitch = self._mount.ahead, self._mount.pitch
        eye = np.array([x + ahead * cosine, y + ahead * sine, self._mount.above])
        right = np.array([sine, -cosine, 0.0])
        forward = np.array([cosine * np.cos(pitch), sine * np.cos(pitch), -np.sin(pitch)])
        axes = np.stack([right, np.cross(right, forward), forward])
        turns = self._solids.turns
        return View(
            eye=eye,
            axes=axes,
            pixel=self._pixel,
            bounds=_bounds(self._corners, eye, axes),
            origins=_into_frames(eye - self._solids.centres, turns),
            local_axes=np.stack([_into_frames(axis, turns) for axis in axes], axis=1),
        )

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def warm_up() -> None:
    """Compile the camera, or load the compiled one from the cache: do it once before processes are started."""
    Camera(sample_scenario("1box_vert_left", 0), width=16, height=9).render((0.0, 0.0, 0.0))


def _into_frames(vectors: Floats, turns: Floats) -> Floats:
    """World vectors, (3,) or (N, 3), into the frame of each of N solids: (N, 3)."""
    x, y, z = np.broadcast_to(vectors, (len(turns), 3)).T
    cosine, sine = turns.T
    return np.stack([cosine * x + sine * y, cosine * y - sine * x, z], axis=1)


def _pack_solids(solids: tuple[Solid, ...], sun: Floats) -> Solids:
    halves = np.array([(s.half_x, s.half_y, s.half_z) for s in solids])
    yaw = np.array([s.yaw for s in solids])
    turns = np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    styled = np.array([s.style >= 0 for s in solids])
    return Solids(
        kinds=np.array([0 if s.kind == "box" else 1 for s in solids]),
        centres=np.array([(s.x, s.y, s.z) for s in solids]),
        halves=halves,
        turns=turns,
        radii=np.linalg.norm(halves, axis=1),
        colours=np.array([s.rgb for s in solids]),
        textures=np.where(styled, np.cumsum(styled) + 1, -1),  # after the floor's and the walls'
        suns=_into_frames(sun, turns),
    )


def _corners(solids: tuple[Solid, ...]) -> Floats:
    """(N, 8, 3): of the boxes, and of the boxes about the cylinders."""
    corners = []
    for s in solids:
        along = np.array([np.cos(s.yaw), np.sin(s.yaw), 0.0]) * s.half_x
        across = np.array([-np.sin(s.yaw), np.cos(s.yaw), 0.0]) * s.half_y
        up = np.array([0.0, 0.0, s.half_z])
        corners.append([(s.x, s.y, s.z) + a * along + b * across + c * up for a, b, c in _SIGNS])
    return np.array(corners)


def _bounds(corners: Floats, eye: Floats, axes: Floats) -> Floats:
    """(N, 4) u from, to, v from, to of each solid's corners; everything for one beside the eye, nothing behind it."""
    seen = (corners - eye) @ axes.T
    depth = seen[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = seen[..., 0] / depth, seen[..., 1] / depth
    bounds = np.stack([u.min(1), u.max(1), v.min(1), v.max(1)], axis=1)
    bounds[(depth < _NEAR).any(1)] = (-10.0, 10.0, -10.0, 10.0)
    bounds[(depth < _NEAR).all(1)] = (0.0, 0.0, 10.0, -10.0)
    return cast("Floats", np.clip(bounds, -10.0, 10.0))


def _textures(scenario: Scenario) -> list[Texture]:
    look = scenario.look
    rng = np.random.default_rng(look.texture_seed)
    return [
        floor_texture(look.floor, look.floor_rgb, rng),
        wall_texture(look.wall, look.wall_rgb, rng),
        *(box_texture(box.style, box.rgb, rng) for box in scenario.boxes),
    ]


def _lights(scenario: Scenario) -> Lights:
    look = scenario.look
    sun = np.array([-0.35 * look.light_x, -0.35 * look.light_y, 1.0])
    fill = np.array([-0.6, 0.3 if look.light_y > 0 else -0.3, 0.7])
    gain, warmth = look.light_gain, look.warmth
    rgb = np.array(
        [
            [look.ambient + 0.06] * 3,
            [(0.58 + warmth) * gain, 0.56 * gain, (0.54 - warmth) * gain],
            [0.28 * gain, 0.28 * gain, 0.30 * gain],
        ]
    )
    return Lights(sun / np.linalg.norm(sun), fill / np.linalg.norm(fill), rgb)
