"""Recordings that were cut off, not closed or damaged: what is whole comes through, what is lost is told."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import CompressionType
from rosbags.rosbag2 import StoragePlugin

from components.contracts.errors import EpisodeError
from components.episodes import read_episode
from components.episodes.formats import Conversion, RosOptions, import_mcap, import_rosbag2
from tests.episodes.recordings import START_NS, Topic, bag, compressed, drive, mcap, picture, raw, reds, text, twist
from tests.episodes.test_formats_images import encoded, textured

PARTIAL = RosOptions(allow_partial=True)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def busy(count: int = 40) -> list[Topic]:
    """Mostly small messages, as a small robot's recording."""
    messages: list[Topic] = []
    for index in range(count):
        messages.append(text(index / 20, f"{index:04d} " + "0.1 " * 20, "/imu_text"))
        if index % 4 == 0:
            messages += [twist(index / 20, 0.1), raw(index / 20, index)]
    return messages


CUTS = 32


@pytest.mark.parametrize("compression", list(CompressionType), ids=lambda kind: kind.name)
@pytest.mark.parametrize("chunks", [True, False], ids=["chunks", "loose"])
def test_a_cut_anywhere_gives_what_is_whole(
    tmp_path: Path, out: Path, compression: CompressionType, chunks: bool
) -> None:
    whole = mcap(tmp_path / "run.mcap", busy(), chunk=900, compression=compression, use_chunking=chunks)
    data = whole.read_bytes()
    frames = []
    for cut in range(len(data) // 4, len(data) - 1, len(data) // CUTS):
        whole.write_bytes(data[:cut])
        done = import_mcap(whole, out / str(cut), robot="r")
        frames.append(done.frames)
        assert any("was cut off" in note for note in done.notes)
    assert frames == sorted(frames)
    assert frames[-1] == 11  # 10 images and a start frame


@pytest.mark.parametrize("zeros", [1, 300, 5000])
def test_zeros_after_a_power_loss_are_a_cut(tmp_path: Path, out: Path, zeros: int) -> None:
    path = mcap(tmp_path / "run.mcap", busy(), chunk=900)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3] + bytes(zeros))
    assert import_mcap(path, out, robot="r").frames > 3


def test_a_file_without_a_whole_message_says_so(tmp_path: Path, out: Path) -> None:
    path = mcap(tmp_path / "run.mcap", busy(), chunk=10**6)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(EpisodeError, match=r"expected messages, found none: run\.mcap was cut off"):
        import_mcap(path, out, robot="r")


def test_a_length_beyond_the_end_of_a_finished_file_is_damage(tmp_path: Path, out: Path) -> None:
    path = mcap(tmp_path / "run.mcap", busy(), use_chunking=False)
    data = bytearray(path.read_bytes())
    at = data.index(b"0020 0.1") - 8 - 22 - 8  # CDR's head and length, the message's head, the record's length
    data[at : at + 8] = (2**40).to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(EpisodeError, match="is damaged: expected a record at byte"):
        import_mcap(path, out, robot="r")
    done = import_mcap(path, out, robot="r", options=PARTIAL)
    assert done.frames == 6
    assert any("--allow-partial" in note for note in done.notes)


