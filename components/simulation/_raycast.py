"""The camera's inner loops, compiled by numba: one ray a sample, a sun that casts shadows, textures in mip levels.

Three passes a row. The room is a closed box, so that its hit is six divisions without a search. A solid is tested only
where its corners project to. What remains is shading, a texture and one shadow ray a sample, and shadow rays first ask
bounding spheres. A ray is `axes[2] + u * axes[0] + v * axes[1]`, not normalised: its parameter is depth in metres.

Everything that numba compiles is in this file, because its cache notices changes of the outermost function's file
alone. Its functions take arrays one by one: out of a tuple each would be counted as a reference at every ray.
"""

# ruff: noqa: PLR0917 - numba takes no keyword-only arguments

from collections.abc import Callable
from math import sqrt
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Three = tuple[float, float, float]

_FLOOR, _WALL_X, _WALL_Y, _CEILING = -1, -2, -3, -4
_BOX = 0
_FAR = 1e9
_SKIRTING = 0.1  # m; a painted board at the foot of the walls
_LIFT = 1 << 20  # makes texture coordinates positive, for which cutting off is the fastest floor
_TILE = 2.0  # m that a floor's or wall's texture covers

_F = TypeVar("_F", bound=Callable[..., Any])


def _jit(function: _F) -> _F:
    return cast("_F", numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")(function))


def _inline(function: _F) -> _F:
    return cast("_F", numba.njit(nogil=True, fastmath=True, error_model="numpy", inline="always")(function))


class Solids(NamedTuple):
    """N solids, one a row."""

    kinds: Integers
    """0 is a box, 1 an upright cylinder."""
    centres: Floats
    halves: Floats
    turns: Floats
    """Cosine and sine of the yaw."""
    radii: Floats
    """Of the bounding spheres."""
    colours: Floats
    textures: Integers
    """-1 is plain."""
    suns: Floats
    """(N, 3): towards the sun, in each solid's frame."""


class Textures(NamedTuple):
    """Mip levels end to end. Texture 0 is the floor's, 1 the walls'."""

    sizes: Integers
    """(n, 2): pixels along a side, number of levels."""
    offsets: Integers
    """(n, levels): where each level begins."""
    texels: NDArray[np.float32]
    """(M, 3) RGB, 0..1."""


class Lights(NamedTuple):
    """(3,) towards the sun and the fill light, and (3, 3) RGB of ambient, sun and fill."""

    sun: Floats
    fill: Floats
    rgb: Floats


class View(NamedTuple):
    """One picture's camera."""

    eye: Floats
    """(3,) metres."""
    axes: Floats
    """(3, 3): right, up, forward, unit, without roll."""
    pixel: float
    """Size of a ray's footprint at a depth of 1 m."""
    bounds: Floats
    """(N, 4) u from, to, v from, to: where each solid can be seen."""
    origins: Floats
    """(N, 3): the eye in each solid's frame."""
    local_axes: Floats
    """(N, 3, 3): the axes in each solid's frame."""


@_inline
def _span_box(o: Three, d: Three, half: Three) -> tuple[float, float]:
    """Where a ray is inside a box about the origin: (from, to); empty if from > to."""
    ix, iy, iz = 1.0 / d[0], 1.0 / d[1], 1.0 / d[2]
    ax, ay, az = -o[0] * ix, -o[1] * iy, -o[2] * iz
    rx, ry, rz = abs(half[0] * ix), abs(half[1] * iy), abs(half[2] * iz)
    return max(ax - rx, ay - ry, az - rz), min(ax + rx, ay + ry, az + rz)


@_inline
def _span_cylinder(o: Three, d: Three, half: Three) -> tuple[float, float]:
    """The same for an upright cylinder."""
    a = d[0] * d[0] + d[1] * d[1]
    b = o[0] * d[0] + o[1] * d[1]
    h = b * b - a * (o[0] * o[0] + o[1] * o[1] - half[0] * half[0])
    root = sqrt(max(h, 0.0))
    iz = 1.0 / d[2]
    az, rz = -o[2] * iz, abs(half[2] * iz)
    near = max((-b - root) / a, az - rz)
    far = min((root - b) / a, az + rz)
    return (near if h > 0.0 else _FAR), far


@_inline
def _trace_room(
    depth: Floats, ident: Integers, u0: float, du: float, v: float, eye: Floats, axes: Floats, room: Floats
) -> None:
    """Every ray meets the floor, the ceiling or a wall."""
    bx, by, bz = axes[2, 0] + v * axes[1, 0], axes[2, 1] + v * axes[1, 1], axes[2, 2] + v * axes[1, 2]
    tz = ((room[4] if bz > 0.0 else 0.0) - eye[2]) / bz  # no roll: a row's rays rise alike
    below = _FLOOR if bz < 0.0 else _CEILING
    for column in range(depth.shape[0]):
        u = u0 + column * du
        dx, dy = bx + u * axes[0, 0], by + u * axes[0, 1]
        tx = ((room[1] if dx > 0.0 else room[0]) - eye[0]) / dx
        ty = ((room[3] if dy > 0.0 else room[2]) - eye[1]) / dy
        wall = min(tx, ty)
        depth[column] = min(wall, tz)
        ident[column] = below if tz < wall else (_WALL_X if tx < ty else _WALL_Y)


@_inline
def _trace_solid(
    depth: Floats, ident: Integers, u0: float, du: float, v: float, g: int,
    kind: int, half: Three, o: Three, axes: Floats, span: tuple[int, int],
) -> None:  # fmt: skip
    """Keep the nearer hit, in the solid's own frame."""
    bx, by, bz = axes[2, 0] + v * axes[1, 0], axes[2, 1] + v * axes[1, 1], axes[2, 2] + v * axes[1, 2]
    for column in range(span[0], span[1]):
        u = u0 + column * du
        d = bx + u * axes[0, 0], by + u * axes[0, 1], bz
        if kind == _BOX:
            near, far = _span_box(o, d, half)
        else:
            near, far = _span_cylinder(o, d, half)
        if near <= far and near > 0.0 and near < depth[column]:
            depth[column] = near
            ident[column] = g


@_inline
def _in_shadow(
    p: Three, own: int, sun: Floats,
    kinds: Integers, centres: Floats, halves: Floats, turns: Floats, radii: Floats, suns: Floats,
) -> bool:  # fmt: skip
    """Whether a solid stands between a point and the sun. Solids are convex: none shades its own lit side."""
    for g in range(kinds.shape[0]):
        wx, wy, wz = p[0] - centres[g, 0], p[1] - centres[g, 1], p[2] - centres[g, 2]
        along = wx * sun[0] + wy * sun[1] + wz * sun[2]
        aside = wx * wx + wy * wy + wz * wz - along * along
        if aside > radii[g] * radii[g] or along > radii[g] or g == own:
            continue
        o = turns[g, 0] * wx + turns[g, 1] * wy, turns[g, 0] * wy - turns[g, 1] * wx, wz
        d, half = (suns[g, 0], suns[g, 1], suns[g, 2]), (halves[g, 0], halves[g, 1], halves[g, 2])
        if kinds[g] == _BOX:
            near, far = _span_box(o, d, half)
        else:
            near, far = _span_cylinder(o, d, half)
        if near <= far and far > 0.0:
            return True
    return False


@_inline
def _half_log2(value: float) -> int:
    """log2(sqrt(value)), rounded: read off the exponent, three times as fast as by logarithm."""
    return int(((np.float64(2.0 * value).view(np.int64) >> 52) - 1023) >> 1)


@_inline
def _texel(
    texture: int, s: float, t: float, level: int, sizes: Integers, offsets: Integers, texels: NDArray[np.float32]
) -> Three:
    """Bilinear, from one mip level; floor and walls repeat, a box's face ends at its edge."""
    level = max(0, min(level, sizes[texture, 1] - 1))
    n = sizes[texture, 0] >> level
    x, y = s * n - 0.5, t * n - 0.5
    x0, y0 = int(x + _LIFT) - _LIFT, int(y + _LIFT) - _LIFT
    fx, fy, x1, y1 = x - x0, y - y0, x0 + 1, y0 + 1
    if texture < 2:
        x0, y0, x1, y1 = x0 & (n - 1), y0 & (n - 1), x1 & (n - 1), y1 & (n - 1)
    else:
        x0, y0 = max(0, min(n - 1, x0)), max(0, min(n - 1, y0))
        x1, y1 = max(0, min(n - 1, x1)), max(0, min(n - 1, y1))
    base = offsets[texture, level]
    # Unsigned, so that numba does not look for indices that count from the end.
    a, b = np.uintp(base + y0 * n + x0), np.uintp(base + y0 * n + x1)
    c, d = np.uintp(base + y1 * n + x0), np.uintp(base + y1 * n + x1)
    wa, wb, wc, wd = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    return (
        texels[a, 0] * wa + texels[b, 0] * wb + texels[c, 0] * wc + texels[d, 0] * wd,
        texels[a, 1] * wa + texels[b, 1] * wb + texels[c, 1] * wc + texels[d, 1] * wd,
        texels[a, 2] * wa + texels[b, 2] * wb + texels[c, 2] * wc + texels[d, 2] * wd,
    )


@_inline
def _room_surface(ident: int, p: Three, d: Three) -> tuple[Three, int, float, float, float]:
    """Normal, texture, texture coordinates, and the grey of what is plain."""
    if ident == _FLOOR:
        return (0.0, 0.0, 1.0), 0, p[0] / _TILE, -p[1] / _TILE, 0.0
    if ident == _CEILING:
        return (0.0, 0.0, -1.0), -1, 0.0, 0.0, 0.9
    across = p[1] if ident == _WALL_X else p[0]
    nx = (-1.0 if d[0] > 0.0 else 1.0) if ident == _WALL_X else 0.0
    ny = (-1.0 if d[1] > 0.0 else 1.0) if ident == _WALL_Y else 0.0
    if p[2] < _SKIRTING:
        return (nx, ny, 0.0), -1, 0.0, 0.0, (0.84 if p[2] < 0.9 * _SKIRTING else 0.6)
    return (nx, ny, 0.0), 1, across / _TILE, -p[2] / _TILE, 0.0


@_inline
def _solid_surface(w: Three, kind: int, half: Three, cosine: float, sine: float) -> tuple[Three, float, float]:
    """Normal, and texture coordinates on a box's face, at `w` from the centre."""
    qx, qy = (cosine * w[0] + sine * w[1]) / half[0], (cosine * w[1] - sine * w[0]) / half[1]
    qz = w[2] / half[2]
    if kind != _BOX:
        return ((0.0, 0.0, 1.0) if qz > 0.9999 else (qx, qy, 0.0)), 0.0, 0.0
    if abs(qz) > abs(qx) and abs(qz) > abs(qy):
        return (0.0, 0.0, 1.0 if qz > 0.0 else -1.0), 0.5 + 0.5 * qx, 0.5 - 0.5 * qy
    if abs(qx) > abs(qy):
        nx, ny, s = (1.0 if qx > 0.0 else -1.0), 0.0, 0.5 + 0.5 * qy
    else:
        nx, ny, s = 0.0, (1.0 if qy > 0.0 else -1.0), 0.5 + 0.5 * qx
    return (cosine * nx - sine * ny, sine * nx + cosine * ny, 0.0), s, 0.5 - 0.5 * qz


@_jit
def _render(
    out: NDArray[np.uint8], first_row: int, last_row: int, samples: int, room: Floats,
    eye: Floats, axes: Floats, du: float, bounds: Floats, origins: Floats, local_axes: Floats,
    kinds: Integers, centres: Floats, halves: Floats, turns: Floats, radii: Floats, colours: Floats,
    textured: Integers, suns: Floats, sizes: Integers, offsets: Integers, texels: NDArray[np.float32],
    sun: Floats, fill: Floats, light: Floats,
) -> None:  # fmt: skip
    height, width = out.shape[0], out.shape[1]
    columns = width * samples
    u0 = (0.5 - columns * 0.5) * du
    depth, ident = np.empty(columns, np.float64), np.empty(columns, np.int64)
    total = np.empty((width, 3), np.float64)
    scale = 255.0 / (samples * samples)
    for row in range(first_row, last_row):
        total[:] = 0.0
        for sub in range(samples):
            v = (height * samples * 0.5 - row * samples - sub - 0.5) * du
            _trace_room(depth, ident, u0, du, v, eye, axes, room)
            for g in range(kinds.shape[0]):
                if bounds[g, 2] <= v <= bounds[g, 3]:
                    half, o = (halves[g, 0], halves[g, 1], halves[g, 2]), (origins[g, 0], origins[g, 1], origins[g, 2])
                    span = max(0, int((bounds[g, 0] - u0) / du)), min(columns, int((bounds[g, 1] - u0) / du) + 2)
                    _trace_solid(depth, ident, u0, du, v, g, kinds[g], half, o, local_axes[g], span)
            pixel, left = -1, 0
            for column in range(columns):
                if left == 0:
                    pixel, left = pixel + 1, samples
                left -= 1
                u, t, g = u0 + column * du, depth[column], ident[column]
                dx = axes[2, 0] + v * axes[1, 0] + u * axes[0, 0]
                dy = axes[2, 1] + v * axes[1, 1] + u * axes[0, 1]
                dz = axes[2, 2] + v * axes[1, 2]
                p = eye[0] + t * dx, eye[1] + t * dy, eye[2] + t * dz
                if g < 0:
                    n, texture, across, down, grey = _room_surface(g, p, (dx, dy, dz))
                    rgb, extent = (grey, grey, grey), _TILE
                else:
                    half = halves[g, 0], halves[g, 1], halves[g, 2]
                    w = p[0] - centres[g, 0], p[1] - centres[g, 1], p[2] - centres[g, 2]
                    n, across, down = _solid_surface(w, kinds[g], half, turns[g, 0], turns[g, 1])
                    rgb, texture = (colours[g, 0], colours[g, 1], colours[g, 2]), textured[g]
                    extent = 2.0 * min(half[0], half[1], half[2])
                if texture >= 0:
                    facing = abs(dx * n[0] + dy * n[1] + dz * n[2]) / sqrt(1.0 + u * u + v * v) + 1e-3
                    footprint = t * du * sizes[texture, 0] / extent
                    rgb = _texel(
                        texture, across, down, _half_log2(footprint * footprint / facing), sizes, offsets, texels
                    )
                lit = max(0.0, n[0] * sun[0] + n[1] * sun[1] + n[2] * sun[2])
                if lit > 0.0 and _in_shadow(p, g, sun, kinds, centres, halves, turns, radii, suns):
                    lit = 0.0
                filled, around = max(0.0, n[0] * fill[0] + n[1] * fill[1] + n[2] * fill[2]), 0.85 + 0.15 * n[2]
                total[pixel, 0] += min(1.0, rgb[0] * (light[0, 0] * around + light[1, 0] * lit + light[2, 0] * filled))
                total[pixel, 1] += min(1.0, rgb[1] * (light[0, 1] * around + light[1, 1] * lit + light[2, 1] * filled))
                total[pixel, 2] += min(1.0, rgb[2] * (light[0, 2] * around + light[1, 2] * lit + light[2, 2] * filled))
        out[row] = (total * scale + 0.5).astype(np.uint8)


def render_rows(
    out: NDArray[np.uint8],
    rows: tuple[int, int],
    samples: int,
    view: View,
    room: Floats,
    solids: Solids,
    textures: Textures,
    lights: Lights,
) -> None:
    """Fill rows [rows[0], rows[1]) of `out`, (H, W, 3) uint8 RGB. A pixel is the mean of samples x samples rays; `room`
    is x from, to, y from, to, height."""
    scene: tuple[Any, ...] = (*view, *solids, *textures, *lights)
    _render(out, *rows, samples, room, *scene)
