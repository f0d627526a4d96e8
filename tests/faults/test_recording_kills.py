"""Row 31: the recorder dies in mid-episode, in mid-write, and what lies on the disk afterwards is as bad as it gets."""

import os
import resource
import signal
import zlib
from pathlib import Path

import numpy as np
import pytest

from components.contracts.errors import EpisodeError
from components.episodes import JOURNAL_SUFFIX, KEYS, EpisodeAttributes, read_episode
from components.robot import Recorder, Spool

FRAMES, HEIGHT, WIDTH = 6, 54, 96
IMAGES = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
WHOLE = 120_000
"""Bytes; more than any file that such a recording writes."""


def _record(spool: Spool, promise: int, *, finish: bool = True) -> None:
    """An episode; a byte into `promise` for each frame whose append returned, and one for the finished file."""
    recorder = Recorder(spool, "robot-1")
    recorder.start(EpisodeAttributes(name="one"), height=HEIGHT, width=WIDTH)
    for index in range(FRAMES):
        event, key = ("start_action", "W") if index else ("episode_start", "space")
        recorder.append(IMAGES[index], KEYS[key], event)
        os.write(promise, b"f")
    if finish:
        recorder.finish()
        os.write(promise, b"!")


def _die_at_byte(folder: Path, limit: int) -> tuple[int, bytes]:
    """Record in a child that the kernel kills in the middle of the write that takes any file past `limit` bytes."""
    ears, mouth = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            spool = Spool(folder)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            _record(spool, mouth)
        finally:
            os._exit(0)
    os.close(mouth)
    with os.fdopen(ears, "rb") as said:
        promised = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), promised


def test_row_31_recorder_killed_in_every_write_loses_no_frame_that_it_promised(tmp_path: Path) -> None:
    deaths, partial = 0, 0
    for limit in [*range(0, WHOLE, 997), WHOLE * 10]:
        folder = tmp_path / str(limit)
        code, promised = _die_at_byte(folder, limit)
        assert code in {0, -signal.SIGXFSZ}
        deaths += code != 0
        frames = promised.count(b"f")
        spool = Spool(folder)
        spool.recover()
        if frames or spool.pending():
            found = read_episode(spool.path_of("one")).images
            assert frames <= len(found) <= frames + 1
            assert np.array_equal(found, IMAGES[: len(found)])
            partial += 0 < len(found) < FRAMES
        assert not list(folder.glob("*.part"))
        assert not list(folder.glob("*" + JOURNAL_SUFFIX))
        assert spool.recover() == []
        assert all(path.stat().st_size < 1000 for path in spool.quarantined())  # headers, never frames
    assert code == 0, "the last limit is none"
    assert deaths > 80
    assert partial > 10


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Of a recorder that was killed after its last frame."""
    if (child := os.fork()) == 0:
        try:
            _record(Spool(tmp_path), os.open(os.devnull, os.O_WRONLY), finish=False)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return tmp_path / f"one.h5{JOURNAL_SUFFIX}"


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\0" * 5, os.urandom(3000), b"\xff" * 64], ids=len)
def test_row_31_a_tail_that_a_power_cut_left_costs_no_frame(journal: Path, tail: bytes) -> None:
    with journal.open("ab") as file:
        file.write(tail)
    spool = Spool(journal.parent)
    (path,) = spool.recover()
    assert np.array_equal(read_episode(path).images, IMAGES)


def test_row_31_frames_behind_a_hole_are_kept_in_quarantine_with_an_alarm(journal: Path) -> None:
    data = journal.read_bytes()
    position = data.index(zlib.compress(np.ascontiguousarray(IMAGES[3][..., ::-1]).data, 4))
    with journal.open("r+b") as file:
        file.seek(position + 100)
        file.write(bytes(byte ^ 1 for byte in data[position + 100 : position + 101]))
    damaged, spool = journal.read_bytes(), Spool(journal.parent)
    (path,) = spool.recover()
    assert np.array_equal(read_episode(path).images, IMAGES[:3])
    assert [kept.read_bytes() for kept in spool.quarantined()] == [damaged]
    assert [alarm.kind for alarm in spool.status().alarms] == ["recording-damaged"]
    assert spool.recover() == []


@pytest.mark.parametrize("length", [0, 5, 20, 100])
def test_row_31_a_recorder_killed_before_its_first_frame_leaves_its_name_free(journal: Path, length: int) -> None:
    with journal.open("r+b") as file:
        file.truncate(length)
    spool = Spool(journal.parent)
    assert (spool.recover(), len(spool.quarantined())) == ([], 1)
    recorder = Recorder(spool, "robot-1")
    recorder.start(EpisodeAttributes(name="one"), height=HEIGHT, width=WIDTH)
    with pytest.raises(EpisodeError, match="at least one frame"):
        recorder.finish()
