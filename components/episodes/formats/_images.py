"""Single images: JPEG, PNG and ROS's raw encodings to RGB, and RGB to JPEG or PNG; nothing from outside is believed."""

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from components.contracts.errors import EpisodeError

MAX_SIDE = 4096
MAX_BYTES = 64 * 2**20
"""Of one encoded image."""

_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1, "8UC3": 3, "8UC4": 4}


def read_image(data: bytes, where: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a JPEG or PNG; grey becomes RGB, transparency is dropped.

    Raises:
        EpisodeError: `image`, with `where`: too large, no JPEG or PNG, or a broken one.
    """
    if len(data) > MAX_BYTES:
        raise EpisodeError("image", f"{where}: expected at most {MAX_BYTES} bytes an image, got {len(data)}")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            check_size(image.size[0], image.size[1], where)
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise EpisodeError("image", f"{where}: expected an image (JPEG or PNG), but: {error}") from None


def encode_image(image: NDArray[np.uint8], kind: Literal["png", "jpeg"], *, quality: int = 90) -> bytes:
    """PNG (exact) or JPEG (lossy, without chroma subsampling) of (H, W, 3) uint8 RGB."""
    target = io.BytesIO()
    if kind == "png":
        Image.fromarray(image).save(target, "PNG", compress_level=1)  # level 6 takes 5 times as long for 5 % less
    else:
        Image.fromarray(image).save(target, "JPEG", quality=quality, subsampling=0)
    return target.getvalue()


def check_size(width: int, height: int, where: str) -> None:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise EpisodeError("image", f"{where}: expected 1 to {MAX_SIDE} pixels a side, got {width}x{height}")


def raw_image(
    data: NDArray[np.uint8], encoding: str, *, width: int, height: int, step: int, where: str
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a sensor_msgs/Image's rows of `step` bytes. `8UC3` is read as BGR, as OpenCV means it."""
    channels = _CHANNELS.get(encoding)
    if channels is None:
        raise EpisodeError("image", f"{where}: expected an encoding of {', '.join(_CHANNELS)}, got {encoding!r}")
    check_size(width, height, where)
    step = step or width * channels
    if step < width * channels or data.size < step * (height - 1) + width * channels:
        raise EpisodeError(
            "image", f"{where}: expected {height} rows of {width * channels} bytes, got {data.size} in rows of {step}"
        )  # fmt: skip
    rows = np.lib.stride_tricks.as_strided(data, (height, width * channels), (step, 1), writeable=False)
    pixels = rows.reshape(height, width, channels)
    if channels == 1:
        return np.ascontiguousarray(np.repeat(pixels, 3, axis=2))
    blue_first = encoding.startswith(("bgr", "8U"))
    return np.ascontiguousarray(pixels[..., 2::-1] if blue_first else pixels[..., :3])
