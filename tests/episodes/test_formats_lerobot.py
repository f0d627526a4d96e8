"""LeRobotDatasets as episodes: lerobot 0.4.4 itself wrote lekiwi-v3/, a small writer here (not Drover's) the others."""

import io
import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.contracts.errors import ConfigurationError, EpisodeError
from components.episodes import EpisodeAttributes, EpisodeWriter, read_episode
from components.episodes.formats import export_lerobot, import_lerobot

REAL = Path(__file__).parent / "lekiwi-v3"
"""Three episodes of 5, 6 and 7 frames at 10 Hz, AV1. Frame i of episode e is (20 + 40 e, 10 + 30 i, 200 - 20 i); its
action is a joint at 9, x.vel 0.1 i, y.vel -0.1 e, theta.vel 90 i (degrees a second)."""
CAMERA = "observation.images.front"
FPS = 5


def colour(episode: int, frame: int) -> np.ndarray:
    image = np.zeros((32, 48, 3), np.uint8)
    image[:] = (30 + 60 * episode, 20 + 25 * frame, 220 - 20 * frame)
    return image


def _video(path: Path, images: list[np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _png(image: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG")
    return data.getvalue()


def _rows(episode: int, count: int, begin: int, *, images: bool) -> dict[str, list[Any]]:
    frames = range(count)
    rows: dict[str, list[Any]] = {
        "action": [[0.1 * frame, -0.1 * episode, 45.0] for frame in frames],
        "timestamp": [frame / FPS for frame in frames],
        "frame_index": list(frames), "episode_index": [episode] * count,
        "index": [begin + frame for frame in frames], "task_index": [episode % 2] * count,
    }  # fmt: skip
    if images:
        rows[CAMERA] = [{"bytes": _png(colour(episode, frame)), "path": f"{frame}.png"} for frame in frames]
    return rows


def _info(version: str, dtype: str, data: str, video: str) -> dict[str, Any]:
    return {
        "codebase_version": version, "robot_type": "lekiwi", "fps": FPS, "chunks_size": 1000, "total_episodes": 3,
        "splits": {"train": "0:3"}, "data_path": data, "video_path": video,
        "features": {
            CAMERA: {"dtype": dtype, "shape": [32, 48, 3], "names": ["height", "width", "channel"]},
            "action": {"dtype": "float32", "shape": [3], "names": {"motors": ["x.vel", "y.vel", "theta.vel"]}},
            **{name: {"dtype": "float32", "shape": [1], "names": None} for name in ("timestamp", "episode_index")},
        },
    }  # fmt: skip


LENGTHS = (3, 4, 2)
TASKS = ("go left", "go right")


def make_v3(root: Path, dtype: str = "video") -> Path:
    """All episodes in one data file and one video, as v3 packs them."""
    every: dict[str, list[Any]] = {}
    index, begin = [], 0
    for episode, count in enumerate(LENGTHS):
        for name, values in _rows(episode, count, begin, images=dtype == "image").items():
            every.setdefault(name, []).extend(values)
        index.append({
            "episode_index": episode, "tasks": [TASKS[episode % 2]], "length": count, "data/chunk_index": 0,
            "data/file_index": 0, f"videos/{CAMERA}/chunk_index": 0, f"videos/{CAMERA}/file_index": 0,
            f"videos/{CAMERA}/from_timestamp": begin / FPS, f"videos/{CAMERA}/to_timestamp": (begin + count) / FPS,
        })  # fmt: skip
        begin += count
    for folder in ("data/chunk-000", "meta/episodes/chunk-000"):
        (root / folder).mkdir(parents=True)
    pq.write_table(pa.table(every), root / "data/chunk-000/file-000.parquet", row_group_size=2)
    pq.write_table(pa.Table.from_pylist(index), root / "meta/episodes/chunk-000/file-000.parquet")
    if dtype == "video":
        images = [colour(episode, frame) for episode, count in enumerate(LENGTHS) for frame in range(count)]
        _video(root / "videos" / CAMERA / "chunk-000/file-000.mp4", images)
    file = "chunk-{chunk_index:03d}/file-{file_index:03d}"
    info = _info("v3.0", dtype, f"data/{file}.parquet", f"videos/{{video_key}}/{file}.mp4")
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


def make_v21(root: Path, dtype: str = "video") -> Path:
    """A file an episode, and JSON lines."""
    (root / "meta").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    begin, lines = 0, []
    for episode, count in enumerate(LENGTHS):
        table = pa.table(_rows(episode, count, begin, images=dtype == "image"))
        pq.write_table(table, root / f"data/chunk-000/episode_{episode:06d}.parquet")
        if dtype == "video":
            images = [colour(episode, frame) for frame in range(count)]
            _video(root / f"videos/chunk-000/{CAMERA}/episode_{episode:06d}.mp4", images)
        lines.append(json.dumps({"episode_index": episode, "tasks": [TASKS[episode % 2]], "length": count}))
        begin += count
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    tasks = [json.dumps({"task_index": number, "task": task}) for number, task in enumerate(TASKS)]
    (root / "meta/tasks.jsonl").write_text("\n".join(tasks))
    name = "chunk-{episode_chunk:03d}"
    episode_name = "episode_{episode_index:06d}"
    info = _info(
        "v2.1", dtype, f"data/{name}/{episode_name}.parquet", f"videos/{name}/{{video_key}}/{episode_name}.mp4"
    )
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_dataset_that_lerobot_wrote_becomes_episodes_in_si_units(out: Path) -> None:
    done = import_lerobot(REAL, out, robot="lekiwi-1")
    assert (done.episodes, done.frames) == (3, 20)  # two begin under way and get a start frame
    assert "angular_z is action's theta.vel in deg/s, converted to rad/s" in done.notes
    assert set(done.lost) == {"action: arm_shoulder_pan.pos", "feature observation.state (float32)"}
    for number, path in enumerate(done.files):
        episode = read_episode(path)
        added = len(episode.images) - (5 + number)
        assert added == (number > 0)
        for frame in range(5 + number):
            wanted = (40 * number + 20, 10 + 30 * frame, 200 - 20 * frame)
            assert np.abs(episode.images[frame + added].astype(int) - wanted).max() <= 6
        moving = [[0.1 * frame, -0.1 * number, math.pi / 2 * frame] for frame in range(5 + number)]
        assert np.allclose(episode.actions[added:], moving, atol=1e-5)
        assert not episode.actions[0].any()
        assert episode.attributes.total_duration_s == pytest.approx(0.1 * (4 + number))
        assert episode.attributes.instruction == ("Go left" if number % 2 else "Go right")
        assert (episode.attributes.source, episode.attributes.robot) == ("lerobot", "lekiwi-1")
        assert episode.attributes.session == "lekiwi-1-lekiwi-v3"


@pytest.mark.parametrize("make", [make_v3, make_v21])
@pytest.mark.parametrize("dtype", ["video", "image"])
def test_both_versions_and_both_kinds_of_frames_are_read(
    tmp_path: Path, out: Path, make: Callable[[Path, str], Path], dtype: str
) -> None:
    done = import_lerobot(make(tmp_path / "set", dtype), out, robot="r")
    assert done.episodes == 3
    for number, path in enumerate(done.files):
        episode, count = read_episode(path), LENGTHS[number]
        images = episode.images[-count:].astype(int)
        wanted = np.stack([colour(number, frame) for frame in range(count)])
        assert np.abs(images - wanted).max() <= (8 if dtype == "video" else 0)
        assert np.allclose(episode.actions[-count:, 2], [math.pi / 4] * count)
        assert np.allclose(episode.actions[-count:, 0], np.arange(count) * 0.1)
        assert episode.attributes.instruction == TASKS[number % 2]
        assert episode.attributes.total_duration_s == pytest.approx((count - 1) / FPS)


def test_importing_again_gives_the_same_bytes(tmp_path: Path, out: Path) -> None:
    source = make_v3(tmp_path / "set")
    before = [path.read_bytes() for path in import_lerobot(source, out, robot="r").files]
    assert [path.read_bytes() for path in import_lerobot(source, out, robot="r").files] == before


def _change(root: Path, **fields: Any) -> Path:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return root


def _feature(root: Path, name: str, **fields: Any) -> Path:
    features = json.loads((root / "meta/info.json").read_text())["features"]
    return _change(root, features=features | {name: features.get(name, {}) | fields})


def test_unknown_action_names_are_mapped_by_hand(tmp_path: Path, out: Path) -> None:
    root = _feature(make_v3(tmp_path / "set"), "action", names=["drive", "strafe", "yaw"])
    with pytest.raises(EpisodeError, match="got drive, strafe, yaw; say which is which"):
        import_lerobot(root, out, robot="r")
    done = import_lerobot(root, out, robot="r", axes={"linear_x": "drive", "angular_z": "yaw:deg/s"})
    episode = read_episode(done.files[1])
    assert np.allclose(episode.actions[-1], [0.3, 0, math.pi / 4])
    assert "linear_y is zero: action has no element for it" in done.notes
    assert "action: strafe" in done.lost
    for axis, text, why in [
        ("linear_x", "nope", "its index from 0 to 2, got 'nope'; there are drive, strafe, yaw"),
        ("linear_x", "drive:rad/s", "linear_x: expected m/s"),
        ("angular_z", "yaw:m/s", "expected rad/s or deg/s"),
    ]:
        with pytest.raises(ConfigurationError, match=why):
            import_lerobot(root, out, robot="r", axes={axis: text})  # type: ignore[dict-item]


def test_one_of_several_cameras_must_be_chosen(tmp_path: Path, out: Path) -> None:
    wrist = {"dtype": "video", "shape": [32, 48, 3], "names": None}
    root = _feature(make_v3(tmp_path / "set"), "observation.images.wrist", **wrist)
    with pytest.raises(EpisodeError, match=r"found observation\.images\.front, observation\.images\.wrist; choose"):
        import_lerobot(root, out, robot="r")
    done = import_lerobot(root, out, robot="r", camera=CAMERA)
    assert "feature observation.images.wrist (video)" in done.lost


@pytest.mark.parametrize(
    "template",
    [
        "../../../etc/{chunk_index:03d}",
        "/etc/passwd",
        "data/../../secret",
        "data/{chunk_index.__class__}",
        "data/{file_index:0999999999d}",
        "data/{file_index!r}",
        "data/{episode_index}",
        "{chunk_index}\0",
        "",
    ],
)
@pytest.mark.parametrize("field", ["data_path", "video_path"])
def test_a_path_template_never_leads_out_or_is_obeyed(tmp_path: Path, out: Path, template: str, field: str) -> None:
    (tmp_path / "secret").write_text("x")
    root = _change(make_v3(tmp_path / "set"), **{field: template})
    with pytest.raises(EpisodeError, match="expected a path") as caught:
        import_lerobot(root, out, robot="r")
    assert caught.value.rule == "lerobot"
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize("name", ["data/chunk-000/file-000.parquet", "meta/info.json"])
def test_a_link_out_of_the_dataset_is_refused(tmp_path: Path, out: Path, name: str) -> None:
    root = make_v3(tmp_path / "set")
    (root / name).rename(tmp_path / "elsewhere")
    (root / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EpisodeError, match="link to somewhere else"):
        import_lerobot(root, out, robot="r")


def test_a_playlist_in_place_of_a_video_opens_nothing(tmp_path: Path, out: Path) -> None:
    """FFmpeg would follow it to any file of this machine."""
    root = make_v3(tmp_path / "set")
    video = root / "videos" / CAMERA / "chunk-000/file-000.mp4"
    video.rename(tmp_path / "elsewhere.mp4")
    for text in (
        f"ffconcat version 1.0\nfile {tmp_path}/elsewhere.mp4\n",
        f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/elsewhere.mp4\n",
    ):
        video.write_text(text)
        with pytest.raises(EpisodeError, match="expected an MP4 video") as caught:
            import_lerobot(root, out, robot="r")
        assert caught.value.rule == "video"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"codebase_version": "v2.0"}, "expected codebase_version v2.1 or v3.x, got 'v2.0'"),
        ({"codebase_version": "v4.0"}, "expected codebase_version"),
        ({"fps": 0}, "fps"),
        ({"fps": "fast"}, "fps"),
        ({"features": []}, "features"),
        ({"features": {}}, "expected one camera, found none"),
        ({"data_path": 3}, "data_path"),
        ({"data_path": "x" * 10_000}, "data_path"),
    ],
)
def test_senseless_info_is_one_clear_error(tmp_path: Path, out: Path, change: dict[str, Any], why: str) -> None:
    with pytest.raises(EpisodeError, match=why):
        import_lerobot(_change(make_v3(tmp_path / "set"), **change), out, robot="r")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" + bytes(100) + b"PAR1"])
