"""A JPEG is refused by what it would cost to decode, before any of it is decoded."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from components.contracts.errors import PolicyError
from components.robot import MAX_JPEG_BYTES, _jpeg, decode_jpeg
from components.robot._jpeg import MAX_SEGMENTS, MAX_WORK, outline_jpeg
from tests.packaging.made import camera_frame


def jpeg(height=90, width=160, **options):
    file = io.BytesIO()
    Image.fromarray(camera_frame(0, height, width)).save(file, format="JPEG", quality=90, **options)
    return file.getvalue()


def of_mode(mode):
    file = io.BytesIO()
    Image.fromarray(camera_frame(0, 90, 160)).convert(mode).save(file, format="JPEG")
    return file.getvalue()


def segment(marker, body=b""):
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body


def before_the_end(data, extra):
    assert data.endswith(b"\xff\xd9")
    return data[:-2] + extra + b"\xff\xd9"


def after_the_start(data, extra):
    return data[:2] + extra + data[2:]


def frame_changed(data, marker=b"\xff\xc0", at=0, value=b""):
    """Bytes of the frame header, `at` counted from its length field."""
    start = data.index(marker) + 2 + at
    return data[:start] + value + data[start + len(value) :]


def scans(number, *, width=1280, height=720):
    """A progressive JPEG whose last scan, which says nothing new, is there `number` times."""
    data = jpeg(height, width, progressive=True)
    component = data[data.index(b"\xff\xc2") + 10]
    table = segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0")
    return before_the_end(data, table + (segment(0xDA, bytes([1, component, 0, 1, 63, 0])) + b"\0" * 8) * number)


PLAIN = jpeg()

ACCEPTED = {
    "baseline": PLAIN,
    "grey": of_mode("L"),
    "4:4:4": jpeg(subsampling="4:4:4"),
    "restart markers": jpeg(restart_marker_blocks=1),
    "progressive": jpeg(progressive=True),
    "progressive of 1080p": jpeg(1080, 1920, progressive=True, subsampling="4:4:4"),
    "largest": jpeg(2304, 4096, subsampling="4:4:4"),
    "padded by the camera": PLAIN + b"\0" * 1000,
    "fill before a marker": after_the_start(PLAIN, b"\xff" * 50),
    "ordinary metadata": jpeg(
        exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0", comment=b"a camera", icc_profile=b"p" * 3000
    ),
}


@pytest.mark.parametrize("data", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_jpeg_of_a_camera_gives_the_decoders_own_pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB"))

    np.testing.assert_array_equal(decode_jpeg(data), expected)


REFUSED = {
    "thousands of scans": scans(5000),
    "hundreds of scans": scans(200),
    "scans of a small image": scans(MAX_SEGMENTS, width=16, height=16),
    "progressive of the largest size": jpeg(2304, 4096, progressive=True),
    "segments without an end": after_the_start(PLAIN, segment(0xFE) * 100_000),
    "tables without an end": after_the_start(PLAIN, segment(0xDB, b"\0" + b"\1" * 64) * 10_000),
    "more pixels than allowed": frame_changed(PLAIN, at=3, value=b"\xff\xff\xff\xff"),
    "no height (DNL)": frame_changed(PLAIN, at=3, value=b"\0\0"),
    "no width": frame_changed(PLAIN, at=5, value=b"\0\0"),
    "12 bits": frame_changed(PLAIN, at=2, value=b"\x0c"),
    "arithmetic coding": PLAIN.replace(b"\xff\xc0", b"\xff\xc9"),
    "lossless": PLAIN.replace(b"\xff\xc0", b"\xff\xc3"),
    "four colours": of_mode("CMYK"),
    "sampling of 0": frame_changed(PLAIN, at=9, value=b"\0"),
    "one component twice": frame_changed(PLAIN, at=11, value=b"\1"),
    "two frames": after_the_start(PLAIN, PLAIN[PLAIN.index(b"\xff\xc0") : PLAIN.index(b"\xff\xc4")]),
    "an image within": after_the_start(PLAIN, PLAIN),
    "scan before its frame": after_the_start(PLAIN, segment(0xDA, b"\1\1\0\0\x3f\0")),
    "scan of another component": before_the_end(PLAIN, segment(0xDA, b"\1\x09\0\0\x3f\0")),
    "height after the scan": before_the_end(PLAIN, segment(0xDC, b"\0\x5a")),
    "no scan": PLAIN[: PLAIN.index(b"\xff\xda")] + b"\xff\xd9",
    "no end": PLAIN[:-2],
    "length beyond the end": after_the_start(PLAIN, b"\xff\xe1\xff\xff")[:200],
    "length of 0": after_the_start(PLAIN, b"\xff\xe1\0\0"),
    "noise between segments": after_the_start(PLAIN, b"?"),
    "nothing but fill": b"\xff\xd8" + b"\xff" * 100_000,
    "more bytes than allowed": PLAIN + bytes(MAX_JPEG_BYTES),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_jpeg_beyond_the_limits_is_refused_before_it_is_decoded(monkeypatch, data):
    for decoder in ("decode_whole_jpeg", "exif_orientation"):
        monkeypatch.setattr(_jpeg, decoder, lambda *_, **__: pytest.fail("it was decoded"))

    with pytest.raises(PolicyError, match="expected a"):
        decode_jpeg(data)


def noisy(**options):
    """Of noise, so that whatever is lost is seen."""
    pixels = np.random.default_rng(3).integers(0, 255, (96, 160, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=85, **options)
    return file.getvalue()


def without(data, begin, end):
    """The bytes from `begin` to `end`, as parts of the image's data, are lost."""
    start = data.index(b"\xff\xda") + 14
    length = len(data) - start - 2
    return data[: start + int(begin * length)] + data[start + int(end * length) :]


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"restart_marker_blocks": 4}, {"subsampling": "4:4:4"}],
    ids=["baseline", "progressive", "restart markers", "4:4:4"],
)
@pytest.mark.parametrize(
    ("begin", "end"), [(0.5, 1), (0.95, 1), (0.4, 0.6), (0.1, 0.12)], ids=["half", "the end", "middle", "a little"]
)
def test_jpeg_that_lost_a_part_is_refused(options, begin, end):
    """libjpeg fills the rest with grey and only warns."""
    with pytest.raises(PolicyError, match=r"expected a whole JPEG"):
        decode_jpeg(without(noisy(**options), begin, end))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_is_turned_as_its_orientation_says(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))

    np.testing.assert_array_equal(decode_jpeg(data), expected)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_jpeg_of_an_orientation_that_there_is_not_stays_as_it_is(value):
    exif = Image.Exif()
    exif[0x0112] = value

    np.testing.assert_array_equal(decode_jpeg(jpeg(exif=exif)), decode_jpeg(jpeg()))


