"""A perceptual hash that survives compression, noise, other sizes and brightness, and whose mirror image is known.

64 signs a frame, of the lowest frequencies of its green plane (a discrete cosine transform of 32x32 area means,
without the constant). Green alone: an episode whose red and blue are swapped hashes the same. Seen in a mirror, the
frequencies that are odd across the picture change their sign and the others do not: so a mirrored copy's hash is the
original's with one fixed mask.

What is not covered: a copy that is cropped by more than a few pixels, turned, cut or slowed in time.
"""

import numpy as np
from numpy.typing import NDArray

_SIDE, _KEPT = 32, 9
_ROWS = 96
"""Full rows of a frame that are averaged, at most."""
_WAVES: NDArray[np.float64] = np.cos(np.pi * np.outer(np.arange(_KEPT), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE))
_FREQUENCIES = sorted(
    ((down, across) for down in range(_KEPT) for across in range(_KEPT) if down or across),
    key=lambda pair: (sum(pair), pair),
)[:64]
_PLACES = np.array([down * _KEPT + across for down, across in _FREQUENCIES])
MIRROR_MASK: NDArray[np.uint8] = np.tile(np.packbits([across % 2 for _, across in _FREQUENCIES]), 3)
"""(24,): what a hash's bytes are XORed with to have those of the same frames seen in a mirror."""


def perceptual_hash(images: NDArray[np.uint8]) -> str:
    """Of the first, middle and last frame of (T, H, W, 3): 3 x 64 bits, 48 hex digits."""
    return b"".join(frame_hash(images[index]) for index in hashed_frames(len(images))).hex()


def hashed_frames(count: int) -> tuple[int, int, int]:
    """Which frames of as many stand for the episode."""
    return 0, count // 2, count - 1


def hash_distance(one: str, other: str) -> int:
    """Bits in which two perceptual hashes differ: 0 to 192."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def frame_hash(frame: NDArray[np.uint8]) -> bytes:
    """8 bytes of one frame (H, W, 3); green is in the middle, whichever order the colours have."""
    step = max(1, len(frame) // _ROWS)
    waves = _means(_means(frame[step // 2 :: step, :, 1]).T).T
    return np.packbits((_WAVES @ waves @ _WAVES.T).ravel()[_PLACES] > 0).tobytes()


def _means(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """(N, M) to (32, M) means of equal shares of the first axis; a value on a border counts for one side only."""
    borders = np.arange(_SIDE + 1) * len(values) // _SIDE
    if len(values) < _SIDE:  # too small to average: the nearest values
        return np.asarray(values[np.arange(_SIDE) * len(values) // _SIDE], dtype=np.float64)
    sums = np.add.reduceat(values, borders[:-1], axis=0, dtype=np.float64)
    return np.asarray(sums / np.diff(borders)[:, None])
