"""Camera images as they arrive: JPEG bytes that may be damaged or hostile."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.contracts.errors import PolicyError

MAX_JPEG_BYTES = 4 * 2**20
MAX_PIXELS = 4096 * 2304
MIN_SIDE = 8


def decode_jpeg(data: bytes, *, max_bytes: int = MAX_JPEG_BYTES, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode one JPEG, judging its size before its content.

    Args:
        data: a whole JPEG file.

    Returns:
        (H, W, 3) uint8 RGB; grey images are repeated over the channels.

    Raises:
        PolicyError: no JPEG, cut off, or larger than the limits.
    """
    if len(data) > max_bytes:
        raise PolicyError(f"expected a JPEG of at most {max_bytes} bytes, got {len(data)}; send a smaller frame")
    if not data.startswith(b"\xff\xd8\xff"):
        raise PolicyError(f"expected a JPEG (it begins with ff d8 ff), got {data[:4].hex() or 'nothing'}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
                width, height = image.size
                if width * height > max_pixels or min(width, height) < MIN_SIDE:
                    raise PolicyError(
                        f"expected a frame of at least {MIN_SIDE} pixels a side and at most {max_pixels} in all, "
                        f"got {width}x{height}"
                    )
                return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PolicyError(f"expected a whole JPEG, got one that cannot be decoded: {error}") from None