def test_work_counts_every_scan():
    baseline = outline_jpeg(jpeg(96, 160, subsampling="4:2:0"))
    grey = outline_jpeg(of_mode("L"))

    assert baseline.work == 96 * 160 * 3 // 2
    assert grey.work == 96 * 160
    assert outline_jpeg(scans(1)).work - outline_jpeg(scans(0)).work == 1280 * 720
    assert outline_jpeg(jpeg(1080, 1920, progressive=True, subsampling="4:4:4")).work <= MAX_WORK


def test_metadata_never_reaches_the_decoder():
    """Exif, MPF (several images) and colour profiles have parsers of their own."""
    metadata = b"".join(segment(marker, b"MPF\0" * 100) for marker in range(0xE1, 0xF0))
    pieces = b"".join(outline_jpeg(after_the_start(PLAIN, metadata)).pieces)

    assert pieces == b"".join(outline_jpeg(PLAIN).pieces)
    assert b"MPF" not in pieces


def test_segment_on_which_the_decoder_would_fail_is_left_out():
    short = after_the_start(PLAIN, segment(0xE0, b"JFIF\0") + segment(0xEE, b"Adobe"))

    np.testing.assert_array_equal(decode_jpeg(short), decode_jpeg(PLAIN))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(ACCEPTED)), st.data())
def test_damaged_jpeg_is_decoded_or_refused(name, draw):
    changed = bytearray(ACCEPTED[name] if len(ACCEPTED[name]) < 100_000 else PLAIN)
    for _ in range(draw.draw(st.integers(1, 5))):
        at = draw.draw(st.integers(0, min(len(changed), 900) - 1))
        changed[at : at + draw.draw(st.integers(0, 4))] = draw.draw(st.binary(max_size=4))
    with contextlib.suppress(PolicyError):
        assert decode_jpeg(bytes(changed)).shape[2] == 3
