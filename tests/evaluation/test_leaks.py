"""A test episode that training has seen is found, whatever was done to hide it; different rooms are not accused."""

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from components.contracts import DatasetEpisode, DatasetSpec, DatasetVersion, ObjectRef
from components.datasets import EpisodeFrames, load_split
from components.episodes import SCENARIOS, instruction_for, mirror_actions
from components.evaluation._leaks import check_leaks
from components.simulation import Demonstration, sample_scenario
from components.storage import FolderStore


def _episode(scenario, number, **changes):
    driven = list(Demonstration(scenario, width=80, height=45, samples=2))
    fields = {
        "sha256": _sha(f"room {number}"), "name": f"episode_{number}", "robot": "robot-1", "session": f"day-{number}",
        "scenario": scenario.name, "instruction": instruction_for(scenario.name),
        "frames": np.stack([frame.image for frame in driven]),
        "actions": np.stack([frame.action for frame in driven]).astype(np.float32),
    }  # fmt: skip
    return EpisodeFrames(**(fields | changes))


def _sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(scope="module")
def rooms():
    """Sixteen simulated episodes, two a scenario."""
    return [_episode(sample_scenario(SCENARIOS[index % 8], 300 + index), index) for index in range(16)]


def _copy(item, frames=None, actions=None):
    """The same under another name, in another file, of another robot."""
    return replace(
        item,
        sha256=_sha(f"copy of {item.name}"),
        name="episode_20250101_120000_2box_hori_right",
        robot="robot-9",
        session="another-day",
        frames=item.frames if frames is None else np.ascontiguousarray(frames),
        actions=item.actions if actions is None else actions,
    )


def _jpeg(frames, quality):
    done = []
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(frame)).save(buffer, "JPEG", quality=quality)
        done.append(np.asarray(Image.open(buffer)))
    return np.stack(done)


def _brighter(frames):
    return np.clip(1.2 * frames + 25, 0, 255).astype(np.uint8)


def _noisy(frames):
    return np.clip(frames + np.random.default_rng(0).normal(0, 5, frames.shape), 0, 255).astype(np.uint8)


def test_episodes_of_different_rooms_are_no_leak(rooms):
    found = check_leaks(rooms[:10], rooms[10:12], rooms[12:])
    assert (found.test_episodes, found.other_episodes, found.leaks) == (4, 12, ())


def test_look_alike_rooms_are_no_leak():
    """The same floor, walls, light, furniture and colours; other places of boxes, cup and robot."""
    first = sample_scenario("1box_vert_left", 7)
    alike = [first]
    for seed in range(8, 14):
        other = sample_scenario(
            "1box_vert_left", seed, pattern=first.pattern, distance=first.distance, position=first.position
        )
        box = replace(other.boxes[0], rgb=first.boxes[0].rgb, style=first.boxes[0].style)
        alike.append(replace(other, look=first.look, clutter=first.clutter, cup_rgb=first.cup_rgb, boxes=(box,)))
    episodes = [_episode(room, index) for index, room in enumerate(alike)]
    assert check_leaks(episodes[2:], [], episodes[:2]).leaks == ()


def test_exact_copy_under_another_name_is_the_same_episode(rooms):
    leaked = rooms[12]
    (leak,) = check_leaks([*rooms[:10], _copy(leaked)], rooms[10:12], rooms[12:]).leaks
    assert (leak.test, leak.train, leak.how) == (leaked.sha256, _copy(leaked).sha256, "same-episode")


def test_same_file_in_validation_is_the_same_episode(rooms):
    found = check_leaks(rooms[:10], [rooms[13]], rooms[12:]).leaks
    assert {(leak.test, leak.how) for leak in found} == {
        (rooms[13].sha256, "same-episode"),
        (rooms[13].sha256, "same-session"),
    }


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (lambda frames: _jpeg(frames, 30), "near-duplicate"),
        (_brighter, "near-duplicate"),
        (_noisy, "near-duplicate"),
        (lambda frames: frames[..., ::-1], "near-duplicate"),
        (lambda frames: frames[3:], "near-duplicate"),
        (lambda frames: _jpeg(frames[:-5], 60), "near-duplicate"),
        (lambda frames: np.concatenate([frames, frames[::-1]]), "near-duplicate"),
        (lambda frames: frames[:, :, ::-1], "mirror-image"),
        (lambda frames: _jpeg(_brighter(frames[2:, :, ::-1]), 60), "mirror-image"),
    ],
    ids=["jpeg", "brighter", "noise", "swapped colours", "trimmed", "trimmed jpeg", "longer", "mirror", "mirror jpeg"],
)  # fmt: skip
@pytest.mark.parametrize("place", [12, 15])
def test_altered_copy_is_found_and_nothing_else(rooms, place, change, how):
    leaked = rooms[place]
    frames = change(leaked.frames)
    copy = _copy(leaked, frames, np.resize(mirror_actions(leaked.actions), (len(frames), 3)))
    (leak,) = check_leaks([*rooms[:10], copy], rooms[10:12], rooms[12:]).leaks
    assert (leak.test, leak.train, leak.how) == (leaked.sha256, copy.sha256, how)


