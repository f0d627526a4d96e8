"""Distribution shifts: each changes what it says, and nothing else."""

import math
from dataclasses import asdict

import numpy as np
import pytest

from components.contracts import FrameSpec
from components.contracts.errors import ConfigurationError
from components.episodes import MAX_TOKENS, SCENARIOS, instruction_for, words
from components.simulation import (
    NO_SHIFT,
    SHIFTS,
    Mount,
    Scenario,
    Shift,
    Track,
    sample_scenario,
    shift_named,
    trial_camera,
    trial_rooms,
)
from components.simulation._textures import UNSEEN, floor_texture, wall_texture

ROOMS = [sample_scenario(*room) for room in trial_rooms(16, seed=5)]
FAMILIES = {
    "light": {"look.light_gain", "look.ambient", "look.light_x", "look.light_y", "look.warmth"},
    "textures": {"look.floor", "look.wall"},
    "box colours": {"boxes.rgb"},
    "box sizes": {"boxes.half_x", "boxes.half_y", "boxes.half_z"},
}


def _of(family: str) -> list[Shift]:
    return [shift for shift in SHIFTS if shift.family == family]


def _changed(before: Scenario, after: Scenario) -> set[str]:
    """Names of the fields that differ, `boxes.rgb` for any box's."""
    old, new = asdict(before), asdict(after)
    found = {f"look.{name}" for name in old["look"] if old["look"][name] != new["look"][name]}
    for one, other in zip(old.pop("boxes"), new.pop("boxes"), strict=True):
        found |= {f"boxes.{name}" for name in one if one[name] != other[name]}
    old.pop("look"), new.pop("look")
    return found | {name for name in old if old[name] != new[name]}


def test_every_family_is_there_and_every_name_is_told_once() -> None:
    assert {shift.family for shift in SHIFTS} == {
        "light", "textures", "box colours", "camera", "motor slip", "latency", "dropped frames", "instruction",
        "box sizes",
    }  # fmt: skip
    assert len({shift.name for shift in SHIFTS}) == len({shift.what for shift in SHIFTS}) == len(SHIFTS)
    assert [shift_named(shift.name) for shift in SHIFTS] == list(SHIFTS)
    assert shift_named("none") is NO_SHIFT
    with pytest.raises(ConfigurationError, match="expected a shift of none, light-dim"):
        shift_named("fog")


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: shift.name)
def test_a_shift_changes_fields_of_its_own_family_alone(shift: Shift) -> None:
    changed = set().union(*(_changed(room, shift.change(room)) for room in ROOMS))
    others = {
        "camera": shift.mount != Mount(),
        "motor slip": shift.slip != 1,
        "latency": shift.latency > 0,
        "dropped frames": shift.dropped > 0,
        "instruction": shift.wording != "usual",
    }

    assert changed <= FAMILIES.get(str(shift.family), set())
    assert bool(changed) == (shift.family in FAMILIES)
    assert [name for name, differs in others.items() if differs] == ([shift.family] if shift.family in others else [])


@pytest.mark.parametrize(
    "shift", [*_of("light"), *_of("textures"), *_of("box colours"), *_of("camera")], ids=lambda shift: shift.name
)
def test_what_changes_the_look_is_seen(shift: Shift) -> None:
    frame = FrameSpec()
    for room in ROOMS[:4]:
        before = trial_camera(room, frame).render(room.start).astype(int)
        after = trial_camera(shift.change(room), frame, mount=shift.mount).render(room.start).astype(int)
        assert np.abs(before - after).mean() > (0.1 if shift.family == "box colours" else 3)


def test_unseen_surfaces_leave_the_draws_of_all_others_as_they_were() -> None:
    for texture, kinds in ((floor_texture, 4), (wall_texture, 3)):
        for kind in range(kinds):
            usual, unseen = np.random.default_rng(1), np.random.default_rng(1)
            one, other = texture(kind, (0.5, 0.6, 0.7), usual), texture(kind + UNSEEN, (0.5, 0.6, 0.7), unseen)
            assert not np.array_equal(one, other)
            assert usual.random() == unseen.random()


@pytest.mark.parametrize("shift", _of("instruction"), ids=lambda shift: shift.name)
def test_other_words_still_name_the_side_and_fit_a_policy(shift: Shift) -> None:
    for scenario in SCENARIOS:
        said = words(shift.instruction(scenario))
        assert {"left", "right"} & set(said) == {scenario.rpartition("_")[2]}
        assert len(said) <= MAX_TOKENS
        assert said != words(instruction_for(scenario))


def test_one_suite_says_the_same_words_and_others_say_words_that_training_lacks() -> None:
    known = {word for scenario in SCENARIOS for word in words(instruction_for(scenario))}
    lacking = {
        shift.name: set().union(*(words(shift.instruction(name)) for name in SCENARIOS)) - known
        for shift in _of("instruction")
    }

    assert [name for name, unknown in lacking.items() if not unknown] == ["words-reordered"]
    assert len(lacking) > 3


def test_slip_is_the_same_draw_at_twice_and_four_times_the_size() -> None:
    rooms = trial_rooms(8)
    with Track({"ahead": "straight-ahead"}, max_presses=1) as track:
        once, twice, fourfold = (
            np.array([item.path[0][:2] for item in track.drive("ahead", rooms, shift)])
            for shift in (None, *_of("motor slip"))
        )

    assert np.abs(fourfold - once).max() > 0.02
    assert fourfold - once == pytest.approx(3 * (twice - once), abs=0.005)  # it turns a little too


@pytest.mark.parametrize("shift", _of("latency"), ids=lambda shift: shift.name)
def test_late_answers_are_executed_in_order_after_standing_still(shift: Shift) -> None:
    rooms = trial_rooms(3)
    with Track({"ahead": "straight-ahead"}, max_presses=5) as track:
        late, usual = (track.drive("ahead", rooms, item) for item in (shift, None))

    for one, other in zip(late, usual, strict=True):
        start = sample_scenario(*one.room).start
        stands = [math.dist(pose[:2], start[:2]) < 1e-6 for pose in one.path]
        assert stands == [step < shift.latency for step in range(5)]
        assert one.path[-1] != other.path[-1]  # as many presses, but other draws of the slip
