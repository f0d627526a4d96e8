"""Procedural surfaces: floors, walls and printed boxes, as float32 RGB images in 0..1.

A surface is a map of zones (tile, joint, tape, label, ...), a few numbers for each zone, and noise. The maps are drawn
once a process; compiled loops do the rest, because a room's textures would otherwise take longer than driving it.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, cast

import numba
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ._scenario import Rgb

Texture = NDArray[np.float32]
"""(n, n, 3) float32 in 0..1, n a power of two."""
Floats = NDArray[np.float64]
Zones = NDArray[np.uint8]

_FLOOR_PIXELS = 512
_WALL_PIXELS = 256
_BOX_PIXELS = 256
_LEVELS = 12
UNSEEN = 16
"""Added to the kind of a floor or a wall: the same surface, drawn over with what no demonstration has."""

_CHECKS = np.array([[205.0, 60.0, 50.0], [40.0, 70.0, 160.0]])
_WOOD = np.array([165, 120, 78])
_TAPE = np.array([200, 180, 130]) * 0.65


class _Zone(NamedTuple):
    """What is done to a surface where it is this zone: ((colour * shade + noise) * kept + print) * edge."""

    shade: float = 1.0
    kept: float = 1.0
    red: float = 0.0
    green: float = 0.0
    blue: float = 0.0
    edge: float = 1.0


def _smooth(rng: np.random.Generator, shape: tuple[int, int], pixels: int) -> NDArray[np.float32]:
    """Noise of few cells, enlarged: (pixels, pixels)."""
    cells = rng.normal(size=shape).astype(np.float32)
    return np.asarray(Image.fromarray(cells).resize((pixels, pixels), Image.Resampling.BICUBIC))


class _Noise(NamedTuple):
    """Clouds of three octaves and the weight of their sum, and one more noise with its own. All are (n, n)."""

    coarse: NDArray[np.float32]
    middle: NDArray[np.float32]
    fine: NDArray[np.float32]
    clouds: float
    grain: Floats
    grains: float


def _clouds(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    return _smooth(rng, (4, 4), n), _smooth(rng, (16, 16), n), _smooth(rng, (64, 64), n)


# Without fastmath: every operation rounds as numpy's would, so that pictures stay as they were recorded.
@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _paint(zones: Zones, table: Floats, colour: Floats, noise: _Noise) -> Texture:
    coarse, middle, fine, clouds, grain, grains = noise
    n = zones.shape[0]
    out = np.empty((n, n, 3), np.float32)
    for row in range(n):
        for column in range(n):
            zone = zones[row, column]
            cloud = (coarse[row, column] * 1.0 + middle[row, column] * 0.6 + fine[row, column] * 0.3) / 1.9
            for c in range(3):
                value = colour[c] * table[zone, 0] + cloud * clouds + grain[row, column] * grains
                value = (value * table[zone, 1] + table[zone, 2 + c]) * table[zone, 5]
                out[row, column, c] = min(max(value, 0.0), 255.0) / 255
    return out


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _halve(texels: NDArray[np.float32], fine: int, coarse: int, n: int) -> None:
    """Means of two by two of the n x n texels from `fine` on, to `coarse` on."""
    half, quarter = n // 2, np.float32(0.25)
    for row in range(half):
        for column in range(half):
            at = fine + 2 * row * n + 2 * column
            for c in range(3):
                above, below = texels[at, c] + texels[at + n, c], texels[at + 1, c]
                texels[coarse + row * half + column, c] = (above + below + texels[at + n + 1, c]) * quarter


def with_levels(textures: Sequence[Texture]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Each with its halves down to one pixel, all end to end.

    Returns:
        (n, 2) pixels along a side and number of levels, (n, levels) where each level begins, (M, 3) texels.
    """
    sizes = np.array([(len(texture), len(texture).bit_length()) for texture in textures])
    offsets = np.zeros((len(textures), _LEVELS), np.int64)
    used = 0
    for index, (pixels, levels) in enumerate(sizes.tolist()):
        for level in range(levels):
            offsets[index, level] = used
            used += (pixels >> level) ** 2
    texels = np.empty((used, 3), np.float32)
    for texture, starts, (pixels, levels) in zip(textures, offsets.tolist(), sizes.tolist(), strict=True):
        texels[starts[0] : starts[0] + pixels**2] = texture.reshape(-1, 3)
        for level in range(1, levels):
            _halve(texels, starts[level - 1], starts[level], pixels >> (level - 1))
    return sizes, offsets, texels


def _surface(zones: Zones, table: Sequence[_Zone], colour: Floats, noise: _Noise) -> Texture:
    return cast("Texture", _paint(zones, np.array(table, dtype=np.float64), colour.astype(np.float64), noise))


@cache
def _no_grain(n: int) -> Floats:
    return np.zeros((n, n))


def _grid(n: int) -> Any:
    return np.mgrid[:n, :n]


@cache
def _plain(n: int) -> Zones:
    return np.zeros((n, n), np.uint8)


