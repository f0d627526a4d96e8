"""Recorder and spool, killed for real."""

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from components.contracts.errors import ConfigurationError, EpisodeError, SpoolFullError
from components.episodes import JOURNAL_SUFFIX, KEYS, EpisodeAttributes, read_episode
from components.robot import Recorder, Spool

HEIGHT, WIDTH, FRAMES = 54, 96, 6

# Records episodes one after another and says so only after each call returned.
DRIVER = """
import sys
from pathlib import Path
import numpy as np
from components.episodes import KEYS, EpisodeAttributes
from components.robot import Recorder, Spool
recorder = Recorder(Spool(Path(sys.argv[1])), "robot-1")
for episode in range(10_000):
    recorder.start(EpisodeAttributes(name=f"episode-{episode:05d}"), height=54, width=96)
    images = np.random.default_rng(episode).integers(0, 256, (6, 54, 96, 3), dtype=np.uint8)
    for index in range(6):
        event, key = ("start_action", "W") if index else ("episode_start", "space")
        recorder.append(images[index], KEYS[key], event)
        print(episode, index + 1, flush=True)
    recorder.finish()
    print(episode, "done", flush=True)
"""


def _frames(episode: int) -> np.ndarray:
    return np.random.default_rng(episode).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)


def _record(recorder: Recorder, name: str, count: int = FRAMES) -> None:
    recorder.start(EpisodeAttributes(name=name), height=HEIGHT, width=WIDTH)
    for index in range(count):
        event, key = ("start_action", "W") if index else ("episode_start", "space")
        recorder.append(_frames(0)[index], KEYS[key], event)


def _check(spool: Spool, promised: dict[int, int]) -> None:
    """Every frame whose append had returned is there, as it was; at most one more (its word was cut off)."""
    for episode, frames in promised.items():
        found = read_episode(spool.path_of(f"episode-{episode:05d}"))
        assert frames <= len(found.images) <= frames + 1
        assert np.array_equal(found.images, _frames(episode)[: len(found.images)])
        assert found.events[0] == "episode_start"
        assert found.attributes.num_frames == len(found.images)
    assert not list(spool.folder.glob("*.part"))
    assert not list(spool.folder.glob("*" + JOURNAL_SUFFIX))


@pytest.mark.parametrize("seed", range(8))
def test_a_recorder_killed_at_random_loses_at_most_the_frame_in_hand(tmp_path: Path, seed: int) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    said = [driver.stdout.readline() for _ in range(random.Random(seed).randint(1, 60))]
    driver.send_signal(signal.SIGKILL)
    said += driver.stdout.read().splitlines()  # what it still said before it died
    driver.stdout.close()
    assert driver.wait() == -signal.SIGKILL
    promised: dict[int, int] = {}
    for line in said:
        episode, frames = line.split()
        promised[int(episode)] = FRAMES if frames == "done" else int(frames)
    spool = Spool(tmp_path)
    spool.recover()
    _check(spool, promised)
    assert spool.recover() == []


