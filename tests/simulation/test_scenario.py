"""Rooms and collection plans, as data."""

import itertools
from collections import Counter

import pytest

from components.contracts.errors import ConfigurationError
from components.episodes import SCENARIOS, parse_name
from components.simulation import ROBOT_RADIUS, ROOM, plan_fleet, sample_scenario, trial_rooms


def test_equal_seeds_give_equal_rooms() -> None:
    assert sample_scenario("2box_hori_left", 7) == sample_scenario("2box_hori_left", 7)
    assert sample_scenario("2box_hori_left", 7) != sample_scenario("2box_hori_left", 8)


def test_a_given_distance_leaves_the_look_as_it_was() -> None:
    drawn, given = sample_scenario("1box_vert_left", 3), sample_scenario("1box_vert_left", 3, distance="far")

    assert given.distance == "far"
    assert (given.look, given.cup_rgb) == (drawn.look, drawn.cup_rgb)


def test_an_unknown_scenario_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"expected a scenario of 1box_vert_left.*got '3box'"):
        sample_scenario("3box", 0)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_room_leaves_the_robot_room_on_the_named_side(name: str) -> None:
    for seed in range(50):
        scenario = sample_scenario(name, seed)
        edge = max(scenario.side * box.y + box.extent[1] for box in scenario.boxes)
        nearest = min((ROOM[3] - abs(item.y) - item.extent[1] for item in scenario.clutter), default=0.0)
        assert ROOM[3] - edge - 0.6 > 3 * ROBOT_RADIUS
        assert nearest >= 0
        assert len(scenario.boxes) == int(name[0])


def test_a_plan_covers_every_scenario_alike_and_names_are_unique() -> None:
    plan = plan_fleet(4, 96)

    assert set(Counter(item.scenario_name for item in plan).values()) == {12}
    assert Counter(item.pattern for item in plan) == {"core": 64, "variant": 32}
    assert set(Counter(item.robot for item in plan).values()) == {24}
    assert len({item.name for item in plan}) == 96
    assert len({(item.robot, item.session) for item in plan}) == 24
    for item in plan:
        parts = parse_name(item.name)
        assert (parts.recorded_at, parts.scenario, parts.pattern, parts.distance) == (
            item.recorded_at, item.scenario_name, item.pattern, item.distance,
        )  # fmt: skip


def test_two_sessions_in_a_row_on_one_robot_cover_the_eight_scenarios() -> None:
    for robots in (1, 2, 3, 4):
        plan = plan_fleet(robots, 24 * robots)
        mine = [item.scenario_name for item in plan if item.robot == "robot-1"]
        for first, second in itertools.pairwise(mine[i : i + 4] for i in range(0, len(mine), 4)):
            assert set(first) | set(second) == set(SCENARIOS)


def test_two_seeds_of_a_fleet_share_no_name_and_no_room() -> None:
    one, other = plan_fleet(4, 96, seed=0), plan_fleet(4, 96, seed=1)

    assert not {item.name for item in one} & {item.name for item in other}
    assert not {item.seed for item in one} & {item.seed for item in other}


def test_trial_rooms_are_never_a_demonstrations_room() -> None:
    trials = {seed for _, seed in trial_rooms(40)}

    assert not trials & {item.seed for item in plan_fleet(4, 1000, seed=9_999)}
    assert trial_rooms(40) == trial_rooms(40)
    assert not trials & {seed for _, seed in trial_rooms(40, seed=1)}


@pytest.mark.parametrize(("robots", "episodes", "seed"), [(0, 1, 0), (1, 0, 0), (1, 1, -1), (1, 1, 10_000)])
def test_a_plan_out_of_range_is_refused(robots: int, episodes: int, seed: int) -> None:
    with pytest.raises(ConfigurationError, match="expected 1"):
        plan_fleet(robots, episodes, seed=seed)
