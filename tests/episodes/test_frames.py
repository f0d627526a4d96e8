from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.contracts import FrameSpec
from components.contracts.errors import EpisodeError
from components.episodes import resize_frame


def _by_hand(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The definition, in exact fractions."""
    rows, columns = image.shape[:2]
    result = np.zeros((height, width, 3), dtype=np.uint8)
    for y in range(height):
        for x in range(width):
            top, bottom = Fraction(y * rows, height), Fraction((y + 1) * rows, height)
            left, right = Fraction(x * columns, width), Fraction((x + 1) * columns, width)
            for channel in range(3):
                total = Fraction(0)
                for i in range(int(top), -int(-bottom // 1)):
                    for j in range(int(left), -int(-right // 1)):
                        area = (min(bottom, i + 1) - max(top, i)) * (min(right, j + 1) - max(left, j))
                        total += area * int(image[i, j, channel])
                result[y, x, channel] = int(total / ((bottom - top) * (right - left)) + Fraction(1, 2))
    return result


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 24), st.integers(8, 24), st.integers(8, 12), st.integers(8, 12), st.integers(0, 2**32))
def test_any_size_is_the_exact_area_average(rows: int, columns: int, height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    resized = resize_frame(image, FrameSpec(width=width, height=height))
    assert np.array_equal(resized, _by_hand(image, height, width))


def test_a_camera_frame_by_whole_factors_is_its_rounded_means() -> None:
    image = np.random.default_rng(1).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    resized = resize_frame(image, FrameSpec(width=80, height=45))
    exact = image.reshape(45, 16, 80, 16, 3).astype(np.int64).sum(axis=(1, 3))
    assert np.array_equal(resized, (2 * exact + 256) // 512)
    assert resized.dtype == np.uint8
    assert resized.flags.c_contiguous


def test_a_frame_of_the_right_size_is_unchanged() -> None:
    image = np.random.default_rng(2).integers(0, 256, (45, 80, 3), dtype=np.uint8)
    assert np.array_equal(resize_frame(image, FrameSpec()), image)


def test_a_reversed_view_resizes_like_its_copy() -> None:
    image = np.random.default_rng(3).integers(0, 256, (90, 160, 3), dtype=np.uint8)[..., ::-1]
    assert np.array_equal(resize_frame(image, FrameSpec()), resize_frame(image.copy(), FrameSpec()))


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_frame_is_refused(image: np.ndarray) -> None:
    with pytest.raises(EpisodeError, match="expected a frame"):
        resize_frame(image, FrameSpec())