def _die_at(folder: Path, operation: int) -> int:
    """In a child: record two episodes, dying by SIGKILL just before the n-th file operation in the spool."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        named = event in {"open", "os.rename", "os.remove"} and str(arguments[0]).startswith(str(folder))
        if named or event in {"fcntl.flock", "os.truncate"}:
            seen += 1
            if seen == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        recorder = Recorder(Spool(folder), "robot-1")
        sys.addaudithook(watch)
        for name in ("first", "second"):
            _record(recorder, name)
            recorder.finish()
    finally:
        os._exit(0)


def test_a_recorder_killed_before_any_file_operation_leaves_whole_episodes(tmp_path: Path) -> None:
    for operation in range(1, 100):
        folder = tmp_path / str(operation)
        if _die_at(folder, operation) == 0:
            break
        spool = Spool(folder)
        spool.recover()
        for path in spool.pending():
            episode = read_episode(path)
            assert np.array_equal(episode.images, _frames(0)[: len(episode.images)])
        assert not list(folder.glob("*.part"))
        assert not list(folder.glob("*" + JOURNAL_SUFFIX))
        # what was finished once is never lost again
        if any(path.stem == "second" for path in spool.pending()):
            assert len(read_episode(spool.path_of("first")).images) == FRAMES
        assert all(path.stat().st_size < 1000 for path in spool.quarantined())  # headers, never frames
    assert operation > 10


def test_a_journal_without_a_whole_frame_is_kept_in_quarantine(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for content in (b"", b"torn"):
        (tmp_path / f"torn.h5{JOURNAL_SUFFIX}").write_bytes(content)
        assert spool.recover() == []
    assert sorted(path.read_bytes() for path in spool.quarantined()) == [b"", b"torn"]
    assert spool.pending() == []


def test_recovery_leaves_a_live_recording_alone(tmp_path: Path) -> None:
    recorder = Recorder(Spool(tmp_path), "robot-1")
    _record(recorder, "live", 2)
    assert Spool(tmp_path).recover() == []
    assert len(read_episode(recorder.finish()).images) == 2


def test_the_recorder_names_its_robot_and_keeps_the_order_of_calls(tmp_path: Path) -> None:
    recorder = Recorder(Spool(tmp_path), "robot-1")
    with pytest.raises(EpisodeError, match="no episode has begun"):
        recorder.append(_frames(0)[0], KEYS["space"], "episode_start")
    _record(recorder, "one", 1)
    with pytest.raises(EpisodeError, match="being recorded"):
        recorder.start(EpisodeAttributes(name="two"))
    path = recorder.finish(total_duration_s=9.5)
    attributes = read_episode(path).attributes
    assert (attributes.robot, attributes.total_duration_s) == ("robot-1", 9.5)
    assert not recorder.recording
    recorder.start(EpisodeAttributes(name="two"), height=HEIGHT, width=WIDTH)
    recorder.discard()
    assert Spool(tmp_path).pending() == [path]
    with pytest.raises(ConfigurationError, match="expected a robot id"):
        Recorder(Spool(tmp_path), "Robot One")


@pytest.mark.parametrize(("key", "event"), [("W", "episode_start"), ("space", "start_action")])
def test_a_first_frame_that_is_no_start_is_refused(tmp_path: Path, key: str, event: str) -> None:
    recorder = Recorder(Spool(tmp_path), "robot-1")
    recorder.start(EpisodeAttributes(name="one"), height=HEIGHT, width=WIDTH)
    with pytest.raises(EpisodeError, match="expected an episode_start with a zero action") as caught:
        recorder.append(_frames(0)[0], KEYS[key], event)
    assert caught.value.rule == "frame-zero"
    recorder.discard()


def test_a_full_spool_refuses_new_recordings_and_deletes_nothing(tmp_path: Path) -> None:
    recorder = Recorder(Spool(tmp_path), "robot-1")
    _record(recorder, "one")
    path = recorder.finish()
    full = Recorder(Spool(tmp_path, capacity_bytes=path.stat().st_size), "robot-1")
    before = path.read_bytes()
    with pytest.raises(SpoolFullError, match="nothing was deleted"):
        full.start(EpisodeAttributes(name="two"), height=HEIGHT, width=WIDTH)
    assert path.read_bytes() == before
    assert full.spool.pending() == [path]


def test_a_budget_spent_while_recording_keeps_the_frames_before(tmp_path: Path) -> None:
    recorder = Recorder(Spool(tmp_path, capacity_bytes=90_000), "robot-1")
    with pytest.raises(SpoolFullError, match="no room for frame"):
        _record(recorder, "one")
    kept = read_episode(recorder.finish())
    assert 1 <= len(kept.images) < FRAMES
    assert np.array_equal(kept.images, _frames(0)[: len(kept.images)])
    assert recorder.spool.used_bytes < 90_000


@contextmanager
def _no_file_larger_than(size: int) -> Iterator[None]:
    """What a full disk does to a write: it fails half-way, from the kernel."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_half_way_keeps_the_frames_before_and_goes_on_later(tmp_path: Path) -> None:
    recorder = Recorder(Spool(tmp_path), "robot-1")
    _record(recorder, "one", 2)
    with _no_file_larger_than(40_000), pytest.raises(SpoolFullError, match="frame 2 could not be written"):
        recorder.append(_frames(0)[2], KEYS["W"], "start_action")
    recorder.append(_frames(0)[2], KEYS["W"], "start_action")
    assert np.array_equal(read_episode(recorder.finish()).images, _frames(0)[:3])


def test_a_finish_without_room_keeps_every_frame_for_recovery(tmp_path: Path) -> None:
    recorder = Recorder(Spool(tmp_path), "robot-1")
    _record(recorder, "one")
    with _no_file_larger_than(40_000), pytest.raises(SpoolFullError, match="its 6 frames are kept"):
        recorder.finish()
    assert [path.stem for path in Spool(tmp_path).recover()] == ["one"]
    assert np.array_equal(read_episode(tmp_path / "one.h5").images, _frames(0))
