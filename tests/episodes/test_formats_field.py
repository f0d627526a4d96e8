"""Files as people have them: mended by hand, copied from sticks, named in any language, one of many damaged."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.contracts.errors import ConfigurationError, EpisodeError
from components.episodes import read_episode
from components.episodes.formats import files_in, hdf5_files, import_hdf5, import_lerobot, import_recon
from components.episodes.formats._conversion import as_name
from components.episodes.formats._sources import json_lines
from tests.episodes.test_formats_hdf5 import make_recon
from tests.episodes.test_formats_lerobot import CAMERA, LENGTHS, TASKS, make_v3, make_v21

Record = Callable[..., Path]
SIDE_FILE = bytes.fromhex("00051607000200004d6163204f532058") + bytes(64)
"""AppleDouble, as macOS writes it beside each file of a stick."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def _lines(root: Path, name: str, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (root / "meta" / name).write_bytes(text.encode())


def _change_info(root: Path, **fields: Any) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _instructions(files: tuple[Path, ...]) -> list[str | None]:
    return [read_episode(path).attributes.instruction for path in files]


def _tasks_table(root: Path, texts: list[str], numbers: list[int]) -> None:
    pq.write_table(pa.table({"task_index": numbers, "__index_level_0__": texts}), root / "meta/tasks.parquet")


# --- what a row points at, not what a copy of it says -----------------------------------------------------------------


def test_a_task_mended_in_one_place_is_the_one_that_the_rows_point_at(tmp_path: Path, out: Path) -> None:
    root = make_v21(tmp_path / "set", "image")
    _lines(root, "tasks.jsonl", [{"task_index": 0, "task": "mended left"}, {"task_index": 1, "task": "go right"}])
    done = import_lerobot(root, out, robot="r")
    assert _instructions(done.files) == ["mended left", "go right", "mended left"]
    assert any("'mended left', the index says 'go left'" in note for note in done.notes)


def test_the_tasks_of_v3_are_looked_up_by_position_as_lerobot_does(tmp_path: Path, out: Path) -> None:
    root = make_v3(tmp_path / "set", "image")
    _tasks_table(root, ["first", "second"], [1, 0])
    done = import_lerobot(root, out, robot="r")
    assert _instructions(done.files) == ["first", "second", "first"]
    assert any("not in the order of task_index" in note for note in done.notes)


def test_without_a_table_of_tasks_the_index_tells(tmp_path: Path, out: Path) -> None:
    root = make_v21(tmp_path / "set", "image")
    (root / "meta/tasks.jsonl").unlink()
    done = import_lerobot(root, out, robot="r")
    assert _instructions(done.files) == [TASKS[0], TASKS[1], TASKS[0]]
    assert any("point at no text" in note for note in done.notes)


@pytest.mark.parametrize(
    "text", ["a\u2028b", "a\u2029b", "a\u0085b", "a\x1eb\x0bc"], ids=["2028", "2029", "0085", "1e"]
)
def test_a_line_of_json_ends_at_a_line_feed_alone(tmp_path: Path, out: Path, text: str) -> None:
    root = make_v21(tmp_path / "set", "image")
    rows = [{"task_index": 0, "task": text}, {"task_index": 1, "task": "go right"}]
    _lines(root, "tasks.jsonl", rows)
    _lines(
        root, "episodes.jsonl",
        [{"episode_index": index, "tasks": [rows[index % 2]["task"]], "length": n} for index, n in enumerate(LENGTHS)],
    )  # fmt: skip
    assert _instructions(import_lerobot(root, out, robot="r").files) == [text, "go right", text]
    assert list(json_lines(f"{text}\r\n\r\n\nx")) == [(1, f"{text}\r"), (4, "x")]


def test_a_byte_order_mark_is_no_part_of_a_document(tmp_path: Path, out: Path) -> None:
    root = make_v21(tmp_path / "set", "image")
    for name in ("info.json", "tasks.jsonl", "episodes.jsonl"):
        path = root / "meta" / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert import_lerobot(root, out, robot="r").episodes == 3


# --- what is declared against what is there ---------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["total_episodes", "total_frames"])
def test_fewer_episodes_or_frames_than_declared_are_an_error_unless_allowed(
    tmp_path: Path, out: Path, field: str
) -> None:
    root = make_v21(tmp_path / "set", "image")
    _change_info(root, **{field: 20})
    with pytest.raises(EpisodeError, match=f"declares 20 {field.removeprefix('total_')}, of which") as caught:
        import_lerobot(root, out, robot="r")
    assert caught.value.rule == "partial"
    assert not list(out.iterdir())
    assert import_lerobot(root, out, robot="r", allow_partial=True).episodes == 3


