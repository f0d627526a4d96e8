"""The base, its contacts, the operator, and what counts as success."""

import numpy as np
import pytest

from components.episodes import KEYS, SCENARIOS, key_of
from components.simulation import REACH, Body, Expert, Motion, Scenario, sample_scenario, shortest_path


def _drive(scenario: Scenario, keys: str) -> Body:
    body = Body(scenario, motion=Motion(slip=0.0))
    for key in keys:
        body.press(KEYS[key])
    return body


@pytest.mark.parametrize(
    ("key", "moved"),
    [("W", (1, 0, 0)), ("S", (-1, 0, 0)), ("A", (0, 1, 0)), ("E", (1, -1, 0)), ("R", (0, 0, 1)), ("T", (0, 0, -1))],
)
def test_a_press_moves_the_base_by_the_setting_and_it_stands(key: str, moved: tuple[int, int, int]) -> None:
    motion = Motion(slip=0.0, metres_per_press=0.2, radians_per_press=0.3)
    body = Body(sample_scenario("1box_vert_left", 0, pattern="core"), motion=motion)
    x, y, yaw = body.pose
    body.press(KEYS[key])

    ahead, aside = body.pose[0] - x, body.pose[1] - y
    cosine, sine = np.cos(yaw), np.sin(yaw)
    found = (cosine * ahead + sine * aside, cosine * aside - sine * ahead, body.pose[2] - yaw)
    assert found == pytest.approx(np.array(moved) * (0.2, 0.2, 0.3), abs=0.004)
    pose = body.pose
    body.press(KEYS["space"])
    assert body.pose == pose


def test_equal_seeds_give_equal_poses_to_the_bit() -> None:
    scenario = sample_scenario("2box_vert_right", 4)
    one, other, slipped = Body(scenario), Body(scenario), Body(scenario, seed=99)
    for key in "WEDQW":
        for body in (one, other, slipped):
            body.press(KEYS[key])

    assert one.path == other.path
    assert one.pose != slipped.pose


def test_a_box_in_the_way_is_a_collision_and_stops_the_base() -> None:
    scenario = sample_scenario("1box_hori_left", 1, pattern="core", position="center")
    body = _drive(scenario, "W" * 15)

    assert body.outcome.collided
    assert body.touched == "box0"
    assert body.pose[0] < scenario.boxes[0].x
    assert not body.outcome.success


def test_walls_are_touched_too() -> None:
    body = _drive(sample_scenario("1box_vert_left", 2, pattern="core"), "S" * 12)

    assert body.touched == "wall-back"


@pytest.mark.parametrize("seed", range(20))
def test_the_wrong_side_is_no_success_though_the_cup_is_reached(seed: int) -> None:
    name = SCENARIOS[seed % 8]
    scenario = sample_scenario(name, seed)
    other = name.replace("left", "RIGHT").replace("right", "left").replace("RIGHT", "right")
    mirrored = Scenario(**(vars(scenario) | {"name": other}))
    operator, body = Expert(mirrored), Body(scenario)
    for _ in range(17):
        body.press(operator.press(body.pose))

    assert body.outcome.reached
    assert not body.outcome.collided
    assert not body.outcome.right_side
    assert not body.outcome.success


def test_the_operator_succeeds_in_160_rooms_by_keys_alone_within_17_presses() -> None:
    successes, keys = [], set()
    for seed in range(160):
        scenario = sample_scenario(SCENARIOS[seed % 8], seed)
        operator, body = Expert(scenario), Body(scenario)
        for _ in range(17):
            action = operator.press(body.pose)
            keys.add(key_of(action))
            body.press(action)
        successes.append(body.outcome.success)
        assert body.outcome.length_m + 0.25 > shortest_path(scenario)

    assert sum(successes) == 160
    assert keys == {"W", "A", "D", "Q", "E", "R", "T", "space"}


def test_an_action_beyond_the_limit_is_clamped() -> None:
    scenario = sample_scenario("1box_vert_left", 0, pattern="core")
    pressed, shouted = Body(scenario), Body(scenario)
    pressed.press(KEYS["W"])
    shouted.press([50.0, 0.0, 0.0])

    assert pressed.pose == pytest.approx(shouted.pose, abs=1e-6)


def test_the_shortest_path_of_a_room_without_a_detour_is_the_straight_line() -> None:
    scenario = sample_scenario("1box_vert_left", 0)
    box = scenario.boxes[0]
    aside = Scenario(**(vars(scenario) | {"boxes": (type(box)(**(vars(box) | {"y": -1.5})),)}))
    line = np.hypot(scenario.cup[0] - scenario.start[0], scenario.cup[1] - scenario.start[1])

    assert shortest_path(aside) == pytest.approx(line - REACH)
    assert shortest_path(scenario) > line - REACH
