import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.contracts.errors import EpisodeError
from components.episodes import JOURNAL_SUFFIX, KEYS, EpisodeAttributes, EpisodeWriter, read_episode, recover

NAME = "episode_20250815_103000_1box_vert_left_core_medium"
Record = Callable[..., Path]


def _images(count: int = 4) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (count, 54, 96, 3), dtype=np.uint8)


def test_an_episode_is_read_back_as_it_was_recorded(record: Record) -> None:
    moment = datetime(2025, 8, 15, 10, 30, tzinfo=UTC)
    path = record(_images(), robot="robot-1", session="morning", collected_at=moment, source="simulated", renderer="x")
    episode = read_episode(path)
    assert np.array_equal(episode.images, _images())
    assert episode.actions.dtype == np.float32
    assert np.array_equal(episode.actions, [KEYS["space"], *[KEYS["W"]] * 3])
    assert episode.events == ("episode_start", *["start_action"] * 3)
    attributes = episode.attributes
    assert (attributes.robot, attributes.session, attributes.collected_at) == ("robot-1", "morning", moment)
    assert (attributes.source, attributes.renderer, attributes.num_frames) == ("simulated", "x", 4)
    assert attributes.total_duration_s == 7.5


def test_the_file_is_the_one_that_robots_write_today(record: Record) -> None:
    with h5py.File(record(_images())) as file:
        assert sorted(file) == ["action_event_types", "actions", "images"]
        assert np.array_equal(file["images"][...], _images()[..., ::-1])  # BGR
        assert (file["images"].dtype, file["actions"].dtype) == (np.uint8, np.float32)
        assert h5py.check_string_dtype(file["action_event_types"].dtype) == ("utf-8", None)
        assert {dataset.compression for dataset in file.values()} == {"gzip"}
        assert file["action_event_types"].asstr()[0] == "episode_start"
        assert file.attrs["episode_name"] == NAME
        assert (file.attrs["num_frames"], file.attrs["action_chunk_size"]) == (4, 8)
        assert file.attrs["total_duration"] == 7.5


def test_a_file_of_an_old_recorder_is_read_as_bgr_with_its_name_from_the_path(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.h5"
    with h5py.File(path, "w") as file:
        file["images"], file["actions"] = _images()[..., ::-1], np.zeros((4, 3), np.float32)
        file["action_event_types"] = ["episode_start"] * 4
    episode = read_episode(path)
    assert np.array_equal(episode.images, _images())
    assert episode.attributes == EpisodeAttributes(name=NAME)


def test_frames_stated_as_rgb_are_not_swapped(record: Record) -> None:
    path = record(_images())
    with h5py.File(path, "r+") as file:
        file.attrs["colour_order"] = "rgb"
    assert np.array_equal(read_episode(path).images, _images()[..., ::-1])


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("robot", "../../etc"),
        ("collection_datetime", "yesterday"),
        ("total_duration", float("nan")),
        ("total_duration", "long"),
        ("num_frames", [1, 2]),
        ("source", "moon"),
        ("colour_order", "cmyk"),
        ("instruction", "x" * 10_000),
        ("instruction", b"\xff\xfe"),
        ("episode_name", "../up"),
        ("action_chunk_size", -3),
    ],
)
def test_a_senseless_attribute_is_taken_as_absent(record: Record, attribute: str, value: object) -> None:
    path = record()
    with h5py.File(path, "r+") as file:
        file.attrs[attribute] = value
    episode = read_episode(path)
    assert episode.attributes.name == NAME
    assert np.isfinite(episode.attributes.total_duration_s or 0)


def test_a_file_that_is_no_hdf5_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(b"not an episode")
    with pytest.raises(EpisodeError) as caught:
        read_episode(path)
    assert caught.value.rule == "unreadable"


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(record: Record, keep: float) -> None:
    path = record()
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(EpisodeError) as caught:
        read_episode(path)
    assert caught.value.rule == "unreadable"


def test_a_flipped_bit_in_a_frame_is_noticed(record: Record) -> None:
    path = record()
    data = bytearray(path.read_bytes())
    compressed = zlib.compress(np.random.default_rng(0).bytes(1), 4)  # frames' streams begin alike
    start = data.index(compressed[:2], 2048)
    data[start + 5000] ^= 1
    path.write_bytes(data)
    with pytest.raises(EpisodeError):
        read_episode(path)


