from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from components.contracts import EpisodeSummary
from components.episodes import KEYS, Episode, EpisodeAttributes, content_digest, hash_distance, measure, read_episode

NAME = "episode_20250815_103000_1box_vert_left_core_medium"
SHA = "ab" * 32


def _episode(count: int = 6) -> Episode:
    """A scene that drifts by a few pixels a frame."""
    random = np.random.default_rng(0)
    scene = np.repeat(np.repeat(random.integers(0, 256, (9, 16, 3), dtype=np.uint8), 10, axis=0), 10, axis=1)
    images = np.stack([np.roll(scene, 3 * index, axis=1) for index in range(count)])
    actions = np.stack([KEYS["space"]] + [KEYS["W"]] * (count - 1))
    events = ("episode_start", *["start_action"] * (count - 1))
    return Episode(images, actions, events, EpisodeAttributes(name=NAME, num_frames=count, total_duration_s=12.0))


def _measured(episode: Episode) -> EpisodeSummary:
    return measure(episode, sha256=SHA, robot="robot-1")


def test_a_good_episode_measures_as_good() -> None:
    summary = _measured(_episode())
    assert (summary.frames, summary.height, summary.width) == (6, 90, 160)
    assert (summary.scenario, summary.pattern, summary.distance) == ("1box_vert_left", "core", "medium")
    assert summary.instruction == "Navigate around the single box obstacle by going left to reach the cup"
    assert summary.session == "robot-1-20250815"
    assert summary.collected_at == datetime(2025, 8, 15, 10, 30, tzinfo=UTC)
    assert summary.frame_zero_is_start
    assert (summary.non_finite_actions, summary.blank_frames, summary.frozen_frames) == (0, 0, 0)
    assert summary.unknown_key_fraction == 0
    assert summary.action_max is not None
    assert summary.action_max[0] == pytest.approx(1.15)
    assert (summary.stated_frames, summary.stated_duration_s) == (6, 12.0)


def test_the_files_claims_about_its_robot_are_not_believed(record: Callable[..., Path]) -> None:
    summary = _measured(read_episode(record(robot="another", session="s", instruction="Do as told")))
    assert (summary.robot, summary.session, summary.instruction) == ("robot-1", "s", "Do as told")


def test_blank_and_frozen_frames_are_counted() -> None:
    episode = _episode()
    episode.images[2] = 7
    episode.images[5] = episode.images[4]
    summary = _measured(episode)
    assert (summary.blank_frames, summary.frozen_frames) == (1, 1)


def test_a_frame_that_stands_still_without_a_command_is_not_frozen() -> None:
    episode = _episode()
    episode.images[1] = episode.images[0]
    assert _measured(episode).frozen_frames == 0


def test_one_changed_pixel_between_the_sampled_ones_is_not_frozen() -> None:
    images = np.zeros((2, 720, 1280, 3), np.uint8)
    images[1, 1, 1] = 1
    episode = _episode(2)
    actions = np.stack([KEYS["W"], KEYS["W"]])
    assert _measured(Episode(images, actions, episode.events, episode.attributes)).frozen_frames == 0
    images[1] = images[0]
    assert _measured(Episode(images, actions, episode.events, episode.attributes)).frozen_frames == 1


def test_broken_actions_are_measured_without_a_warning() -> None:
    episode = _episode()
    episode.actions[2] = np.nan
    episode.actions[3, 1] = np.inf
    episode.actions[4] = [0.5, 0, 0]
    summary = _measured(episode)
    assert summary.non_finite_actions == 4
    assert summary.unknown_key_fraction == pytest.approx(3 / 5)
    assert summary.action_max is not None
    episode.actions[:] = np.nan
    assert _measured(episode).action_min is None


def test_frame_zero_with_an_action_or_another_event_is_seen() -> None:
    moved = _episode()
    moved.actions[0] = KEYS["W"]
    assert not _measured(moved).frame_zero_is_start
    plain = _episode()
    other = Episode(plain.images, plain.actions, ("start_action", *plain.events[1:]), plain.attributes)
    assert not _measured(other).frame_zero_is_start


def test_one_episode_in_other_bytes_has_the_same_content() -> None:
    episode = _episode()
    digest = content_digest(episode.images, episode.actions)
    assert content_digest(episode.images.copy(order="F"), episode.actions.astype(">f4")) == digest
    episode.images[3, 2, 1, 0] ^= 1
    assert content_digest(episode.images, episode.actions) != digest


def test_near_duplicates_hash_near_and_others_far() -> None:
    episode, other = _episode(), _episode()
    brighter = np.clip(episode.images.astype(int) + 4, 0, 255).astype(np.uint8)
    near = Episode(brighter, episode.actions, episode.events, episode.attributes)
    flipped = Episode(other.images[:, ::-1, ::-1], other.actions, other.events, other.attributes)
    hashes = [_measured(item).perceptual_hash for item in (episode, near, flipped)]
    assert all(len(value) == 48 for value in hashes)
    assert hash_distance(hashes[0], hashes[1]) <= 4
    assert hash_distance(hashes[0], hashes[2]) > 40


def test_an_episode_of_one_frame_and_no_name_is_measured() -> None:
    episode = _episode(1)
    nameless = Episode(episode.images, episode.actions, episode.events, EpisodeAttributes(name="x"))
    summary = _measured(nameless)
    assert (summary.scenario, summary.collected_at, summary.instruction) == (None, None, "")
    assert summary.session == "robot-1-undated"
