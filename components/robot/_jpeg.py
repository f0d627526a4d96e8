"""Camera images as they arrive: JPEG bytes that may be damaged or hostile.

The markers are walked (ITU-T T.81, annex B) before anything is decoded, because the cost of a JPEG is not its size: a
progressive one of 300 kB can make the decoder go over the whole image thousands of times. What is decoded is put
together anew from the segments that a decoder needs; of the metadata the EXIF orientation alone is read. The decoder
and the rule for orientation are those of imports, so that a policy sees frames as it did in training.

Measured, processor time on one core: a 1280x720 frame of 0.35 MB takes 6 ms, one of 4096x2304 and 3.6 MB 59 ms. Pillow
took 10 and 150 ms for them; by its decoder the worst that was found within the limits took 170 ms.
"""

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import DamagedImageError, PolicyError
from components.episodes.formats import decode_whole_jpeg, exif_orientation, oriented

MAX_JPEG_BYTES = 4 * 2**20
MAX_PIXELS = 4096 * 2304
MIN_SIDE = 8
MAX_WORK = 2**25
"""Samples that the decoder goes over, each scan counted: a 4096x2304 frame in one scan, a 1920x1080 one in ten."""
MAX_SEGMENTS = 256

_SOI, _EOI, _SOS, _DQT, _DHT, _DRI, _COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xFE
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_FRAMES = {0xC0, 0xC1, 0xC2}
"""Huffman-coded: baseline, extended, progressive. Arithmetic coding, lossless and hierarchical frames are refused."""
_TABLES = {_DQT, _DHT, _DRI}
_METADATA = {*range(_APP0, _APP0 + 16), _COM}
_COLOURS = {_APP0: (b"JFIF\0", 14), _APP14: (b"Adobe", 12)}
"""Segments that tell the decoder the colour space: their beginning and their least length."""
_WHERE = "frame"
_FILL = re.compile(rb"\xff+")
_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Entropy-coded bytes hold ff only before 00 (a byte ff), a restart marker, or more ff (fill)."""


@dataclass
class JpegOutline:
    """Sizes and cost of a JPEG, from its markers alone."""

    width: int = 0
    height: int = 0
    blocks: dict[int, int] = field(default_factory=dict)
    """Component -> blocks of 64 samples."""
    work: int = 0
    """Samples, each as often as a scan goes over it."""
    pieces: list[bytes] = field(default_factory=lambda: [b"\xff\xd8"])
    """The segments that a decoder needs, in order."""
    exif: list[bytes] = field(default_factory=list)
    """The segments of EXIF, which may tell how the camera was held."""


def decode_jpeg(data: bytes, *, max_bytes: int = MAX_JPEG_BYTES, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode one JPEG, judging its size and its cost before its content.

    Args:
        data: a whole JPEG file. Bytes after its end, as cameras leave them, are ignored.

    Returns:
        (H, W, 3) uint8 RGB, turned as the EXIF orientation says; grey images are repeated over the channels.

    Raises:
        PolicyError: no JPEG, cut off, with a part of the image lost, of a kind that no camera writes, or beyond the
            limits.
    """
    if len(data) > max_bytes:
        raise PolicyError(f"expected a JPEG of at most {max_bytes} bytes, got {len(data)}; send a smaller frame")
    outline = outline_jpeg(data, max_pixels=max_pixels)
    start, *rest = outline.pieces
    try:
        pixels = decode_whole_jpeg(b"".join(outline.pieces), _WHERE)
    except DamagedImageError as error:
        raise PolicyError(f"{str(error).removeprefix(f'{_WHERE}: ')}; send another frame") from None
    if not outline.exif:
        return pixels
    return oriented(pixels, exif_orientation(b"".join([start, *outline.exif, *rest])))