@pytest.mark.parametrize(
    ("dataset", "value", "rule"),
    [
        ("images", None, "missing-dataset"),
        ("actions", None, "missing-dataset"),
        ("action_event_types", None, "missing-dataset"),
        ("images", np.zeros((4, 54, 96), np.uint8), "shape"),
        ("images", np.zeros((4, 54, 96, 4), np.uint8), "shape"),
        ("images", np.zeros((0, 54, 96, 3), np.uint8), "shape"),
        ("images", np.zeros((4, 54, 96, 3), np.float32), "type"),
        ("actions", np.zeros((4, 2), np.float32), "shape"),
        ("actions", np.zeros((4, 3), np.int32), "type"),
        ("actions", np.zeros((5, 3), np.float32), "length"),
        ("action_event_types", np.zeros(4), "shape"),
    ],
)
def test_a_dataset_of_another_kind_is_refused_by_rule(record: Record, dataset: str, value: object, rule: str) -> None:
    path = record()
    with h5py.File(path, "r+") as file:
        del file[dataset]
        if value is not None:
            file[dataset] = value
    with pytest.raises(EpisodeError, match="expected") as caught:
        read_episode(path)
    assert caught.value.rule == rule


def test_more_frames_than_the_limit_are_refused_unread(record: Record) -> None:
    with pytest.raises(EpisodeError) as caught:
        read_episode(record(), max_bytes=1000)
    assert caught.value.rule == "too-large"


def test_wrong_frames_actions_and_events_are_refused_by_the_writer(tmp_path: Path) -> None:
    writer = EpisodeWriter(tmp_path / "e.h5", EpisodeAttributes(name="e"), 54, 96)
    frame = _images(1)[0]
    for image, action, event, rule in [
        (frame[:50], (0, 0, 0), "episode_start", "shape"),
        (frame.astype(float), (0, 0, 0), "episode_start", "shape"),
        (frame, (0, 0), "episode_start", "shape"),
        (frame, (0, 0, 0), "jump", "event"),
    ]:
        with pytest.raises(EpisodeError) as caught:
            writer.append(image, action, event)
        assert caught.value.rule == rule
    with pytest.raises(EpisodeError, match="at least one frame"):
        writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_taken_name_is_refused(record: Record, tmp_path: Path) -> None:
    path = record()
    before = path.read_bytes()
    with pytest.raises(EpisodeError) as caught:
        record()
    assert caught.value.rule == "exists"
    assert path.read_bytes() == before
    EpisodeWriter(tmp_path / "other.h5", EpisodeAttributes(name="other"), 54, 96)
    with pytest.raises(EpisodeError, match="being recorded"):
        EpisodeWriter(tmp_path / "other.h5", EpisodeAttributes(name="other"), 54, 96)


def test_the_same_recording_gives_the_same_bytes(record: Record, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    assert record().read_bytes() == record(folder=tmp_path / "again").read_bytes()


def _journal(folder: Path, count: int) -> tuple[Path, list[int]]:
    """A journal of so many frames, left as by a kill, and its size after each."""
    writer = EpisodeWriter(folder / "torn.h5", EpisodeAttributes(name="torn"), 54, 96)
    sizes = [writer.size]
    for image in _images(count):
        writer.append(image, KEYS["W"], "start_action", elapsed_s=len(sizes))
        sizes.append(writer.size)
    writer._journal.close()
    return folder / f"torn.h5{JOURNAL_SUFFIX}", sizes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_journal_torn_at_any_byte_keeps_its_whole_frames(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    journal, sizes = _journal(tmp_path_factory.mktemp("torn"), 3)
    cut = data.draw(st.integers(0, sizes[-1]))
    noise = data.draw(st.binary(max_size=200))
    journal.write_bytes(journal.read_bytes()[:cut] + noise)  # a power cut may leave rubbish behind the last whole block
    whole = sum(size <= cut for size in sizes[1:])
    if whole == 0:
        before = journal.read_bytes()
        with pytest.raises(EpisodeError, match="whole"):
            recover(journal)
        assert journal.read_bytes() == before
        return
    episode = read_episode(recover(journal))
    assert np.array_equal(episode.images, _images(3)[:whole])
    assert (episode.attributes.num_frames, episode.attributes.total_duration_s) == (whole, float(whole))
    assert not journal.exists()


def test_a_live_writers_journal_is_not_recovered(tmp_path: Path) -> None:
    writer = EpisodeWriter(tmp_path / "e.h5", EpisodeAttributes(name="e"), 54, 96)
    writer.append(_images(1)[0], (0, 0, 0), "episode_start")
    with pytest.raises(EpisodeError) as caught:
        recover(tmp_path / f"e.h5{JOURNAL_SUFFIX}")
    assert caught.value.rule == "recording"
    writer.close()
    assert len(read_episode(tmp_path / "e.h5").images) == 1


def test_an_error_while_recording_leaves_a_journal_to_recover(tmp_path: Path) -> None:
    def drive() -> None:
        with EpisodeWriter(tmp_path / "e.h5", EpisodeAttributes(name="e"), 54, 96) as writer:
            writer.append(_images(1)[0], (0, 0, 0), "episode_start")
            raise RuntimeError("camera lost")

    with pytest.raises(RuntimeError, match="camera lost"):
        drive()
    assert len(read_episode(recover(tmp_path / f"e.h5{JOURNAL_SUFFIX}")).images) == 1