@pytest.mark.parametrize("name", ["data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"])
def test_a_broken_table_is_one_clear_error(tmp_path: Path, out: Path, name: str, content: bytes) -> None:
    root = make_v3(tmp_path / "set")
    (root / name).write_bytes(content)
    with pytest.raises(EpisodeError, match="expected a parquet file"):
        import_lerobot(root, out, robot="r")


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("length", 10**6, "episode 0: expected 1000000 rows of it, found 3"),
        ("length", -1, "whole number"),
        ("data/file_index", 10**12, "whole number"),
        (f"videos/{CAMERA}/from_timestamp", 1e6, "expected a frame at 1000000"),
        (f"videos/{CAMERA}/from_timestamp", float("nan"), "finite number"),
    ],
)
def test_a_lying_index_is_one_clear_error(tmp_path: Path, out: Path, column: str, value: Any, why: str) -> None:
    root = make_v3(tmp_path / "set")
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0][column] = value
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(EpisodeError, match=why):
        import_lerobot(root, out, robot="r", strict=True)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "values", "why"),
    [
        ("action", [["a"]] * 9, "expected action to be a list with y.vel|expected x.vel a number"),
        ("action", [[1.0]] * 9, "expected action to be a list"),
        ("action", [None] * 9, "expected action to be a list"),
        ("timestamp", [None] * 9, "finite number"),
        ("timestamp", [float("inf")] * 9, "finite number"),
        (CAMERA, [{"bytes": None, "path": "../../secret.png"}] * 9, "inside the parquet file"),
        (CAMERA, [{"bytes": b"no image", "path": None}] * 9, "expected a whole JPEG or PNG"),
        (CAMERA, ["../../secret.png"] * 9, "inside the parquet file"),
    ],
)
def test_hostile_rows_are_one_clear_error(tmp_path: Path, out: Path, column: str, values: list[Any], why: str) -> None:
    root = make_v3(tmp_path / "set", "image")
    path = root / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, pa.array(values)), path)
    with pytest.raises(EpisodeError, match=why):
        import_lerobot(root, out, robot="r")


