"""Pictures."""

import subprocess
import sys

import numpy as np
import pytest

from components.contracts import FrameSpec
from components.contracts.errors import ConfigurationError
from components.episodes import SCENARIOS, resize_frame
from components.simulation import Camera, Scenario, camera_rate, sample_scenario

_POSE = (1.2, 0.7, -0.1)


def test_equal_poses_give_equal_pictures_with_any_number_of_threads() -> None:
    scenario = sample_scenario("2box_vert_left", 3)
    single = Camera(scenario, width=320, height=180).render(_POSE)
    threaded = Camera(scenario, width=320, height=180, threads=3)

    assert np.array_equal(single, threaded.render(_POSE))
    threaded.close()
    assert not np.array_equal(single, Camera(scenario, width=320, height=180).render((1.2, 0.7, 0.0)))


def test_another_process_draws_the_same_bits() -> None:
    code = (
        "import hashlib; from components.simulation import Camera, sample_scenario; "
        f"image = Camera(sample_scenario('2box_vert_left', 3), width=160, height=90).render({_POSE}); "
        "print(hashlib.sha256(image).hexdigest())"
    )
    run = [sys.executable, "-c", code]
    one, other = (subprocess.run(run, capture_output=True, text=True, check=True).stdout for _ in range(2))

    assert one == other


@pytest.mark.parametrize(("spec", "rms"), [(FrameSpec(), 2.0), (FrameSpec(width=160, height=90), 3.0)])
def test_small_pictures_are_close_to_the_resized_camera(spec: FrameSpec, rms: float) -> None:
    for seed, name in enumerate(SCENARIOS[::2]):
        scenario = sample_scenario(name, seed)
        resized = resize_frame(Camera(scenario).render(scenario.start), spec).astype(float)
        samples = 320 // spec.width
        small = Camera(scenario, width=spec.width, height=spec.height, samples=samples).render(scenario.start)

        assert np.sqrt(np.mean((resized - small) ** 2)) < rms
        assert abs(np.mean(resized - small)) < 0.3


def test_another_aspect_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"aspect, 1280:720, got 224x224"):
        Camera(sample_scenario("1box_vert_left", 0), width=224, height=224)


def test_the_cup_is_seen_where_it_stands() -> None:
    """From 1 m before it, a red cup is in the middle column and below the horizon."""
    scenario = sample_scenario("1box_vert_left", 0)
    red = Scenario(**(vars(scenario) | {"cup_rgb": (0.9, 0.0, 0.0), "cup": (4.0, 0.0)}))
    image = Camera(red, width=320, height=180).render((3.0, 0.0, 0.0)).astype(int)
    rows, columns = np.nonzero((image[..., 0] > 80) & (image[..., 1] < 30) & (image[..., 2] < 30))

    assert abs(columns.mean() - 160) < 15
    assert rows.min() > 60
    assert 300 < len(rows) < 3000


def test_boxes_cast_shadows_on_the_side_away_from_the_sun() -> None:
    scenario = sample_scenario("1box_vert_left", 5, pattern="core", position="center")
    look = type(scenario.look)(**(vars(scenario.look) | {"light_x": 0.0, "light_y": 1.2, "floor": 3}))
    scenario = Scenario(**(vars(scenario) | {"look": look, "clutter": ()}))
    image = Camera(scenario, width=320, height=180).render((0.0, scenario.boxes[0].y, 0.0)).mean(axis=2)
    bare = Scenario(
        **(vars(scenario) | {"boxes": (type(scenario.boxes[0])(**(vars(scenario.boxes[0]) | {"x": -1.0})),)})
    )
    empty = Camera(bare, width=320, height=180).render((0.0, scenario.boxes[0].y, 0.0)).mean(axis=2)
    darker = (empty - image > 20) & (image < 0.75 * empty)

    assert darker[:, 160:].sum() != darker[:, :160].sum()
    assert darker.sum() > 200


def test_the_rate_is_measured() -> None:
    assert camera_rate(width=80, height=45, samples=4, threads=1, seconds=0.1) > 0