def test_one_frame_spliced_into_a_training_episode_is_found(rooms):
    spliced = rooms[3].frames.copy()
    spliced[7] = _brighter(rooms[14].frames[9])
    (leak,) = check_leaks([_copy(rooms[3], spliced)], [], rooms[12:]).leaks
    assert (leak.test, leak.how) == (rooms[14].sha256, "near-duplicate")


def test_two_sessions_that_begin_at_one_mark_are_no_leak(rooms):
    frames = rooms[3].frames.copy()
    frames[:2] = rooms[14].frames[0]
    assert check_leaks([_copy(rooms[3], frames)], [], rooms[12:]).leaks == ()


def test_session_on_both_sides_is_a_leak_unless_one_recording_was_cut(rooms):
    test = [replace(rooms[12], session="morning"), rooms[13]]
    training = [replace(rooms[0], session="morning"), replace(rooms[1], session="morning", robot="robot-2")]
    (leak,) = check_leaks(training, [], test).leaks
    assert (leak.test, leak.train, leak.how) == (rooms[12].sha256, rooms[0].sha256, "same-session")
    one_recording = check_leaks(training, [], test, sessions=False)
    assert (one_recording.leaks, one_recording.sessions) == ((), False)


def test_cut_recording_may_share_a_frame_at_the_border_but_not_an_episode(rooms):
    parts = [replace(item, session="one drive") for item in rooms[:4]]
    border = parts[3].frames.copy()
    border[3] = parts[2].frames[-1]
    parts[3] = replace(parts[3], frames=border)
    assert check_leaks(parts[:3], [], parts[3:], sessions=False).leaks == ()
    again = replace(_copy(parts[3], _jpeg(border, 50)), robot="robot-1", session="one drive")
    assert [leak.how for leak in check_leaks([*parts[:3], again], [], parts[3:], sessions=False).leaks] == [
        "near-duplicate"
    ]


def test_flat_frames_are_compared_only_as_a_whole(rooms):
    dark = np.zeros_like(rooms[0].frames)
    test = [replace(rooms[12], frames=dark)]
    assert check_leaks([_copy(rooms[0], dark, rooms[12].actions + 1)], [], test).leaks == ()
    assert [leak.how for leak in check_leaks([_copy(rooms[12], dark)], [], test).leaks] == ["same-episode"]


def test_no_test_episode_or_no_other_is_an_empty_check(rooms):
    assert check_leaks(rooms[:2], [], []).leaks == ()
    assert check_leaks([], [], rooms[:2]).leaks == ()


@pytest.mark.parametrize("change", [lambda frames: frames, lambda frames: _jpeg(frames, 70)], ids=["exact", "jpeg"])
def test_leak_planted_in_a_dataset_is_found_in_its_shards(tmp_path, rooms, change):
    """A manifest that nobody could build by `build_dataset`: names, files, robots and sessions all differ."""
    planted = _copy(rooms[13], change(rooms[13].frames))
    splits = {"train": [*rooms[:8], planted], "validation": rooms[8:10], "test": rooms[12:]}
    store = FolderStore(tmp_path)
    dataset = _dataset(store, splits)
    (leak,) = check_leaks(*(load_split(store, dataset, split) for split in splits)).leaks
    assert (leak.test, leak.train) == (rooms[13].sha256, planted.sha256)


def _dataset(store, splits):
    shards, episodes = [], []
    for shard, (split, items) in enumerate(splits.items()):
        data = save({name: np.concatenate([getattr(item, name) for item in items]) for name in ("frames", "actions")})
        key = f"shards/{split}.safetensors"
        store.put("datasets", key, data)
        shards.append(ObjectRef(uri=f"s3://datasets/{key}", sha256=hashlib.sha256(data).hexdigest(), size=len(data)))
        for item in items:
            fields = {name: getattr(item, name) for name in ("sha256", "name", "robot", "session", "scenario")}
            episodes.append(
                DatasetEpisode(
                    **fields, instruction=item.instruction, split=split, shard=shard, frames=len(item.frames)
                )
            )
    return DatasetVersion(
        spec=DatasetSpec(), episodes=episodes, shards=shards, statistics=(), key_counts={}, vocabulary=()
    )
