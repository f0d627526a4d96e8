"""What the measures say about frames and drives that are known."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from components.episodes import KEYS, hash_distance, mirror_actions, perceptual_hash
from components.episodes._hash import MIRROR_MASK
from components.episodes._names import parse_position
from components.episodes._quality import FrameQuality, driving_summary, frame_quality, frames_summary

BASE = "episode_20250815_103000_1box_vert_left"


def scene(height: int = 720, width: int = 1280, seed: int = 0) -> np.ndarray:
    """Patches of plain colours: edges of one pixel."""
    random = np.random.default_rng(seed)
    patches = random.integers(30, 220, (9, 16, 3), dtype=np.uint8)
    return patches.repeat(height // 9, axis=0).repeat(width // 16, axis=1)


def blurred(frame: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(radius)))


def drive(keys: str) -> np.ndarray:
    return np.stack([KEYS["space"], *(KEYS["space" if key == "_" else key] for key in keys)])


def test_sharpness_falls_with_blur_and_contrast_does_not_matter() -> None:
    frame = scene()
    sharp, soft, softer = (frame_quality(blurred(frame, radius)).sharpness for radius in (0, 2, 5))
    assert sharp is not None
    assert soft is not None
    assert softer is not None
    assert sharp == pytest.approx(1.0)
    assert softer < soft < 0.25 < sharp
    flat = frame_quality((frame // 2 + 60).astype(np.uint8)).sharpness
    assert flat == pytest.approx(1.0)


def test_motion_blur_in_one_direction_is_seen() -> None:
    frame = scene().astype(float)
    shaken = np.mean([np.roll(frame, shift, axis=1) for shift in range(12)], axis=0).astype(np.uint8)
    sharpness = frame_quality(shaken).sharpness
    assert sharpness is not None
    assert sharpness < 0.2


def test_noise_does_not_pass_for_sharpness() -> None:
    random = np.random.default_rng(0)
    noisy = np.clip(blurred(scene(), 4) + random.normal(0, 2, (720, 1280, 3)), 0, 255).astype(np.uint8)
    sharpness = frame_quality(noisy).sharpness
    assert sharpness is not None
    assert sharpness < 0.25


def test_plain_wall_has_no_sharpness_and_counts_as_edgeless() -> None:
    wall = np.full((720, 1280, 3), 128, np.uint8)
    measured = [frame_quality(wall), frame_quality(wall), frame_quality(scene())]
    assert measured[0].sharpness is None
    summary = frames_summary(measured)
    assert summary["edgeless_fraction"] == pytest.approx(2 / 3)
    assert summary["sharpness"][0] == pytest.approx(1.0)


def test_clipped_pixels_are_counted_whatever_the_rest_is() -> None:
    frame = scene()
    frame[:360] = 255
    frame[:, :320] = 0
    quality = frame_quality(frame)
    assert quality.dark == pytest.approx(0.25, abs=0.01)
    assert quality.bright == pytest.approx(0.375, abs=0.02)


def test_one_clipped_channel_is_a_colour_not_an_exposure() -> None:
    frame = np.zeros((90, 160, 3), np.uint8)
    frame[..., 0] = 255
    assert (frame_quality(frame).dark, frame_quality(frame).bright) == (0.0, 0.0)


def test_swapped_colours_have_the_opposite_warmth() -> None:
    frame = scene()
    one, other = frame_quality(frame).warmth, frame_quality(np.ascontiguousarray(frame[..., ::-1])).warmth
    assert one == pytest.approx([-value for value in other])


def test_summary_of_no_frames_says_nothing() -> None:
    assert frames_summary([]) == {
        "sharpness": None, "edgeless_fraction": None, "dark_share": None, "bright_share": None, "warmth": None,
    }  # fmt: skip


def test_frames_of_a_few_pixels_are_measured() -> None:
    assert isinstance(frame_quality(np.zeros((1, 1, 3), np.uint8)), FrameQuality)
    assert len(perceptual_hash(np.zeros((1, 1, 1, 3), np.uint8))) == 48


@pytest.mark.parametrize(
    ("keys", "side"),
    [
        ("WWWAAQQQQQQQWWWWW", 1),  # operators' own sequences
        ("WWWDEEEEEEWWWWQQQ", -1),
        ("QQQQWWWWWEEEEWWWW", 1),  # out and back
        ("WWWWEEEEWWWWWWWW_", -1),
        ("RRWWWWWTTTTWWWWWW", 1),  # one that steers by turning
        ("WWWWWWWWWWWWWWWWW", 0),
    ],
)
def test_side_is_the_one_that_was_driven(keys: str, side: int) -> None:
    told = driving_summary(drive(keys))["side"]
    assert np.sign(told) == side
    assert abs(told) > 0.05 or side == 0
    assert driving_summary(mirror_actions(drive(keys)))["side"] == pytest.approx(-told)


def test_robot_that_hardly_moved_has_no_side() -> None:
    assert driving_summary(drive("AD_______________"))["side"] is None
    assert driving_summary(drive(""))["side"] is None


def test_actions_that_are_no_numbers_are_left_out() -> None:
    actions = drive("QQQQWWWWWEEEEWWWW")
    actions[4] = np.nan
    assert driving_summary(actions)["side"] > 0.05


def test_pauses_count_between_movements_and_not_at_the_end() -> None:
    summary = driving_summary(drive("W____W_WWW_______"))
    assert summary["longest_pause"] == 4
    assert summary["idle_fraction"] == pytest.approx(12 / 17)
    assert driving_summary(drive("_________________"))["longest_pause"] == 0


def test_hash_survives_what_leaves_the_picture_and_knows_its_mirror() -> None:
    frames = np.stack([scene(seed=number) for number in range(3)])
    seen = perceptual_hash(frames)
    noise = np.random.default_rng(0).normal(0, 6, frames.shape)
    small = np.stack([np.asarray(Image.fromarray(frame).resize((640, 360))) for frame in frames])
    for changed in (np.clip(frames * 1.2 + noise, 0, 255).astype(np.uint8), small, frames[..., ::-1]):
        assert hash_distance(seen, perceptual_hash(changed)) <= 10
    mirrored = (np.frombuffer(bytes.fromhex(seen), np.uint8) ^ MIRROR_MASK).tobytes().hex()
    assert hash_distance(mirrored, perceptual_hash(frames[:, :, ::-1])) <= 2
    assert hash_distance(seen, perceptual_hash(np.stack([scene(seed=number) for number in range(3, 6)]))) > 40


@pytest.mark.parametrize(
    ("name", "stated", "position"),
    [
        (f"{BASE}_core_medium_center", None, "center"),
        (f"{BASE}_core_medium-centre.h5", None, "center"),
        (f"{BASE}_core_medium_right_2", None, "right"),
        (f"{BASE}_core_medium", "Left of the way", "left"),
        (f"{BASE}_core_medium_left", "right", "right"),
        (f"{BASE}_core_medium", None, None),
        (BASE, None, None),  # the scenario's side is no position
        (f"{BASE}_core_medium_left_right", None, None),
        ("kitchen_left", None, None),
    ],
)
def test_position_is_read_leniently_and_never_guessed(name: str, stated: str | None, position: str | None) -> None:
    assert parse_position(name, stated) == position