def test_a_parquet_file_that_swells_is_refused_unread(tmp_path: Path, out: Path) -> None:
    root = make_v3(tmp_path / "set", "image")
    cells = [{"bytes": bytes(2**20), "path": None}] * 600
    rows = {"action": [[0.0, 0.0, 0.0]] * 600, "timestamp": [0.0] * 600, "episode_index": [0] * 600, CAMERA: cells}
    pq.write_table(pa.table(rows), root / "data/chunk-000/file-000.parquet", compression="zstd", use_dictionary=False)
    assert (root / "data/chunk-000/file-000.parquet").stat().st_size < 2**20
    with pytest.raises(EpisodeError, match="expected row groups of at most"):
        import_lerobot(root, out, robot="r")


@pytest.mark.parametrize(
    "line", ["no json", "[]", "{}", '{"episode_index": "x", "length": 3}', "[" * 100_000, '{"episode_index": 0}']
)
def test_a_broken_line_of_v21s_index_is_named(tmp_path: Path, out: Path, line: str) -> None:
    root = make_v21(tmp_path / "set")
    (root / "meta/episodes.jsonl").write_text("\n" + line)
    with pytest.raises(EpisodeError, match=r"episodes\.jsonl, line 2"):
        import_lerobot(root, out, robot="r")


