"""Recordings that the real `rosbags` and `mcap` wrote, as episodes."""

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from mcap.writer import CompressionType
from PIL import Image
from rosbags.rosbag2 import StoragePlugin

from components.contracts.errors import ConfigurationError, EpisodeError
from components.episodes import read_episode
from components.episodes.formats import Conversion, RosOptions, export_mcap, import_mcap, import_rosbag2
from tests.episodes.recordings import (
    STORE,
    Topic,
    bag,
    compressed,
    drive,
    header,
    make,
    mcap,
    picture,
    raw,
    reds,
    text,
    twist,
)  # fmt: skip

Recorded = Callable[[list[Topic]], tuple[Path, Callable[..., Conversion]]]


@pytest.fixture(params=["sqlite3", "mcap", "bare-mcap"])
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> Recorded:
    """Writes a recording in each storage, and says what imports it."""

    def write(messages: list[Topic]) -> tuple[Path, Callable[..., Conversion]]:
        if request.param == "bare-mcap":
            return mcap(tmp_path / "run.mcap", messages), import_mcap
        return bag(tmp_path / "run", messages, StoragePlugin[request.param.upper()]), import_rosbag2

    return write


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_recording_becomes_an_episode_of_its_images_and_last_commands(recorded: Recorded, out: Path) -> None:
    source, load = recorded(drive())
    done = load(source, out, robot="jackal-1")
    assert (done.episodes, done.frames, done.lost) == (1, 5, ())
    episode = read_episode(done.files[0])
    assert np.array_equal(episode.images, [picture(10 * index) for index in range(5)])
    assert np.allclose(episode.actions, [[index / 10, -index / 20, index / 40] for index in range(5)])
    assert episode.events == ("episode_start", *["start_action"] * 4)
    attributes = episode.attributes
    assert (attributes.source, attributes.robot, attributes.instruction) == ("ros", "jackal-1", "go left")
    assert attributes.action_units == "si"
    assert attributes.collected_at == datetime.fromtimestamp(1_700_000_000.01, UTC)
    assert attributes.total_duration_s == pytest.approx(0.4)


def test_a_robot_that_is_under_way_gets_a_start_frame(recorded: Recorded, out: Path) -> None:
    source, load = recorded([twist(0, 0.5), *(raw(0.1 * index, index) for index in range(3))])
    episode = read_episode(load(source, out, robot="r").files[0])
    assert episode.images[:, 0, 0, 0].tolist() == [0, 0, 1, 2]
    assert np.allclose(episode.actions[:, 0], [0, 0.5, 0.5, 0.5])
    assert not episode.actions[0].any()


def test_actions_are_not_snapped_to_keys_and_large_ones_are_told(recorded: Recorded, out: Path) -> None:
    source, load = recorded([twist(0, 1.1), raw(0, 1), twist(0.1, 2.5), raw(0.1, 2)])
    done = load(source, out, robot="r")
    assert np.allclose(read_episode(done.files[0]).actions[:, 0], [0, 1.1, 2.5])
    assert "1 frames command more than +-1.15: the checks will quarantine their episodes" in done.notes


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "8UC3"])
@pytest.mark.parametrize("pad", [0, 5])
def test_raw_encodings_give_the_same_rgb(tmp_path: Path, out: Path, encoding: str, pad: int) -> None:
    source = bag(tmp_path / "run", [twist(0, 0), raw(0, 7, encoding, pad=pad), raw(0.1, 8, encoding, pad=pad)])
    episode = read_episode(import_rosbag2(source, out, robot="r").files[0])
    assert np.array_equal(episode.images, [picture(7), picture(8)])


def test_grey_becomes_rgb(tmp_path: Path, out: Path) -> None:
    source = bag(tmp_path / "run", [twist(0, 0), raw(0, 7, "mono8"), raw(0.1, 8, "mono8")])
    episode = read_episode(import_rosbag2(source, out, robot="r").files[0])
    assert (episode.images[1] == 8).all()