def test_a_damaged_chunk_is_refused_or_left_out_and_counted(tmp_path: Path, out: Path) -> None:
    path = mcap(tmp_path / "run.mcap", busy(), chunk=900, compression=CompressionType.NONE)
    data = bytearray(path.read_bytes())
    data[data.index(picture(20).tobytes()) + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(EpisodeError, match="is damaged: a chunk's checksum is wrong"):
        import_mcap(path, out, robot="r")
    done = import_mcap(path, out, robot="r", options=PARTIAL)
    messages = next(tally for tally in done.counts if tally.unit == "messages")
    assert messages.declared == len(busy())
    assert 0 < messages.unread < 12
    assert "not read" in str(messages)
    assert 20 not in reds(done.files[0])


def _declaring(folder: Path, change: Callable[[str], str]) -> Path:
    metadata = folder / "metadata.yaml"
    before = metadata.read_text()
    metadata.write_text(change(before))
    assert metadata.read_text() != before
    return folder


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_fewer_messages_than_declared_are_an_error_unless_it_is_allowed(
    tmp_path: Path, out: Path, storage: str
) -> None:
    source = bag(tmp_path / "run", drive(), StoragePlugin[storage])
    _declaring(source, lambda text: text.replace("message_count: 11", "message_count: 13"))
    with pytest.raises(
        EpisodeError, match=r"declares 13 messages, of which 11 could be read.*--allow-partial"
    ) as caught:
        import_rosbag2(source, out, robot="r")
    assert caught.value.rule == "partial"
    assert list(out.iterdir()) == []
    assert import_rosbag2(source, out, robot="r", options=PARTIAL).frames == 5


def test_counts_add_up_with_a_rate_other_topics_and_gaps(tmp_path: Path, out: Path) -> None:
    messages = [*drive(30, period=0.05), text(0.3, "hello", "/chatter"), raw(60, 7)]
    source = mcap(tmp_path / "run.mcap", messages)
    done = import_mcap(source, out, robot="r", options=RosOptions(rate_hz=10))
    counts = {tally.unit: tally for tally in done.counts}
    assert counts["messages"].read == counts["messages"].declared == len(messages)
    assert counts["messages"].dropped == {"on other topics": 1}
    images = counts["images"]
    assert images.declared == images.read == 31
    assert images.dropped == {"between the frames of the rate": 15, "alone between two gaps": 1}
    assert images.used == 15


def test_an_empty_last_part_costs_nothing_else(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    mcap(folder / "run_0.mcap", drive())
    (folder / "run_1.mcap").write_bytes(b"")
    for load in (import_mcap, import_rosbag2):
        done = load(folder, out / load.__name__, robot="r")
        assert done.frames == 5
        assert "run_1.mcap is empty" in done.notes


def test_a_damaged_file_among_others_is_named_and_left_out(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    mcap(folder / "morning.mcap", drive())
    mcap(folder / "noon.mcap", [text(0, "no camera here")])
    (folder / "evening.mcap").write_bytes(b"no recording")
    (folder / "._morning.mcap").write_bytes(b"what macOS leaves")
    done = import_mcap(folder, out, robot="r")
    assert done.frames == 5
    assert any("left out: evening.mcap: expected an MCAP file" in note for note in done.notes)
    assert any("left out: noon.mcap: expected one topic" in note for note in done.notes)
    files = next(tally for tally in done.counts if tally.unit == "files")
    assert (files.declared, files.used, files.dropped) == (3, 1, {"left out": 2})


def _killed(folder: Path, mode: str) -> Path:
    """A recorder that was killed: part of what it wrote is in the database, the rest beside it."""
    source = bag(folder / "run", drive(3), StoragePlugin.SQLITE3)
    live = folder / "live.db3"
    shutil.copyfile(source / "run.db3", live)
    database = sqlite3.connect(live, isolation_level=None)
    database.execute(f"PRAGMA journal_mode = {mode}")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    if mode == "DELETE":
        database.execute("PRAGMA cache_size = 1")
        database.execute("PRAGMA cache_spill = 1")
        database.execute("BEGIN")
    rows = database.execute("SELECT topic_id, timestamp, data FROM messages WHERE timestamp > ?", (START_NS + 10**8,))
    more = [(topic, time_ns + 2 * 10**8, data) for topic, time_ns, data in rows.fetchall() for _ in range(40)]
    database.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", more)
    for end in ("", "-wal", "-journal"):
        if live.with_name(live.name + end).exists():
            shutil.copyfile(live.with_name(live.name + end), source / f"run.db3{end}")
    database.close()
    return source


def test_what_a_killed_recorder_left_in_the_log_is_taken(tmp_path: Path, out: Path) -> None:
    source = _killed(tmp_path, "WAL")
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    done = import_rosbag2(source / "run.db3", out, robot="r")
    assert done.frames == 3 + 40 * 2
    assert "run.db3 was not closed: what run.db3-wal holds was taken too" in done.notes
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    assert {path.name for path in out.iterdir()} == {path.name for path in done.files}


def test_a_change_that_was_half_written_is_taken_back(tmp_path: Path, out: Path) -> None:
    source = _killed(tmp_path, "DELETE")
    assert (source / "run.db3-journal").stat().st_size > 0
    done = import_rosbag2(source, out, robot="r")
    assert reds(done.files[0]) == [0, 10, 20]
    assert any("run.db3-journal" in note for note in done.notes)


def test_a_database_that_lost_its_end_is_refused_or_read_in_part(tmp_path: Path, out: Path) -> None:
    source = bag(tmp_path / "run", drive(200), StoragePlugin.SQLITE3)
    data = (source / "run.db3").read_bytes()
    (source / "run.db3").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(EpisodeError, match=r"expected a rosbag2 recording, but: .*--allow-partial"):
        import_rosbag2(source, out, robot="r")
    assert list(out.iterdir()) == []
    done = import_rosbag2(source, out, robot="r", options=PARTIAL)
    assert 100 < done.frames < 160
    assert next(tally for tally in done.counts if tally.unit == "messages").unread > 0


def test_a_message_in_a_damaged_part_is_refused_or_left_out(tmp_path: Path, out: Path) -> None:
    source = bag(tmp_path / "run", drive(), StoragePlugin.SQLITE3)
    database = sqlite3.connect(source / "run.db3")
    database.execute("UPDATE messages SET data = 'no bytes' WHERE id = 5")
    database.commit()
    database.close()
    with pytest.raises(EpisodeError, match="expected message 5 as bytes"):
        import_rosbag2(source, out, robot="r")
    done = import_rosbag2(source, out, robot="r", options=PARTIAL)
    assert reds(done.files[0]) == [0, 20, 30, 40]
    assert "1 in a damaged part" in str(done.counts[2])


def _pictures(data: Callable[[int], bytes]) -> list[Topic]:
    messages: list[Topic] = []
    for index in range(4):
        messages += [twist(index / 10, 0.1 * index), compressed(index / 10 + 0.01, data(index))]
    return messages


def imported(tmp_path: Path, out: Path, data: Callable[[int], bytes]) -> Conversion:
    return import_mcap(mcap(tmp_path / "run.mcap", _pictures(data)), out, robot="r")


def test_a_damaged_picture_is_left_out_counted_and_told(tmp_path: Path, out: Path) -> None:
    whole = encoded(textured())
    done = imported(tmp_path, out, lambda index: whole[: len(whole) // 2] + b"\xff\xd9" if index == 2 else whole)
    assert np.allclose(read_episode(done.files[0]).actions[:, 0], [0, 0.1, 0.3])
    assert any(
        "1 images are damaged and were left out; the first: /camera/compressed at" in note for note in done.notes
    )
    assert "1 damaged" in str(next(tally for tally in done.counts if tally.unit == "images"))


def test_a_recording_of_damaged_pictures_alone_is_refused(tmp_path: Path, out: Path) -> None:
    with pytest.raises(EpisodeError, match="expected a whole JPEG or PNG"):
        imported(tmp_path, out, lambda index: b"no picture")


def test_depth_is_refused(tmp_path: Path, out: Path) -> None:
    ramp = encoded(np.linspace(0, 60_000, 64).astype(np.uint16)[None].repeat(48, 0), "PNG")
    with pytest.raises(EpisodeError, match="depth or infra-red"):
        imported(tmp_path, out, lambda index: ramp)
    messages = [twist(0, 0), compressed(0, bytes(12) + ramp, "16UC1; compressedDepth png"), compressed(0.1, ramp)]
    with pytest.raises(EpisodeError, match=r"expected a picture, got depth \(16UC1; compressedDepth png\)"):
        import_mcap(mcap(tmp_path / "depth.mcap", messages), out, robot="r")