def test_an_export_that_was_meddled_with_is_refused(tmp_path: Path, out: Path) -> None:
    with EpisodeWriter(tmp_path / "e.h5", EpisodeAttributes(name="e"), 16, 16) as writer:
        writer.append(np.zeros((16, 16, 3), np.uint8), (0, 0, 0), "episode_start", elapsed_s=0)
    export_lerobot([tmp_path / "e.h5"], tmp_path / "set")
    path = tmp_path / "set/meta/episodes/chunk-000/file-000.parquet"
    rows = pq.read_table(path).to_pylist()
    for text, why in [
        ("no json", "expected the attributes"),
        ('{"attributes": {"name": "../up"}}', "expected the attributes"),
        ('{"attributes": {"name": "e"}, "events": ["a", "b"]}', "expected 1 events, got 2"),
        ('{"attributes": {"name": "e"}, "events": ["jump"]}', "expected one of episode_start"),
    ]:
        rows[0]["drover/episode"] = text
        pq.write_table(pa.Table.from_pylist(rows), path)
        with pytest.raises(EpisodeError, match=why):
            import_lerobot(tmp_path / "set", out, robot="r")
        assert list(out.iterdir()) == []


def test_an_export_has_the_layout_that_lerobot_reads(tmp_path: Path) -> None:
    """Held against the dataset that lerobot wrote; lerobot itself is too large to install here."""
    theirs, ours = copytree(REAL, tmp_path / "theirs"), tmp_path / "ours"
    files = import_lerobot(theirs, tmp_path / "files", robot="r").files
    export_lerobot(files, ours)
    assert {path.relative_to(theirs).as_posix() for path in theirs.rglob("*") if path.is_file()} <= {
        path.relative_to(ours).as_posix() for path in ours.rglob("*")
    }
    one, other = (json.loads((root / "meta/info.json").read_text()) for root in (theirs, ours))
    assert set(one) == set(other)
    assert one["features"][CAMERA].keys() == other["features"][CAMERA].keys()
    assert one["features"][CAMERA]["info"].keys() == other["features"][CAMERA]["info"].keys()
    for name in ("data_path", "video_path", "codebase_version", "chunks_size"):
        assert one[name] == other[name]
    own = {"drover/episode"}
    for name in ("meta/episodes/chunk-000/file-000.parquet", "data/chunk-000/file-000.parquet", "meta/tasks.parquet"):
        mine, real = (pq.read_schema(root / name) for root in (ours, theirs))
        wanted = {field: real.field(field).type for field in real.names if "observation.state" not in field}
        found = {field: mine.field(field).type for field in mine.names if field not in own}
        wanted |= {"action": found["action"]} if "action" in found else {}  # of another length
        wanted |= {"__index_level_0__": pa.string()} if "__index_level_0__" in found else {}  # theirs: large_string
        assert found == wanted
    stats = json.loads((ours / "meta/stats.json").read_text())
    real_stats = json.loads((theirs / "meta/stats.json").read_text())
    for feature in stats:
        assert stats[feature].keys() == real_stats[feature].keys()
        assert np.shape(stats[feature]["mean"]) == np.shape(real_stats[feature]["mean"]) or feature == "action"


@pytest.mark.parametrize(
    "name",
    [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        f"videos/{CAMERA}/chunk-000/file-000.mp4",
    ],
)
def test_a_mutated_dataset_is_read_or_refused(
    tmp_path: Path, survives_mutation: Callable[..., None], name: str
) -> None:
    root = make_v3(tmp_path / "set")

    def load() -> None:
        with TemporaryDirectory(dir=tmp_path) as folder:
            import_lerobot(root, Path(folder), robot="r")

    survives_mutation(root / name, load, 80)
