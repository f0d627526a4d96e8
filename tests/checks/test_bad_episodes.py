"""Simulated episodes: sound ones break no rule, and one fault at a time is found in the frames and actions."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from components import checks
from components.contracts import EpisodeSummary
from components.episodes import (
    KEYS,
    Episode,
    EpisodeAttributes,
    instruction_for,
    measure,
    mirror_actions,
    mirror_instruction,
)
from components.simulation import Demonstration, PlannedEpisode, plan_fleet
from components.storage import FolderStore

pytestmark = pytest.mark.long

Change = Callable[[Episode], Episode]
SOUND = 10


def driven(planned: PlannedEpisode, width: int = 320, height: int = 180) -> Episode:
    frames = list(Demonstration(planned.scenario(), width=width, height=height))
    attributes = EpisodeAttributes(
        name=planned.name, robot=planned.robot, session=planned.session, source="simulated",
        instruction=instruction_for(planned.scenario_name), scenario=planned.scenario_name,
        num_frames=len(frames), total_duration_s=frames[-1].elapsed_s,
    )  # fmt: skip
    return Episode(
        np.stack([frame.image for frame in frames]),
        np.stack([frame.action for frame in frames]),
        tuple(frame.event for frame in frames),
        attributes,
    )


@pytest.fixture(scope="module")
def fleet() -> list[Episode]:
    return [driven(planned) for planned in plan_fleet(3, SOUND + 1)]


def measured(episode: Episode, mark: str) -> EpisodeSummary:
    return measure(episode, sha256=hashlib.sha256(mark.encode()).hexdigest(), robot="robot-1", name=f"episode-{mark}")


def each(episode: Episode, change: Callable[[np.ndarray], np.ndarray]) -> Episode:
    return replace(episode, images=np.stack([change(frame) for frame in episode.images]))


def attributes(episode: Episode, **changes: object) -> Episode:
    return replace(episode, attributes=episode.attributes.model_copy(update=changes))


def acting(episode: Episode, change: Callable[[np.ndarray], None]) -> Episode:
    actions = episode.actions.copy()
    change(actions)
    return replace(episode, actions=actions)


def put(where: object, value: object) -> Change:
    return lambda episode: acting(episode, lambda actions: actions.__setitem__(where, value))  # type: ignore[arg-type]


def defocused(frame: np.ndarray, radius: float = 5) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(radius)))


def some(episode: Episode, change: Callable[[np.ndarray], np.ndarray], every: int) -> Episode:
    images = episode.images.copy()
    for index in range(0, len(images), every):
        images[index] = change(images[index])
    return replace(episode, images=images)


def held(episode: Episode, first: int, last: int) -> Episode:
    images = episode.images.copy()
    images[first:last] = images[first]
    actions = episode.actions.copy()
    actions[first:last] = KEYS["W"]
    return replace(episode, images=images, actions=actions)


def idle(actions: np.ndarray) -> None:
    actions[4:] = 0


FAULTS: dict[str, Change] = {
    "finite": put((3, 0), np.nan),
    "range": put((3, 0), 2.3),
    "too-short": lambda item: replace(item, images=item.images[:1], actions=item.actions[:1], events=item.events[:1]),
    "frame-zero": put(0, KEYS["W"]),
    "key-vocabulary": put((5, 0), 0.4),
    "blank": lambda item: each(item, np.zeros_like),
    "frozen": lambda item: held(item, 2, 16),
    "side": lambda item: replace(item, actions=mirror_actions(item.actions)),
    "clock-implausible": lambda item: attributes(item, total_duration_s=0.2),
    "frame-count": lambda item: attributes(item, num_frames=40),
    "some-blank": lambda item: some(item, np.zeros_like, 9),
    "some-frozen": lambda item: held(item, 4, 8),
    "exposure": lambda item: each(item, lambda frame: frame // 40),
    "under-exposed": lambda item: each(item, lambda frame: np.clip(frame.astype(int) - 150, 0, 255).astype(np.uint8)),
    "over-exposed": lambda item: each(item, lambda frame: np.clip(frame.astype(int) + 170, 0, 255).astype(np.uint8)),
    "blurred": lambda item: each(item, defocused),
    "some-blurred": lambda item: some(item, lambda frame: defocused(frame, 2.5), 4),
    "idling": lambda item: acting(item, idle),
    "small-frames": lambda item: replace(item, images=item.images[:, ::5, ::5]),
    "unknown-scenario": lambda item: attributes(item, scenario=None),
    "instruction": lambda item: attributes(item, instruction=mirror_instruction(item.attributes.instruction or "")),
}


def judged(tmp_path: Path, batch: list[EpisodeSummary], known: list[EpisodeSummary]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {item.sha256: set() for item in batch}
    for item in checks.check(FolderStore(tmp_path / "store"), batch, known=known).findings:
        found[item.sha256].add(item.rule)
    return found


def test_sound_demonstrations_break_no_rule(tmp_path: Path, fleet: list[Episode]) -> None:
    batch = [measured(episode, f"sound-{number}") for number, episode in enumerate(fleet)]
    assert judged(tmp_path, batch, []) == {item.sha256: set() for item in batch}


def test_sound_episodes_of_the_cameras_full_size_break_no_rule(tmp_path: Path) -> None:
    batch = [measured(driven(planned, 1280, 720), planned.name) for planned in plan_fleet(1, 3, seed=4)]
    assert judged(tmp_path, batch, []) == {item.sha256: set() for item in batch}


def test_each_fault_is_found_in_the_file_that_has_it(tmp_path: Path, fleet: list[Episode]) -> None:
    """Every fault in an episode of a room of its own, so that none is a copy of another."""
    rooms = plan_fleet(1, len(FAULTS), seed=7)
    batch = {}
    for (rule, change), planned in zip(FAULTS.items(), rooms, strict=True):
        batch[rule] = measured(change(driven(planned)), rule)
    found = judged(tmp_path, list(batch.values()), [measured(item, f"k{n}") for n, item in enumerate(fleet)])
    for rule, summary in batch.items():
        assert rule in found[summary.sha256], rule


def test_copies_are_found_whatever_was_done_to_them(tmp_path: Path, fleet: list[Episode]) -> None:
    original = fleet[0]

    def compressed(frame: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=60)
        return np.asarray(Image.open(buffer))

    mirrored = replace(original, images=original.images[:, :, ::-1].copy(), actions=mirror_actions(original.actions))
    copies = {
        "duplicate": attributes(original, instruction="Other words about the single box on the left"),
        "near-duplicate-1": each(original, compressed),
        "near-duplicate-2": each(original, lambda frame: np.clip(frame * 1.15, 0, 255).astype(np.uint8)),
        "near-duplicate-3": each(original, lambda frame: frame[..., ::-1].copy()),
        "mirrored-duplicate": attributes(mirrored, scenario="1box_vert_right", instruction="One box, pass right"),
    }
    known = [measured(item, f"known-{number}") for number, item in enumerate(fleet)]
    for kind, episode in copies.items():
        summary = measured(episode, kind)
        assert kind.rstrip("-123") in judged(tmp_path, [summary], known)[summary.sha256]


def test_episode_with_red_and_blue_swapped_among_its_robots_own(tmp_path: Path) -> None:
    """One room, seen fourteen times; simulated rooms of all colours would tell nothing."""
    planned = plan_fleet(1, 1)[0]
    one = driven(planned)
    random = np.random.default_rng(0)
    tints = random.normal([1.1, 1.0, 0.8], 0.02, (14, 3))
    visits = [replace(one, images=np.clip(one.images * tint, 0, 255).astype(np.uint8)) for tint in tints]
    known = [measured(item, f"visit-{number}") for number, item in enumerate(visits[:-1])]
    swapped = measured(each(visits[-1], lambda frame: frame[..., ::-1].copy()), "swapped")
    sound = measured(visits[-1], "sound")
    assert "colour-order" in judged(tmp_path, [swapped], known)[swapped.sha256]
    assert "colour-order" not in judged(tmp_path, [sound], known)[sound.sha256]
