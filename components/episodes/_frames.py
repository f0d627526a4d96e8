"""Camera frames to a policy's input: one definition for training, export and robots."""

import numpy as np
from numpy.typing import NDArray

from components.contracts import FrameSpec
from components.contracts.errors import EpisodeError


def resize_frame(image: NDArray[np.uint8], spec: FrameSpec) -> NDArray[np.uint8]:
    """Exact area average, rounded half up: every output value is the mean of the input area that it covers.

    Integer arithmetic (float64 products of integers where a factor is not whole, which are exact too), so the result
    is the same bits on every machine. 1280x720 to 80x45 takes about 2 ms.

    Args:
        image: (H, W, 3) uint8.
        spec: width and height of the result.

    Returns:
        (spec.height, spec.width, 3) uint8, C-contiguous.

    Raises:
        EpisodeError: `image` is no (H, W, 3) uint8 array.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise EpisodeError("frame", f"expected a frame of (H, W, 3) uint8, got {image.shape} {image.dtype}")
    height, width = image.shape[:2]
    if (height, width) == (spec.height, spec.width):
        return np.ascontiguousarray(image)
    if height % spec.height == 0 and width % spec.width == 0:
        return _whole_factors(np.ascontiguousarray(image), spec)
    rows = _coverage(height, spec.height) @ image.reshape(height, width * 3).astype(np.float64)
    sums = np.matmul(_coverage(width, spec.width), rows.reshape(spec.height, width, 3))
    result: NDArray[np.uint8] = np.floor(sums / (height * width) + 0.5).astype(np.uint8)
    return result


def _whole_factors(image: NDArray[np.uint8], spec: FrameSpec) -> NDArray[np.uint8]:
    high, wide = image.shape[0] // spec.height, image.shape[1] // spec.width
    rows = image.reshape(spec.height, high, image.shape[1] * 3).sum(axis=1, dtype=np.uint32)
    sums = rows.reshape(spec.height, spec.width, wide, 3).sum(axis=2, dtype=np.uint32)
    result: NDArray[np.uint8] = ((2 * sums + high * wide) // (2 * high * wide)).astype(np.uint8)
    return result


def _coverage(source: int, target: int) -> NDArray[np.float64]:
    """(target, source): how much of each source pixel an output pixel covers, in units that make it whole."""
    outputs, inputs = np.arange(target)[:, None], np.arange(source)[None, :]
    start = np.maximum(outputs * source, inputs * target)
    stop = np.minimum((outputs + 1) * source, (inputs + 1) * target)
    result: NDArray[np.float64] = np.clip(stop - start, 0, None).astype(np.float64)
    return result
