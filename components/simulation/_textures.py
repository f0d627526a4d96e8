"""Procedural surfaces: floors, walls and printed boxes, as float32 RGB images in 0..1."""

from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ._scenario import Rgb

Texture = NDArray[np.float32]
"""(n, n, 3) float32 in 0..1, n a power of two."""

_FLOOR_PIXELS = 512
_WALL_PIXELS = 256
_BOX_PIXELS = 256
UNSEEN = 16
"""Added to the kind of a floor or a wall: the same surface, drawn over with what no demonstration has."""

_CHECKS = np.array([[205.0, 60.0, 50.0], [40.0, 70.0, 160.0]])


def _smooth(rng: np.random.Generator, shape: tuple[int, int], pixels: int) -> NDArray[np.float64]:
    """Noise of few cells, enlarged: (pixels, pixels, 1)."""
    cells = rng.normal(size=shape).astype(np.float32)
    image = Image.fromarray(cells).resize((pixels, pixels), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float64)[..., None]


def _clouds(rng: np.random.Generator, pixels: int) -> NDArray[np.float64]:
    octaves = ((4, 1.0), (16, 0.6), (64, 0.3))
    total = sum(_smooth(rng, (cells, cells), pixels) * weight for cells, weight in octaves)
    return cast("NDArray[np.float64]", total / 1.9)


def _finish(image: NDArray[np.float64]) -> Texture:
    return (np.clip(image, 0, 255) / 255).astype(np.float32)


def floor_texture(kind: int, rgb: Rgb, rng: np.random.Generator) -> Texture:
    """Tiles, planks, carpet or concrete (0..3); covers 2 m x 2 m. With UNSEEN, red and blue checks of 0.25 m."""
    n = _FLOOR_PIXELS
    if kind >= UNSEEN:
        floor = floor_texture(kind - UNSEEN, rgb, rng)
        row, column = np.mgrid[:n, :n] // (n // 8)
        shade = floor.mean(axis=2, keepdims=True) / floor.mean()
        return _finish(_CHECKS[(row + column) % 2] * shade)
    colour = np.array(rgb) * 255
    row, column = np.mgrid[:n, :n]
    clouds = _clouds(rng, n)
    if kind == 0:
        half = n // 2
        odd = ((column // half + row // half) % 2)[..., None]
        joint = (np.minimum(column % half, row % half) < 4)[..., None]
        tiles = colour * (1 - 0.14 * odd) + clouds * 8
        return _finish(np.where(joint, tiles * 0.7, tiles))
    if kind == 1:
        plank = row // (n // 8)
        tone = rng.uniform(0.82, 1.1, 8)[plank % 8][..., None]
        grain = _smooth(rng, (n, 8), n) * 7
        joint = ((row % (n // 8) < 3) | ((column + plank * 173) % n < 3))[..., None]
        wood = np.array([165, 120, 78]) * (colour / colour.mean()) ** 0.3 * tone + grain
        return _finish(np.where(joint, wood * 0.6, wood))
    if kind == 2:
        return _finish(colour + clouds * 10 + rng.normal(size=(n, n, 1)) * 9)
    return _finish(np.full(3, colour.mean()) + clouds * 16 + rng.normal(size=(n, n, 1)) * 3)


def wall_texture(kind: int, rgb: Rgb, rng: np.random.Generator) -> Texture:
    """Plaster, bricks or stripes (0..2); covers 2 m x 2 m. With UNSEEN, dark spots every 0.25 m."""
    n = _WALL_PIXELS
    if kind >= UNSEEN:
        wall = wall_texture(kind - UNSEEN, rgb, rng)
        row, column = np.mgrid[:n, :n] % (n // 8) - n // 16
        return np.where((np.hypot(row, column) < n // 24)[..., None], wall * np.float32(0.3), wall)
    row, column = np.mgrid[:n, :n]
    plaster = np.array(rgb) * 255 + _clouds(rng, n) * 4 + rng.normal(size=(n, n, 1)) * 1.5
    if kind == 1:
        joint = (row % 32 < 2) | ((column + (row // 32 % 2) * 32) % 64 < 2)
        return _finish(np.where(joint[..., None], plaster * 0.8, plaster))
    if kind == 2:
        return _finish(np.where((column % 32 < 16)[..., None], plaster, plaster * 0.94))
    return _finish(plaster)


def box_texture(style: int, rgb: Rgb, rng: np.random.Generator) -> Texture:
    """Taped, taped with a label, hatched or plain (0..3); one image a face, whatever the face's size."""
    n = _BOX_PIXELS
    row, column = np.mgrid[:n, :n]
    image = np.array(rgb) * 255 + _clouds(rng, n) * 6 + rng.normal(size=(n, n, 1)) * 2
    if style in (0, 1):
        tape = (np.abs(column - n / 2) < n * 0.07)[..., None]
        image = np.where(tape, image * 0.35 + np.array([200, 180, 130]) * 0.65, image)
    if style == 1:
        top, left = int(n * 0.58), int(n * 0.62)
        image[top : top + 53, left : left + 73] = 235
        image[top + 10 : top + 43 : 8, left + 8 : left + 62] = 60
    if style == 2:
        image = np.where(((row + column) % 64 < 11)[..., None], image * 0.8, image)
    edge = (np.minimum(np.minimum(row, column), np.minimum(n - 1 - row, n - 1 - column)) < 4)[..., None]
    return _finish(np.where(edge, image * 0.72, image))