def test_jpeg_and_png_and_stamped_commands_are_read(recorded: Recorded, out: Path) -> None:
    messages = [twist(0, 0, stamped=True)]
    for index, kind in enumerate(("png", "jpeg")):
        data = io.BytesIO()
        Image.fromarray(picture(60)).save(data, kind)
        messages += [twist(index, 0, 0, index / 2, stamped=True), compressed(index, data.getvalue(), kind)]
    source, load = recorded(messages)
    episode = read_episode(load(source, out, robot="r").files[0])
    assert np.array_equal(episode.images[0], picture(60))
    assert np.abs(episode.images[1].astype(int) - picture(60)).mean() < 10
    assert np.allclose(episode.actions[:, 2], [0, 0.5])


def test_at_a_rate_each_frame_has_the_nearest_image_and_the_last_command(recorded: Recorded, out: Path) -> None:
    images = [raw(seconds, value) for seconds, value in ((0, 0), (0.09, 9), (0.22, 22), (0.31, 31), (0.4, 40))]
    commands = [twist(seconds, x) for seconds, x in ((0.0, 0), (0.15, 0.15), (0.199, 0.2), (0.35, 0.35))]
    source, load = recorded(sorted([*images, *commands], key=lambda item: item[2]))
    path = load(source, out, robot="r", options=RosOptions(rate_hz=10)).files[0]
    assert reds(path) == [0, 9, 22, 31, 40]
    assert np.allclose(read_episode(path).actions[:, 0], [0, 0, 0.2, 0.2, 0.35])
    assert read_episode(path).attributes.total_duration_s == pytest.approx(0.4)


def test_a_rate_above_the_cameras_repeats_images(recorded: Recorded, out: Path) -> None:
    source, load = recorded([twist(0, 0), raw(0, 0), raw(1, 100)])
    path = load(source, out, robot="r", options=RosOptions(rate_hz=4)).files[0]
    assert reds(path) == [0, 0, 100, 100, 100]


def test_a_gap_parts_two_episodes_and_is_told(recorded: Recorded, out: Path) -> None:
    source, load = recorded([twist(0, 0), raw(0, 1), raw(0.1, 2), raw(5.1, 3), raw(5.2, 4)])
    done = load(source, out, robot="r", options=RosOptions(rate_hz=10))
    assert [reds(path) for path in done.files] == [[1, 2], [3, 4]]
    assert "a gap of 5.0 s between images at 0.1 s: a new episode" in done.notes
    assert len({read_episode(path).attributes.session for path in done.files}) == 1
    one = load(source, out / "one", robot="r", options=RosOptions(gap_s=6))
    assert [reds(path) for path in one.files] == [[1, 2, 3, 4]]


def test_a_jump_of_the_cameras_clock_is_told_and_the_recorders_is_used(recorded: Recorded, out: Path) -> None:
    source, load = recorded([twist(0, 0), raw(0, 1), raw(0.1, 2), raw(0.2, 3, stamp=3600.2), raw(0.3, 4, stamp=3600.3)])
    done = load(source, out, robot="r")
    assert "the camera's clock jumped by +3600.0 s at 0.2 s; the recorder's is used" in done.notes
    assert read_episode(done.files[0]).attributes.total_duration_s == pytest.approx(0.3)


def test_small_disorder_is_told_and_taken(tmp_path: Path, out: Path) -> None:
    messages = [twist(0, 0), raw(0, 1), raw(0.2, 2), twist(0.15, 0.3), raw(0.3, 3)]
    done = import_mcap(mcap(tmp_path / "run.mcap", messages), out, robot="r")
    assert reds(done.files[0]) == [1, 2, 3]
    assert any("1 messages stand later than their time says, by up to 0.050 s" in note for note in done.notes)


def test_commands_that_are_missing_or_old_are_told(recorded: Recorded, out: Path) -> None:
    source, load = recorded([raw(0, 0), raw(0.5, 1), twist(0.6, 0.2), raw(1, 2), raw(2, 3), raw(3, 4), raw(4, 5)])
    done = load(source, out, robot="r")
    assert np.allclose(read_episode(done.files[0]).actions[:, 0], [0, 0, 0.2, 0.2, 0, 0])
    assert "2 frames before the first command: their action is zero" in done.notes
    assert "1 frames hold a command that is older than 1 s" in done.notes
    assert "2 frames more than 2 s after a command: their action is zero" in done.notes
    longer = load(source, out / "longer", robot="r", options=RosOptions(hold_s=3))
    assert np.allclose(read_episode(longer.files[0]).actions[:, 0], [0, 0, 0.2, 0.2, 0.2, 0])


