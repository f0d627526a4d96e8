"""When the robot's other episodes tell whether red is red."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest

from components import checks
from components.contracts import EpisodeSummary

ROOM = (10.0, 42.0, 46.0)
"""Mean red minus mean blue from top to bottom: of a real track."""


def episode(number: int, warmth: Sequence[float] | None, **changes: object) -> EpisodeSummary:
    digest = hashlib.sha256(f"{number}".encode()).hexdigest()
    fields = {
        "sha256": digest, "content_sha256": digest, "name": f"e{number}", "robot": "r1", "session": "s",
        "scenario": None, "pattern": None, "distance": None, "instruction": "", "source": "robot",
        "collected_at": None, "frames": 18, "width": 1280, "height": 720, "stated_frames": None,
        "stated_duration_s": None, "frame_zero_is_start": True, "non_finite_actions": 0, "action_min": None,
        "action_max": None, "unknown_key_fraction": 0.0, "brightness_mean": 1.0, "blank_frames": 0,
        "frozen_frames": 0, "perceptual_hash": "00", "colour_order": "bgr", "warmth": warmth and tuple(warmth),
    }  # fmt: skip
    return EpisodeSummary.model_validate(fields | changes)


def recorded(
    count: int, mean: Sequence[float], spread: float, first: int = 100, **changes: object
) -> list[EpisodeSummary]:
    random = np.random.default_rng(0)
    return [
        episode(first + n, (np.array(mean) + random.normal(0, spread, 3)).tolist(), **changes) for n in range(count)
    ]


def decided(summary: EpisodeSummary, known: Sequence[EpisodeSummary]) -> EpisodeSummary:
    (found,) = checks.decide_colours([summary], known)
    return found


def test_agreeing_episode_that_states_nothing_is_decided() -> None:
    found = decided(episode(1, (12, 40, 44)), recorded(30, ROOM, 8))
    assert found.colour_basis == "decided"
    assert found.colour_confidence is not None
    assert found.colour_confidence > 0.99


def test_swapped_episode_is_doubted_and_its_basis_stays() -> None:
    for basis in ("stated", "unknown"):
        found = decided(episode(1, (-12, -40, -44), colour_basis=basis), recorded(30, ROOM, 8))
        assert found.colour_basis == basis
        assert found.colour_confidence is not None
        assert found.colour_confidence < 0.01


@pytest.mark.parametrize(
    ("summary", "known"),
    [
        (episode(1, (12, 40, 44)), recorded(11, ROOM, 8)),  # too few
        (episode(1, (12, 40, 44)), recorded(30, ROOM, 8, robot="r2")),  # another robot's
        (episode(1, (12, 40, 44)), recorded(30, ROOM, 8, source="ros")),  # another kind
        (episode(1, (150, -150, 150)), recorded(30, ROOM, 8)),  # another room altogether
        (episode(1, None), recorded(30, ROOM, 8)),
    ],
)
def test_nothing_is_said_where_nothing_is_known(summary: EpisodeSummary, known: list[EpisodeSummary]) -> None:
    assert decided(summary, known) == summary


def test_rooms_of_all_colours_decide_nothing() -> None:
    found = decided(episode(1, (20, -30, 35)), recorded(60, (0, 5, 5), 40))
    assert found.colour_basis == "unknown"
    assert found.colour_confidence is not None
    assert 0.01 < found.colour_confidence < 0.99


def test_a_batch_tells_about_itself() -> None:
    batch = [*recorded(20, ROOM, 8), episode(1, (-12, -40, -44))]
    *others, swapped = checks.decide_colours(batch, [])
    assert {item.colour_basis for item in others} == {"decided"}
    assert swapped.colour_confidence is not None
    assert swapped.colour_confidence < 0.01


def test_deciding_again_changes_nothing() -> None:
    batch = recorded(20, ROOM, 8)
    once = checks.decide_colours(batch, [])
    assert checks.decide_colours(once, []) == once
