"""Single images: JPEG, PNG and ROS's raw encodings to RGB, and RGB to JPEG or PNG; nothing from outside is believed.

What is not covered: a JPEG whose bytes were changed so that it still decodes to its last block without a fault.
"""

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from components.contracts.errors import DamagedImageError, EpisodeError

MAX_SIDE = 4096
MAX_BYTES = 64 * 2**20
"""Of one encoded image."""

_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1, "8UC3": 3, "8UC4": 4}
_ORIENTATION = 0x0112
_EOI = b"\xff\xd9"
_PADDING = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker")
_MAX_PADDING = 64
"""Webcams leave a few bytes between a whole image's data and its end marker."""
_DEPTH = {"I", "I;16", "I;16B", "I;16L", "F"}
"""Pillow's modes of one channel with more than 8 bits."""


def read_image(data: bytes, where: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a JPEG or PNG, turned as its EXIF orientation says; grey becomes RGB, transparency is
    dropped, PNG colours of 16 bits keep their upper 8.

    Raises:
        DamagedImageError: with `where`: no JPEG or PNG, or one that is cut off or broken.
        EpisodeError: `image`, with `where`: too large, or one channel of 16 bits (depth, infra-red).
    """
    if len(data) > MAX_BYTES:
        raise EpisodeError("image", f"{where}: expected at most {MAX_BYTES} bytes an image, got {len(data)}")
    try:
        with _opened(data) as image:
            check_size(image.size[0], image.size[1], where)
            if image.mode in _DEPTH:
                raise EpisodeError(
                    "image",
                    f"{where}: expected 8 bits a channel, got one channel of 16 bits (depth or infra-red); choose a "
                    "colour camera, or convert it to 8 bits by a scale of your own",
                )
            orientation = _orientation(image)
            if image.format == "JPEG" and image.mode in {"L", "RGB"}:
                return oriented(decode_whole_jpeg(data, where), orientation)
            pixels = np.asarray(image.convert("RGB"))
        with _opened(data) as image:
            image.verify()  # Pillow decodes a PNG without a look at its checksums
        return oriented(pixels, orientation)
    except UnidentifiedImageError:  # its message is an object's address
        found = f"{len(data)} bytes that begin with {data[:4].hex()}" if data else "nothing"
        raise DamagedImageError(f"{where}: expected a whole JPEG or PNG, got {found}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DamagedImageError(f"{where}: expected a whole JPEG or PNG, but: {error}") from None


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about EXIF that makes no sense
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            yield image


def decode_whole_jpeg(data: bytes, where: str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB as it is stored, without its orientation. Its size and cost have to be judged before.

    libjpeg makes up what is missing and only warns; here its warnings are errors. Two are borne, as the image is whole:
    no end marker, and a few bytes too many before it.

    Raises:
        DamagedImageError: with `where`: the image data ends early or makes no sense.
    """
    fault = ""
    for candidate in (data, data + _EOI):
        try:
            return _simple_jpeg(candidate, strict=True)
        except ValueError as error:
            fault = str(error)
        padding = _PADDING.match(fault)
        if padding and int(padding[1]) <= _MAX_PADDING:
            return _simple_jpeg(candidate, strict=False)
        if "Premature end of JPEG file" not in fault:
            break
    raise DamagedImageError(f"{where}: expected a whole JPEG, but: {fault}")


def _simple_jpeg(data: bytes, *, strict: bool) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", strict=strict)
    return pixels


def exif_orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG or PNG, 1 to 8; 1 (as it is stored) where it tells none that can be read."""
    try:
        with _opened(data) as image:
            return _orientation(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error):
        return 1  # what is no EXIF tells no orientation
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def oriented(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """(H, W, 3) as a viewer shows it: EXIF 2.32, tag 0x0112, says where the stored row 0 and column 0 belong."""
    if orientation >= 5:  # 5 to 8: row 0 is a side of the picture
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


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