def test_another_instruction_begins_another_episode(recorded: Recorded, out: Path) -> None:
    messages = [
        text(0, "go left"),
        twist(0, 0),
        raw(0, 1),
        raw(0.1, 2),
        text(0.15, "go right"),
        raw(0.2, 3),
        raw(0.3, 4),
    ]
    source, load = recorded(messages)
    done = load(source, out, robot="r")
    assert [read_episode(path).attributes.instruction for path in done.files] == ["go left", "go right"]
    assert any(note.startswith("another instruction at 0.1") for note in done.notes)


def test_what_an_episode_cannot_hold_is_listed(recorded: Recorded, out: Path) -> None:
    source, load = recorded([twist(0, 0, lift=0.3), raw(0, 1), raw(0.1, 2)])
    assert any("linear.z" in line for line in load(source, out, robot="r").lost)


def test_a_long_recording_becomes_several_episodes(recorded: Recorded, out: Path) -> None:
    source, load = recorded(drive(7))
    done = load(source, out, robot="r", options=RosOptions(frames_per_episode=3))
    assert [len(read_episode(path).images) for path in done.files] == [4, 4]  # the second with a start frame
    assert [event for path in done.files for event in read_episode(path).events].count("episode_start") == 2
    assert any("cut into several" in note for note in done.notes)


def test_several_topics_are_named_and_one_can_be_chosen(recorded: Recorded, out: Path) -> None:
    others = [("/other/image", *raw(0.1 * index, 90)[1:]) for index in range(3)]
    source, load = recorded(sorted([*drive(), *others], key=lambda item: item[2]))
    with pytest.raises(EpisodeError, match=r"/camera/image \(sensor_msgs/msg/Image\).*--images") as caught:
        load(source, out, robot="r")
    assert caught.value.rule == "topics"
    path = load(source, out, robot="r", options=RosOptions(image_topic="/other/image")).files[0]
    assert set(reds(path)) == {90}
    with pytest.raises(EpisodeError, match="expected a topic '/cmd_vel' of sensor_msgs"):
        load(source, out, robot="r", options=RosOptions(image_topic="/cmd_vel"))


def test_an_instruction_topic_of_any_name_can_be_chosen(recorded: Recorded, out: Path) -> None:
    source, load = recorded([text(0, "turn", "/what"), twist(0, 0), raw(0, 1), raw(0.1, 2)])
    assert read_episode(load(source, out / "a", robot="r").files[0]).attributes.instruction is None
    chosen = RosOptions(instruction_topic="/what")
    assert read_episode(load(source, out / "b", robot="r", options=chosen).files[0]).attributes.instruction == "turn"
    given = RosOptions(instruction="stay")
    assert read_episode(load(source, out / "c", robot="r", options=given).files[0]).attributes.instruction == "stay"


def test_importing_again_gives_the_same_bytes(recorded: Recorded, out: Path) -> None:
    source, load = recorded(drive())
    before = [path.read_bytes() for path in load(source, out, robot="r").files]
    assert [path.read_bytes() for path in load(source, out, robot="r").files] == before


@pytest.mark.parametrize("compression", list(CompressionType))
@pytest.mark.parametrize("chunks", [True, False])
def test_any_compression_is_read_with_or_without_chunks(
    tmp_path: Path, out: Path, compression: CompressionType, chunks: bool
) -> None:
    path = mcap(tmp_path / "run.mcap", drive(), chunk=300, compression=compression, use_chunking=chunks)
    assert import_mcap(path, out, robot="r").frames == 5


