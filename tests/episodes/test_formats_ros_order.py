"""Recordings whose files are not in the order of time, of one type a topic, or of one file."""

from array import array
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin

from components.contracts.errors import EpisodeError
from components.episodes import read_episode
from components.episodes.formats import RosOptions, import_mcap, import_rosbag2
from components.episodes.formats._references import LastUsed, References
from tests.episodes.recordings import Topic, bag, drive, mcap, raw, reds, text, twist


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def shuffled(messages: list[Topic]) -> list[Topic]:
    return Random(0).sample(messages, len(messages))


ORDERS: dict[str, Callable[[list[Topic]], list[Topic]]] = {
    "topic-by-topic": lambda messages: sorted(messages, key=lambda message: message[0]),
    "images-came-late": lambda messages: sorted(messages, key=lambda item: item[2] + 0.8 * ("image" in item[0])),
    "backwards": lambda messages: messages[::-1],
    "shuffled": shuffled,
}


@pytest.mark.parametrize("chunks", [True, False], ids=["chunks", "loose"])
@pytest.mark.parametrize("order", list(ORDERS))
def test_messages_in_any_order_of_the_file_give_the_same_episode(
    tmp_path: Path, out: Path, order: str, chunks: bool
) -> None:
    messages = drive(12, period=0.25)
    wanted = import_mcap(mcap(tmp_path / "run.mcap", messages), out / "sorted", robot="r")
    source = mcap(tmp_path / "run.mcap", ORDERS[order](messages), chunk=700, use_chunking=chunks)
    done = import_mcap(source, out / "other", robot="r")
    assert done.files[0].read_bytes() == wanted.files[0].read_bytes()
    assert any("stand later than their time says" in note for note in done.notes)
    assert not any("stand later" in note for note in wanted.notes)


def test_reading_that_would_unpack_the_same_chunks_over_and_over_is_refused() -> None:
    references, sizes = References(), array("Q", [120 * 2**20] * 3)
    for index in range(1000):
        references.add(index, index % 2, 9, 0)
    references.ordered([0]).check_loads("run", sizes)  # two chunks are kept
    for index in range(1000):
        references.add(index, 2, 9, 0)
    with pytest.raises(EpisodeError, match=r"run: its messages are scattered over its chunks.*mcap sort"):
        references.ordered([0]).check_loads("run", sizes)


def test_what_was_used_last_is_kept_up_to_a_number_of_bytes() -> None:
    kept = LastUsed[str](10)
    assert kept.put(1, "one", 4) == kept.put(2, "two", 4) == []
    assert kept.get(1) == "one"
    assert kept.put(3, "three", 4) == ["two"]
    assert kept.put(4, "four", 99) == ["one", "three"]
    assert kept.get(2) is None
    assert kept.clear() == ["four"]


@pytest.mark.parametrize("stamped_first", [True, False], ids=["stamped-first", "plain-first"])
def test_each_message_is_read_as_the_type_of_its_own_channel(tmp_path: Path, out: Path, stamped_first: bool) -> None:
    messages: list[Topic] = []
    for index in range(10):
        messages += [twist(index / 10, index / 10, stamped=(index < 5) == stamped_first), raw(index / 10 + 0.01, index)]
    done = import_mcap(mcap(tmp_path / "run.mcap", messages), out, robot="r")
    assert np.allclose(read_episode(done.files[0]).actions[:, 0], [index / 10 for index in range(10)])


def test_messages_of_a_type_that_does_not_fit_their_topic_are_dropped_and_told(tmp_path: Path, out: Path) -> None:
    odd = [text(0.02, "not a command", "/cmd_vel"), text(0.03, "not a picture", "/camera/image")]
    done = import_mcap(mcap(tmp_path / "run.mcap", [*drive(3), *odd]), out, robot="r")
    assert reds(done.files[0]) == [0, 10, 20]
    assert "/cmd_vel: 1 messages of std_msgs/msg/String were left out" in done.notes
    counts = {tally.unit: tally for tally in done.counts}
    assert counts["messages"].dropped == {"of a type that does not fit its topic": 2}
    assert (counts["images"].declared, counts["images"].used, counts["images"].dropped.total()) == (4, 3, 1)


def held() -> list[Topic]:
    """Commands and an instruction in the first part; in the second a command after its last image."""
    commands = [*(twist(0.1 * index, 0.3) for index in range(6)), twist(1.15, 0.9)]
    return [text(0, "go on"), *commands, *(raw(0.1 * index, index) for index in range(12))]


def _parts(folder: Path, seam_s: float = 0.0) -> Path:
    folder.mkdir()
    messages = sorted(held(), key=lambda item: item[2])
    later = [(topic, kind, seconds + seam_s, message) for topic, kind, seconds, message in messages if seconds >= 0.6]
    mcap(folder / "run_9.mcap", [item for item in messages if item[2] < 0.6])
    mcap(folder / "run_10.mcap", later)
    return folder