def outline_jpeg(data: bytes, *, max_pixels: int = MAX_PIXELS) -> JpegOutline:
    """Walk the markers and stop at the first that is beyond the limits.

    Raises:
        PolicyError: see `decode_jpeg`.
    """
    outline, seen, at = JpegOutline(), 0, _start(data)
    while True:
        marker, at = _marker(data, at)
        if marker == _EOI:
            break
        seen += 1
        if seen > MAX_SEGMENTS:
            raise PolicyError(f"expected a JPEG of at most {MAX_SEGMENTS} segments, got more; send an ordinary frame")
        end = at + int.from_bytes(data[at : at + 2])
        body = data[at + 2 : end]
        if end - at < 2 or end > len(data):
            raise _malformed("it is cut off")
        if marker == _SOS:
            end = _scan(data, end, body, outline)
        elif marker in _FRAMES:
            _frame(body, outline, max_pixels)
        elif marker not in _TABLES | _METADATA:
            raise _malformed(f"it has a marker ff {marker:02x}, which no camera writes")
        _keep(marker, body, b"\xff" + bytes([marker]) + data[at:end], outline)
        at = end
    if not outline.work:
        raise _malformed("it has no image")
    outline.pieces.append(b"\xff\xd9")
    return outline


def _start(data: bytes) -> int:
    if not data.startswith(b"\xff\xd8\xff"):
        raise PolicyError(f"expected a JPEG (it begins with ff d8 ff), got {data[:4].hex() or 'nothing'}")
    return 2


def _marker(data: bytes, at: int) -> tuple[int, int]:
    fill = _FILL.match(data, at)
    if fill is None or fill.end() == len(data):
        raise _malformed("it is cut off" if at >= len(data) or fill else f"byte {at} is no marker")
    return data[fill.end()], fill.end() + 1


def _frame(body: bytes, outline: JpegOutline, max_pixels: int) -> None:
    """The frame header (B.2.2)."""
    if len(body) < 6 or len(body) != 6 + 3 * body[5] or body[5] not in {1, 3} or body[0] != 8:
        raise _malformed("it is not of 8 bits, grey or with three colours")
    if outline.blocks:
        raise _malformed("it has more than one image")
    outline.height, outline.width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
    if outline.width * outline.height > max_pixels or min(outline.width, outline.height) < MIN_SIDE:
        raise PolicyError(
            f"expected a frame of at least {MIN_SIDE} pixels a side and at most {max_pixels} in all, "
            f"got {outline.width}x{outline.height}"
        )
    sampling = {body[at]: (body[at + 1] >> 4, body[at + 1] & 15) for at in range(6, len(body), 3)}
    if len(sampling) != body[5] or not all(1 <= factor <= 4 for pair in sampling.values() for factor in pair):
        raise _malformed("its components' sampling makes no sense")
    across, down = (max(pair[side] for pair in sampling.values()) for side in (0, 1))
    for component, (horizontal, vertical) in sampling.items():
        columns, rows = outline.width * horizontal / across / 8, outline.height * vertical / down / 8
        outline.blocks[component] = int(np.ceil(columns)) * int(np.ceil(rows))


def _scan(data: bytes, at: int, body: bytes, outline: JpegOutline) -> int:
    """The scan header (B.2.3); count the scan and find its end."""
    components = body[1 : 1 + 2 * body[0] : 2] if body else b""
    if not components or len(body) != 4 + 2 * body[0] or not set(components) <= outline.blocks.keys():
        raise _malformed("a scan is of components that the frame does not have")
    outline.work += sum(64 * outline.blocks[component] for component in components)
    if outline.work > MAX_WORK:
        raise PolicyError(
            f"expected a JPEG of at most {MAX_WORK} samples over all scans, got more in one of "
            f"{outline.width}x{outline.height}; send a smaller frame, or a baseline instead of a progressive JPEG"
        )
    end = _MARKER_AFTER_SCAN.search(data, at)
    if end is None:
        raise _malformed("it is cut off")
    return end.start()


def _keep(marker: int, body: bytes, segment: bytes, outline: JpegOutline) -> None:
    if marker not in _METADATA or _tells_colours(marker, body):
        outline.pieces.append(segment)
    elif marker == _APP1 and body.startswith(b"Exif\0\0"):
        outline.exif.append(segment)


def _tells_colours(marker: int, body: bytes) -> bool:
    start, length = _COLOURS.get(marker, (b"", 0))
    return bool(start) and body.startswith(start) and len(body) >= length


def _malformed(reason: str) -> PolicyError:
    return PolicyError(f"expected a whole JPEG as cameras write it: {reason}")
