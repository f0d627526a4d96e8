"""Encoded images as cameras, converters and bad cables leave them."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from components.contracts.errors import DamagedImageError, EpisodeError
from components.episodes.formats._images import decode_whole_jpeg, exif_orientation, oriented, read_image

HEIGHT, WIDTH = 48, 64


def textured(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def encoded(pixels: NDArray[Any], kind: str = "JPEG", **options: Any) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, kind, **options)
    return target.getvalue()


def tagged(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def pillow(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


WHOLE = {
    "baseline": encoded(textured()),
    "progressive": encoded(textured(), progressive=True),
    "restart-markers": encoded(textured(), restart_marker_rows=1),
    "subsampled": encoded(textured(), subsampling=2),
    "grey": encoded(textured()[..., 0]),
    "flat-grey": encoded(np.full((HEIGHT, WIDTH, 3), 128, np.uint8)),
    "bytes-after-the-end": encoded(textured()) + bytes(500),
    "two-images": encoded(textured()) + encoded(textured(1)),
    "fill-before-the-end": encoded(textured())[:-2] + b"\xff" * 9 + b"\xff\xd9",
}


@pytest.mark.parametrize("name", list(WHOLE))
def test_a_whole_jpeg_is_decoded_as_pillow_does(name: str) -> None:
    assert np.array_equal(read_image(WHOLE[name], "x"), pillow(WHOLE[name]))


@pytest.mark.parametrize("end", [b"", b"\x00\x00\x00\xff\xd9"], ids=["no-end-marker", "padding-before-the-end"])
def test_a_whole_image_with_an_odd_end_is_taken(end: bytes) -> None:
    data = encoded(textured())
    assert np.array_equal(read_image(data[:-2] + end, "x"), pillow(data))


DAMAGED = {
    "lost-its-lower-half": lambda data: data[: len(data) // 2] + b"\xff\xd9",
    "cut-off": lambda data: data[: len(data) // 2],
    "lost-its-middle": lambda data: data[: len(data) // 3] + data[len(data) // 2 :],
    "middle-of-zeros": lambda data: data[: len(data) // 3] + bytes(800) + data[len(data) // 3 + 800 :],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("coding", ["baseline", "progressive", "restart-markers", "png"])
@pytest.mark.parametrize("damage", list(DAMAGED))
def test_a_damaged_image_is_never_filled_with_grey(coding: str, damage: str) -> None:
    data = encoded(textured(), "PNG") if coding == "png" else WHOLE[coding]
    with pytest.raises(DamagedImageError, match="camera 7: expected a whole JPEG"):
        read_image(DAMAGED[damage](data), "camera 7")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tagged_image_is_turned_as_a_viewer_shows_it(kind: str, orientation: int) -> None:
    data = encoded(textured(), kind, exif=tagged(orientation))
    assert exif_orientation(data) == orientation
    shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert np.array_equal(read_image(data, "x"), shown)


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0", b"Exif\0\0junk" * 9, b"Exif\0\0II*\0\xff\xff\xff\xff"],
    ids=["empty", "junk", "offset-beyond"],
)
def test_an_exif_that_makes_no_sense_turns_nothing(exif: bytes) -> None:
    data = encoded(textured(), exif=exif)
    assert exif_orientation(data) == 1
    assert np.array_equal(read_image(data, "x"), decode_whole_jpeg(data, "x"))


def test_an_orientation_out_of_range_turns_nothing() -> None:
    assert exif_orientation(encoded(textured(), exif=tagged(9))) == 1
    assert exif_orientation(b"no image") == 1
    assert np.array_equal(oriented(textured(), 1), textured())


def test_one_channel_of_16_bits_is_refused_as_depth() -> None:
    ramp = np.linspace(0, 60_000, WIDTH).astype(np.uint16)[None].repeat(HEIGHT, 0)
    with pytest.raises(EpisodeError, match=r"one channel of 16 bits \(depth or infra-red\)") as caught:
        read_image(encoded(ramp, "PNG"), "x")
    assert not isinstance(caught.value, DamagedImageError)


def test_what_is_stored_is_not_turned_where_the_caller_judges_that() -> None:
    data = encoded(textured(), exif=tagged(6))
    assert decode_whole_jpeg(data, "x").shape == (HEIGHT, WIDTH, 3)