@pytest.mark.parametrize("load", [import_mcap, import_rosbag2])
def test_state_crosses_the_seam_between_parts_of_one_recording(
    tmp_path: Path, out: Path, load: Callable[..., object]
) -> None:
    done = load(_parts(tmp_path / "run"), out, robot="r")
    assert [read_episode(path).attributes.instruction for path in done.files] == ["go on"]  # type: ignore[attr-defined]
    episode = read_episode(done.files[0])  # type: ignore[attr-defined]
    assert episode.images[1:, 0, 0, 0].tolist() == list(range(12))
    assert np.allclose(episode.actions[1:, 0], 0.3)


def test_no_state_crosses_between_recordings(tmp_path: Path, out: Path) -> None:
    done = import_mcap(_parts(tmp_path / "run", seam_s=60), out, robot="r", options=RosOptions(hold_s=1e6))
    first, second = (read_episode(path) for path in sorted(done.files))
    assert (first.attributes.instruction, second.attributes.instruction) == ("go on", None)
    assert not second.actions.any()


def test_recordings_with_names_of_their_own_are_not_joined(tmp_path: Path, out: Path) -> None:
    folder = _parts(tmp_path / "run")
    (folder / "run_10.mcap").rename(folder / "walk.mcap")
    assert import_mcap(folder, out, robot="r").episodes == 2


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_parts_named_in_any_order_are_read_by_time(tmp_path: Path, out: Path, storage: str) -> None:
    messages = drive(8)
    end = ".mcap" if storage == "MCAP" else ".db3"
    whole = import_rosbag2(bag(tmp_path / "run", messages, StoragePlugin[storage]), out / "whole", robot="r")
    first = bag(tmp_path / "first", messages[:9], StoragePlugin[storage])
    second = bag(tmp_path / "second", messages[9:], StoragePlugin[storage])
    (first / f"first{end}").rename(tmp_path / "run" / f"a{end}")
    (second / f"second{end}").rename(tmp_path / "run" / f"b{end}")
    (tmp_path / "run" / f"run{end}").unlink()
    metadata = tmp_path / "run" / "metadata.yaml"
    before = metadata.read_text()
    metadata.write_text(before.replace(f"- run{end}", f"- b{end}\n  - a{end}"))
    assert metadata.read_text() != before
    parted = import_rosbag2(tmp_path / "run", out / "parted", robot="r")
    assert parted.files[0].read_bytes() == whole.files[0].read_bytes()


def test_a_clock_that_is_set_forward_ends_a_command(tmp_path: Path, out: Path) -> None:
    year = 365 * 86400.0
    messages = [twist(0, 0.5), raw(0, 1), raw(0.1, 2), raw(year, 3), raw(year + 0.1, 4), twist(year + 0.15, 0.2)]
    done = import_mcap(mcap(tmp_path / "run.mcap", [*messages, raw(year + 0.2, 5)]), out, robot="r")
    assert [reds(path) for path in sorted(done.files)] == [[1, 1, 2], [3, 4, 5]]
    second = read_episode(sorted(done.files)[1])
    assert np.allclose(second.actions[:, 0], [0, 0, 0.2])
    assert "2 frames more than 2 s after a command: their action is zero" in done.notes


def test_a_latched_instruction_that_comes_late_counts_from_the_first_image(tmp_path: Path, out: Path) -> None:
    messages = [message for message in drive(6) if message[0] != "/instruction"]
    done = import_mcap(mcap(tmp_path / "run.mcap", [*messages, text(0.25, "go left")]), out, robot="r")
    assert [read_episode(path).attributes.instruction for path in done.files] == ["go left"]
    assert reds(done.files[0]) == [0, 10, 20, 30, 40, 50]
    assert "the first instruction came 0.2 s after the first image: it counts from there" in done.notes


def test_an_instruction_that_comes_much_later_begins_an_episode(tmp_path: Path, out: Path) -> None:
    messages = [twist(0, 0), *(raw(float(second), second) for second in range(9)), text(6.5, "go left")]
    done = import_mcap(mcap(tmp_path / "run.mcap", messages), out, robot="r")
    told = [read_episode(path).attributes.instruction for path in sorted(done.files)]
    assert told == [None, "go left"]


@pytest.mark.parametrize("name", ["run #3", "was it?", "50%20 done", "r\u00e4um [lich]"])
@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_any_path_works(tmp_path: Path, out: Path, storage: str, name: str) -> None:
    source = bag(tmp_path / "run", drive(), StoragePlugin[storage]).rename(tmp_path / name)
    assert import_rosbag2(source, out, robot="r").frames == 5