@cache
def _tiles() -> Zones:
    """0 and 1 are tiles, 2 and 3 their joints."""
    half = _FLOOR_PIXELS // 2
    row, column = _grid(_FLOOR_PIXELS)
    joint = np.minimum(column % half, row % half) < 4
    return cast("Zones", ((column // half + row // half) % 2 + 2 * joint).astype(np.uint8))


@cache
def _planks() -> Zones:
    """0 to 7 are planks, 8 to 15 their joints."""
    n = _FLOOR_PIXELS
    row, column = _grid(n)
    plank = row // (n // 8)
    joint = (row % (n // 8) < 3) | ((column + plank * 173) % n < 3)
    return cast("Zones", (plank % 8 + 8 * joint).astype(np.uint8))


def floor_texture(kind: int, rgb: Rgb, rng: np.random.Generator) -> Texture:
    """Tiles, planks, carpet or concrete (0..3); covers 2 m x 2 m. With UNSEEN, red and blue checks of 0.25 m."""
    n = _FLOOR_PIXELS
    if kind >= UNSEEN:
        return _checked(floor_texture(kind - UNSEEN, rgb, rng))
    colour = np.array(rgb) * 255
    clouds = _clouds(rng, n)
    if kind == 0:
        table = [_Zone(shade=1 - 0.14 * odd, edge=edge) for edge in (1.0, 0.7) for odd in (0, 1)]
        return _surface(_tiles(), table, colour, _Noise(*clouds, 8.0, _no_grain(n), 0.0))
    if kind == 1:
        tones = rng.uniform(0.82, 1.1, 8).tolist()
        table = [_Zone(shade=tone, edge=edge) for edge in (1.0, 0.6) for tone in tones]
        grain = _smooth(rng, (n, 8), n).astype(np.float64)
        return _surface(_planks(), table, _WOOD * (colour / colour.mean()) ** 0.3, _Noise(*clouds, 0.0, grain, 7.0))
    if kind == 2:
        return _surface(_plain(n), [_Zone()], colour, _Noise(*clouds, 10.0, rng.normal(size=(n, n)), 9.0))
    grey = np.full(3, colour.mean())
    return _surface(_plain(n), [_Zone()], grey, _Noise(*clouds, 16.0, rng.normal(size=(n, n)), 3.0))


def _checked(floor: Texture) -> Texture:
    row, column = _grid(len(floor)) // (len(floor) // 8)
    shade = floor.mean(axis=2, keepdims=True) / floor.mean()
    return cast("Texture", (np.clip(_CHECKS[(row + column) % 2] * shade, 0, 255) / 255).astype(np.float32))


@cache
def _wall_zones(kind: int) -> Zones:
    """1 is a joint between bricks, or a stripe."""
    row, column = _grid(_WALL_PIXELS)
    if kind == 1:
        return cast("Zones", ((row % 32 < 2) | ((column + (row // 32 % 2) * 32) % 64 < 2)).astype(np.uint8))
    return cast("Zones", (column % 32 >= 16).astype(np.uint8)) if kind == 2 else _plain(_WALL_PIXELS)


def wall_texture(kind: int, rgb: Rgb, rng: np.random.Generator) -> Texture:
    """Plaster, bricks or stripes (0..2); covers 2 m x 2 m. With UNSEEN, dark spots every 0.25 m."""
    n = _WALL_PIXELS
    if kind >= UNSEEN:
        return _spotted(wall_texture(kind - UNSEEN, rgb, rng))
    clouds = _clouds(rng, n)
    table = [_Zone(), _Zone(kept={1: 0.8, 2: 0.94}.get(kind, 1.0))]
    return _surface(_wall_zones(kind), table, np.array(rgb) * 255, _Noise(*clouds, 4.0, rng.normal(size=(n, n)), 1.5))


def _spotted(wall: Texture) -> Texture:
    every = len(wall) // 8
    row, column = _grid(len(wall)) % every - every // 2
    return np.where((np.hypot(row, column) < every // 3)[..., None], wall * np.float32(0.3), wall)


_BOX_TABLE = [
    _Zone(kept=kept, red=red, green=green, blue=blue, edge=edge)
    for edge in (1.0, 0.72)
    for kept, red, green, blue in ((1.0, 0, 0, 0), (0.35, *_TAPE.tolist()), (0.0, *[235.0] * 3), (0.0, *[60.0] * 3),
                                   (0.8, 0, 0, 0))
]  # fmt: skip
"""Board, tape, label, its lines, hatching; then the same at the edges."""


@cache
def _box_zones(style: int) -> Zones:
    n = _BOX_PIXELS
    row, column = _grid(n)
    zones = np.zeros((n, n), np.uint8)
    if style in (0, 1):
        zones[np.abs(column - n / 2) < n * 0.07] = 1
    if style == 1:
        top, left = int(n * 0.58), int(n * 0.62)
        zones[top : top + 53, left : left + 73] = 2
        zones[top + 10 : top + 43 : 8, left + 8 : left + 62] = 3
    if style == 2:
        zones[(row + column) % 64 < 11] = 4
    edge = np.minimum(np.minimum(row, column), np.minimum(n - 1 - row, n - 1 - column)) < 4
    return cast("Zones", (zones + 5 * edge).astype(np.uint8))


def box_texture(style: int, rgb: Rgb, rng: np.random.Generator) -> Texture:
    """Taped, taped with a label, hatched or plain (0..3); one image a face, whatever the face's size."""
    n = _BOX_PIXELS
    clouds = _clouds(rng, n)
    noise = _Noise(*clouds, 6.0, rng.normal(size=(n, n)), 2.0)
    return _surface(_box_zones(style), _BOX_TABLE, np.array(rgb) * 255, noise)