def test_a_missing_file_of_an_episode_is_declared_and_not_read(tmp_path: Path, out: Path) -> None:
    root = make_v21(tmp_path / "set", "image")
    (root / "data/chunk-000/episode_000001.parquet").unlink()
    with pytest.raises(EpisodeError, match="declares 3 episodes, of which 2 could be read"):
        import_lerobot(root, out, robot="r")
    done = import_lerobot(root, out, robot="r", allow_partial=True)
    assert [path.name[-9:-3] for path in done.files] == ["000000", "000002"]
    assert any("episode 1: expected its rows in" in note for note in done.notes)


def test_rows_are_found_by_their_episode_where_the_index_names_another_file(tmp_path: Path, out: Path) -> None:
    root = make_v3(tmp_path / "set", "image")
    path = root / "data/chunk-000/file-000.parquet"
    rows = pq.read_table(path)
    wanted = import_lerobot(root, tmp_path / "wanted", robot="r")
    pq.write_table(rows.slice(0, LENGTHS[0]), path)
    pq.write_table(rows.slice(LENGTHS[0]), root / "data/chunk-000/file-001.parquet")
    (root / "data/chunk-000/._file-001.parquet").write_bytes(SIDE_FILE)
    done = import_lerobot(root, out, robot="r")
    assert [path.read_bytes() for path in done.files] == [path.read_bytes() for path in wanted.files]
    assert any(
        note == "episode 1 is in data/chunk-000/file-001.parquet; the index names data/chunk-000/file-000.parquet"
        for note in done.notes
    )


def test_more_rows_than_the_index_says_leave_the_episode_out(tmp_path: Path, out: Path) -> None:
    root = make_v21(tmp_path / "set", "image")
    _lines(
        root, "episodes.jsonl",
        [{"episode_index": e, "tasks": [], "length": 2 if e == 1 else n} for e, n in enumerate(LENGTHS)],
    )  # fmt: skip
    done = import_lerobot(root, out, robot="r")
    assert done.episodes == 2
    assert any("episode 1: expected 2 rows of it, found more" in note for note in done.notes)


# --- one of many is damaged -------------------------------------------------------------------------------------------


def test_one_damaged_episode_is_left_out_counted_and_named(tmp_path: Path, out: Path) -> None:
    root = make_v21(tmp_path / "set", "image")
    path = root / "data/chunk-000/episode_000001.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    done = import_lerobot(root, out, robot="r")
    assert [read_episode(path).attributes.name for path in done.files] == ["lerobot_set_000000", "lerobot_set_000002"]
    assert any("left out: episode 1: episode_000001.parquet: expected a parquet file" in note for note in done.notes)
    episodes, frames = done.counts
    assert (episodes.declared, episodes.read, episodes.used, episodes.dropped["unreadable"]) == (3, 3, 2, 1)
    assert (frames.used, frames.dropped.total()) == (LENGTHS[0] + LENGTHS[2], LENGTHS[1])
    with pytest.raises(EpisodeError, match="expected a parquet file"):
        import_lerobot(root, tmp_path / "strict", robot="r", strict=True)
    assert not list((tmp_path / "strict").iterdir())


def test_one_line_of_the_index_that_makes_no_sense_is_one_episode_less(tmp_path: Path, out: Path) -> None:
    root = make_v21(tmp_path / "set", "image")
    for name in ("episodes.jsonl", "tasks.jsonl"):
        path = root / "meta" / name
        path.write_bytes(path.read_bytes().rstrip()[:-9])  # a recorder was killed
    done = import_lerobot(root, out, robot="r")
    assert _instructions(done.files) == [TASKS[0], TASKS[1]]
    assert sum("line 3" in note or "tasks.jsonl, line 2" in note for note in done.notes) == 2
    assert done.counts[0].dropped["unreadable"] == 1
    with pytest.raises(EpisodeError, match=r"episodes\.jsonl, line 3: expected a line of JSON"):
        import_lerobot(root, tmp_path / "strict", robot="r", strict=True)