def test_a_file_that_was_cut_off_gives_what_is_whole(tmp_path: Path, out: Path) -> None:
    path = mcap(tmp_path / "run.mcap", drive(20), chunk=2000, compression=CompressionType.NONE)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    done = import_mcap(path, out, robot="r")
    assert 3 <= done.frames < 20
    assert any("was cut off" in note for note in done.notes)


def test_a_flipped_byte_in_a_chunk_is_found(tmp_path: Path, out: Path) -> None:
    path = mcap(tmp_path / "run.mcap", drive(), compression=CompressionType.NONE)
    data = bytearray(path.read_bytes())
    data[data.index(picture(20).tobytes()) + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(EpisodeError, match="damaged"):
        import_mcap(path, out, robot="r")
    assert list(out.iterdir()) == []


def _bombs() -> Iterator[tuple[str, bytes]]:
    import lz4.frame
    import zstandard

    yield "zstd", zstandard.compress(bytes(2**28))
    yield "lz4", lz4.frame.compress(bytes(2**28))


@pytest.mark.parametrize("claimed", [100, 2**28, 2**62])
def test_a_chunk_that_swells_is_refused_in_bounded_memory(tmp_path: Path, out: Path, claimed: int) -> None:
    import resource

    from mcap.records import Chunk, Header
    from mcap.writer import RecordBuilder

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, packed in _bombs():
        builder = RecordBuilder()
        Header(profile="ros2", library="").write(builder)
        Chunk(
            compression=name, data=packed, message_start_time=0, message_end_time=0, uncompressed_crc=0,
            uncompressed_size=claimed,
        ).write(builder)  # fmt: skip
        path = tmp_path / f"{name}.mcap"
        path.write_bytes(bytes((137, 77, 67, 65, 80, 48, 13, 10)) + builder.end())
        with pytest.raises(EpisodeError, match="chunk"):
            import_mcap(path, out, robot="r")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "expected a sensor_msgs/msg/Image in CDR"),
        (b"\x00\x01\x00\x00" + b"\xff" * 40, "expected a sensor_msgs/msg/Image in CDR"),
        (raw(0, 1, "yuv422")[3], "expected an encoding of rgb8"),
        (make("sensor_msgs/msg/Image", header=header(0), height=2**31, width=2**31, encoding="rgb8", is_bigendian=0,
              step=0, data=np.zeros(9, np.uint8)), "pixels a side"),
        (make("sensor_msgs/msg/Image", header=header(0), height=10, width=10, encoding="rgb8", is_bigendian=0,
              step=30, data=np.zeros(299, np.uint8)), "expected 10 rows of 30 bytes, got 299"),
        (make("sensor_msgs/msg/Image", header=header(0), height=10, width=10, encoding="rgb8", is_bigendian=0,
              step=3, data=np.zeros(299, np.uint8)), "in rows of 3"),
    ],
)  # fmt: skip
def test_a_hostile_image_is_one_clear_error(tmp_path: Path, out: Path, message: Any, why: str) -> None:
    topic = ("/camera/image", "sensor_msgs/msg/Image", 0.0, message)
    path = mcap(tmp_path / "run.mcap", [twist(0, 0), topic, raw(0.1, 1)])
    with pytest.raises(EpisodeError, match=why):
        import_mcap(path, out, robot="r")
    assert list(out.iterdir()) == []


def test_other_messages_than_ros_2_are_named(tmp_path: Path, out: Path) -> None:
    path = mcap(tmp_path / "run.mcap", drive(), encoding="json")
    with pytest.raises(EpisodeError, match=r"expected ROS 2 messages \(cdr\), got 'json'"):
        import_mcap(path, out, robot="r")