def _half(value: int) -> bytes:
    pixels = np.random.default_rng(value).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=90)
    return data.getvalue()[: len(data.getvalue()) // 2] + b"\xff\xd9"


@pytest.mark.parametrize("damage", [b"", _half(1)], ids=["empty", "half"])
def test_one_damaged_frame_of_a_lerobot_episode_is_left_out(tmp_path: Path, out: Path, damage: bytes) -> None:
    root = make_v21(tmp_path / "set", "image")
    path = root / "data/chunk-000/episode_000001.parquet"
    table = pq.read_table(path)
    cells = table[CAMERA].to_pylist()
    cells[2]["bytes"] = damage
    pq.write_table(table.set_column(table.schema.get_field_index(CAMERA), CAMERA, pa.array(cells)), path)
    done = import_lerobot(root, out, robot="r")
    assert np.allclose(read_episode(done.files[1]).actions[1:, 0], [0, 0.1, 0.3])
    assert done.counts[1].dropped["damaged"] == 1
    assert any("episode 1, frame 2" in note for note in done.notes)
    with pytest.raises(EpisodeError, match="episode 1, frame 2"):
        import_lerobot(root, tmp_path / "strict", robot="r", strict=True)


def test_one_truncated_trajectory_of_three_is_named(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "recon"
    folder.mkdir()
    for name in "abc":
        make_recon(folder / f"{name}.hdf5")
    (folder / "b.hdf5").write_bytes((folder / "b.hdf5").read_bytes()[:-2000])
    done = import_recon(folder, out, robot="r")
    assert [path.name for path in done.files] == ["recon_a.h5", "recon_c.h5"]
    assert any("left out: b.hdf5: expected an HDF5 file" in note for note in done.notes)
    assert (done.counts[0].unit, done.counts[0].read, done.counts[0].used) == ("files", 3, 2)
    with pytest.raises(EpisodeError, match=r"b\.hdf5: expected an HDF5 file"):
        import_recon(folder, tmp_path / "strict", robot="r", strict=True)
    assert not list((tmp_path / "strict").iterdir())


def test_one_damaged_image_of_a_trajectory_is_left_out(tmp_path: Path, out: Path) -> None:
    path = make_recon(tmp_path / "a.h5", kind="any-length")
    with h5py.File(path, "r+") as file:
        file["images/rgb_left"][1] = np.frombuffer(_half(2), np.uint8)
    done = import_recon(path, out, robot="r", rate_hz=4)
    assert np.allclose(read_episode(done.files[0]).actions[:, 0], [0, 0.2, 0.3])
    assert any("rgb_left[1]" in note for note in done.notes)


def test_one_damaged_episode_file_of_a_stick_is_named(tmp_path: Path, out: Path, record: Record) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    record(folder=folder, name="good")
    (folder / "bad.h5").write_bytes(record(folder=folder, name="cut").read_bytes()[:-3000])
    done = import_hdf5(folder, out, robot="r")
    assert [path.name for path in done.files] == ["cut.h5", "good.h5"]
    assert any("left out: bad.h5" in note for note in done.notes)
    with pytest.raises(EpisodeError, match=r"bad\.h5"):
        import_hdf5(folder, tmp_path / "strict", robot="r", strict=True)


# --- names and paths --------------------------------------------------------------------------------------------------


def test_side_files_of_macos_are_no_data(tmp_path: Path, out: Path, record: Record) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    record(folder=folder, name="good")
    (folder / "._good.h5").write_bytes(SIDE_FILE)
    assert hdf5_files(folder) == files_in(folder, ".h5") == [folder / "good.h5"]
    assert import_hdf5(folder, out, robot="r").episodes == 1
    root = make_v3(tmp_path / "set")
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        path.with_name(f"._{path.name}").write_bytes(SIDE_FILE)
    assert import_lerobot(root, tmp_path / "set-out", robot="r").episodes == 3


NAMES = [
    ("走廊一", "走廊二"), ("комната", "кухня"), ("☕", "🚀"), ("x" * 90 + "_r00", "x" * 90 + "_r01"),
    ("run[1]", "run 1"), ("Küche", "K che"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), NAMES, ids=["Chinese", "Cyrillic", "signs", "long", "punctuation", "umlaut"])
def test_other_names_give_other_episodes(tmp_path: Path, out: Path, one: str, other: str) -> None:
    folder = tmp_path / "recon"
    folder.mkdir()
    for name, count in ((one, 3), (other, 4)):
        make_recon(folder / f"{name}.hdf5", count)
    done = import_recon(folder, out, robot="r")
    assert done.episodes == 2
    assert len({read_episode(path).attributes.name for path in done.files}) == 2
    again = import_recon(folder, out, robot="r")
    assert again.files == done.files


def test_a_name_is_the_same_alone_and_among_others_and_in_both_normal_forms() -> None:
    assert as_name("走廊一") != as_name("走廊二")
    assert as_name("Ku\u0308che") == as_name("K\u00fcche")
    assert as_name("jackal_2019-08-02_0_r00") == "jackal_2019-08-02_0_r00"
    assert max(len(as_name("长" * count + "x" * count)) for count in range(200)) <= 80


def test_two_datasets_of_names_without_ascii_go_into_one_folder(tmp_path: Path, out: Path) -> None:
    for name in ("数据一", "数据二"):
        import_lerobot(make_v21(tmp_path / name, "image"), out, robot="r")
    assert len(list(out.iterdir())) == 6


def test_an_episode_file_that_states_no_name_may_have_any(tmp_path: Path, out: Path, record: Record) -> None:
    path = record(name="good")
    with h5py.File(path, "r+") as file:
        del file.attrs["episode_name"]
    path = path.rename(path.with_name("走廊.h5"))
    assert import_hdf5(path, out, robot="r").files[0].name == f"{as_name('走廊')}.h5"


@pytest.mark.parametrize("name", ["a#1", "b?c", "d%20e", "f[g]h", "i[red]", "*", "走 廊"])
def test_any_path_works(tmp_path: Path, name: str, record: Record) -> None:
    folder = tmp_path / name
    folder.mkdir()
    dataset = make_v21(folder / "set", "video")
    assert import_lerobot(dataset, folder / "out", robot="r").episodes == 3
    (folder / "recon").mkdir()
    make_recon(folder / "recon" / f"{name}.hdf5")
    assert import_recon(folder / "recon", folder / "out2", robot="r").episodes == 1
    record(folder=folder, name="good")
    assert import_hdf5(folder, folder / "out3", robot="r").episodes == 1


# --- what the user can do about it ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names", [None, ["actions"], {}, [None, None, None]], ids=["null", "one for all", "empty", "nulls"]
)
def test_elements_without_names_are_named_by_their_index(tmp_path: Path, out: Path, names: Any) -> None:
    root = make_v21(tmp_path / "set", "image")
    features = json.loads((root / "meta/info.json").read_text())["features"]
    features["action"]["names"] = names
    _change_info(root, features=features)
    with pytest.raises(EpisodeError, match=r"by index from 0, e\.g\. --axis linear_x=0:m/s"):
        import_lerobot(root, out, robot="r")
    done = import_lerobot(root, out, robot="r", axes={"linear_x": "0", "angular_z": "2:deg/s"})
    assert np.allclose(read_episode(done.files[0]).actions[-1], [0.2, 0, np.pi / 4])
    assert "angular_z is action's element 2 in deg/s, converted to rad/s" in done.notes
    assert "action: element 1" in done.lost
    for wrong in ("3", "-1", "1.0", "²", ""):
        with pytest.raises(ConfigurationError, match="its index from 0 to 2"):
            import_lerobot(root, out, robot="r", axes={"linear_x": wrong})


def test_an_element_without_a_name_does_not_move_the_others(tmp_path: Path, out: Path) -> None:
    root = make_v21(tmp_path / "set", "image")
    features = json.loads((root / "meta/info.json").read_text())["features"]
    for names in ([None, "y.vel", "x.vel"], {"x.vel": 2, "y.vel": 1}):
        features["action"]["names"] = names
        _change_info(root, features=features)
        done = import_lerobot(root, out / str(type(names)), robot="r")
        assert np.allclose(read_episode(done.files[0]).actions[-1, 0], 45)


def test_two_elements_for_one_axis_are_asked_about(tmp_path: Path, out: Path) -> None:
    root = make_v21(tmp_path / "set", "image")
    features = json.loads((root / "meta/info.json").read_text())["features"]
    features["action"]["names"] = ["x.vel", "linear_x", "theta.vel"]
    _change_info(root, features=features)
    with pytest.raises(EpisodeError, match=r"expected one element for linear_x, found x\.vel and linear_x"):
        import_lerobot(root, out, robot="r")
    done = import_lerobot(root, out, robot="r", axes={"linear_x": "x.vel"})
    assert np.allclose(read_episode(done.files[0]).actions[-1, 0], 0.2)


def test_commands_beyond_the_limit_are_noted(tmp_path: Path, out: Path) -> None:
    path = make_recon(tmp_path / "fast.hdf5")
    with h5py.File(path, "r+") as file:
        file["commands/linear_velocity"][2:] = 2.0
    done = import_recon(path, out, robot="r")
    assert "fast.hdf5: 2 frames command more than +-1.15: the checks will quarantine it" in done.notes
    root = make_v21(tmp_path / "set", "image")
    done = import_lerobot(root, tmp_path / "out2", robot="r", axes={"linear_x": "2:m/s"})
    assert any("frames command more than" in note for note in done.notes)