@pytest.mark.parametrize("data", [b"", b"no mcap", bytes(100), b"\x89MCAP0\r\n", b"\x89MCAP0\r\n" + b"\xff" * 60])
def test_what_is_no_mcap_is_one_clear_error(tmp_path: Path, out: Path, data: bytes) -> None:
    (tmp_path / "x.mcap").write_bytes(data)
    for load in (import_mcap, import_rosbag2):
        with pytest.raises(EpisodeError):
            load(tmp_path / "x.mcap", out, robot="r")
    with pytest.raises(EpisodeError, match="found none"):
        import_mcap(tmp_path / "nowhere", out, robot="r")
    with pytest.raises(ConfigurationError, match="robot id"):
        import_mcap(tmp_path / "x.mcap", out, robot="No Robot")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: "no: [yaml", "expected rosbag2's metadata"),
        (lambda text: "a: &a [b]\nrosbag2_bagfile_information: *a", "expected rosbag2's metadata"),
        (lambda text: text.replace("sqlite3", "floppy"), "expected sqlite3 or mcap storage, got 'floppy'"),
        (lambda text: text.replace("compression_mode: ''", "compression_mode: FILE"), "own compression"),
        (lambda text: text.replace("run.db3", "../../secret.db3"), "expected the file secret.db3"),
        (lambda text: text + "#" * 5 * 2**20, "expected at most"),
    ],
)  # fmt: skip
def test_hostile_metadata_is_one_clear_error(tmp_path: Path, out: Path, change: Callable[[str], str], why: str) -> None:
    source = bag(tmp_path / "run", drive())
    metadata = source / "metadata.yaml"
    before = metadata.read_text()
    metadata.write_text(change(before))
    assert metadata.read_text() != before
    with pytest.raises(EpisodeError, match=why):
        import_rosbag2(source, out, robot="r")


def test_a_broken_database_is_one_clear_error(tmp_path: Path, out: Path) -> None:
    source = bag(tmp_path / "run", drive())
    (source / "run.db3").write_bytes(b"no database" * 100)
    with pytest.raises(EpisodeError, match="expected a rosbag2 recording"):
        import_rosbag2(source, out, robot="r")
    with pytest.raises(EpisodeError, match=r"metadata\.yaml"):
        import_rosbag2(tmp_path / "nowhere", out, robot="r")


def test_an_exported_mcap_is_read_by_mcap_and_by_rosbags(tmp_path: Path, out: Path) -> None:
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory
    from rosbags.rosbag2 import Reader

    path = import_rosbag2(bag(tmp_path / "run", drive()), out, robot="r").files[0]
    exported = export_mcap([path], tmp_path / "mcap").files[0]
    with exported.open("rb") as file:
        found: dict[str, list[Any]] = {}
        for schema, channel, message, decoded in make_reader(
            file, decoder_factories=[DecoderFactory()]
        ).iter_decoded_messages():
            assert schema is not None
            assert schema.encoding == "ros2msg"
            assert schema.data
            found.setdefault(f"{channel.topic} {schema.name}", []).append((message.log_time, decoded))
    assert {name: len(messages) for name, messages in found.items()} == {
        "/camera/image/compressed sensor_msgs/msg/CompressedImage": 5,
        "/cmd_vel geometry_msgs/msg/TwistStamped": 5,
        "/instruction std_msgs/msg/String": 1,
        "/drover/event std_msgs/msg/String": 5,
    }
    commands = [message.twist.linear.x for _, message in found["/cmd_vel geometry_msgs/msg/TwistStamped"]]
    assert np.allclose(commands, [0, 0.1, 0.2, 0.3, 0.4])
    with Reader(exported) as opened:
        images = [connection for connection in opened.connections if "image" in connection.topic]
        shown = [STORE.deserialize_cdr(data, images[0].msgtype) for _, _, data in opened.messages(images)]
    assert [message.format for message in shown] == ["png"] * 5
    pixels = np.asarray(Image.open(io.BytesIO(shown[3].data.tobytes())))
    assert np.array_equal(pixels, picture(30))


@pytest.mark.parametrize(("storage", "name"), [("MCAP", "run.mcap"), ("SQLITE3", "run.db3"), ("MCAP", "metadata.yaml")])
def test_a_mutated_recording_is_read_or_refused(
    tmp_path: Path, survives_mutation: Callable[..., None], storage: str, name: str
) -> None:
    source = bag(tmp_path / "run", drive(), StoragePlugin[storage])

    def load() -> None:
        with TemporaryDirectory(dir=tmp_path) as folder:
            import_rosbag2(source, Path(folder), robot="r")

    survives_mutation(source / name, load, 100)
