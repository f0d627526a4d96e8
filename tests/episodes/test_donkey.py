import io
import json
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.contracts.errors import ConfigurationError, EpisodeError
from components.episodes import import_donkey, measure, read_episode

REAL_TUB = Path(__file__).parents[3] / "shared" / "data" / "donkeycar-tub" / "tub.tar.gz"
START_MS = 1_602_421_393_803


def make_tub(
    folder: Path, count: int = 7, *, deleted: tuple[int, ...] = (), changes: dict[int, dict[str, object]] | None = None
) -> Path:
    """A small tub, in a folder as macOS leaves it."""
    images = folder / "images"
    images.mkdir(parents=True)
    lines = []
    for index in range(count):
        name = f"{index}_cam_image_array_.jpg"
        Image.fromarray(np.full((24, 32, 3), (index * 9, 100, 200), np.uint8)).save(images / name, quality=95)
        record = {"_index": index, "_timestamp_ms": START_MS + 50 * index, "cam/image_array": name}
        record |= {"user/angle": -0.1 * index, "user/throttle": 0.5, "user/mode": "user"}
        lines.append(json.dumps(record | (changes or {}).get(index, {})))
    (folder / "catalog_0.catalog").write_text("\n".join(lines) + "\n")
    (folder / "._catalog_0.catalog").write_bytes(b"\x00\x05\x16\x07")
    manifest = {"paths": ["catalog_0.catalog"], "current_index": count, "deleted_indexes": list(deleted)}
    (folder / "manifest.json").write_text("\n".join(["[]", "[]", "{}", "{}", json.dumps(manifest)]))
    return folder


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_tub_becomes_episodes_in_recording_order(tmp_path: Path, out: Path) -> None:
    paths = import_donkey(make_tub(tmp_path / "tub"), out, robot="donkey-1", frames_per_episode=3).files
    assert sorted(out.iterdir()) == list(paths)
    episodes = [read_episode(path) for path in paths]
    assert [len(episode.images) for episode in episodes] == [4, 4, 2]  # each with its frame 0
    first = episodes[0]
    assert first.events == ("episode_start", *["start_action"] * 3)
    assert np.allclose(first.actions, [[0, 0, 0], [0.5, 0, 0], [0.5, 0, -0.1], [0.5, 0, -0.2]])
    assert np.array_equal(first.images[0], first.images[1])
    assert np.abs(first.images[3, 10, 10].astype(int) - (18, 100, 200)).max() <= 3  # RGB as the camera saw it
    assert first.attributes.total_duration_s == pytest.approx(0.1)
    assert (first.attributes.source, first.attributes.instruction) == ("donkey", "Follow the track")
    assert first.attributes.action_units == "normalised"
    assert len({episode.attributes.session for episode in episodes}) == 1
    moments = [str(episode.attributes.collected_at) for episode in episodes]
    assert moments == sorted(set(moments))
    assert measure(first, sha256="0" * 64, robot="donkey-1").frame_zero_is_start


def test_importing_again_gives_the_same_bytes(tmp_path: Path, out: Path) -> None:
    tub = make_tub(tmp_path / "tub")
    before = [path.read_bytes() for path in import_donkey(tub, out, robot="donkey-1").files]
    assert [path.read_bytes() for path in import_donkey(tub, out, robot="donkey-1").files] == before


def test_another_tub_does_not_overwrite_the_first(tmp_path: Path, out: Path) -> None:
    import_donkey(make_tub(tmp_path / "tub"), out, robot="donkey-1")
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(EpisodeError, match="another folder"):
        import_donkey(make_tub(tmp_path / "other", 5), out, robot="donkey-1")
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_deleted_records_and_sessions_part_the_recording(tmp_path: Path, out: Path) -> None:
    changes: dict[int, dict[str, object]] = {index: {"_session_id": "b"} for index in (5, 6)}
    tub = make_tub(tmp_path / "tub", deleted=(2,), changes=changes)
    episodes = [read_episode(path) for path in import_donkey(tub, out, robot="donkey-1").files]
    assert [len(episode.images) - 1 for episode in episodes] == [2, 2, 2]
    assert len({episode.attributes.session for episode in episodes}) == 3


def test_a_clock_that_is_set_back_keeps_the_order(tmp_path: Path, out: Path) -> None:
    tub = make_tub(tmp_path / "tub", changes={index: {"_timestamp_ms": START_MS - 10**6} for index in (3, 4, 5)})
    paths = import_donkey(tub, out, robot="donkey-1", frames_per_episode=3).files
    moments = [str(read_episode(path).attributes.collected_at) for path in paths]
    assert moments == sorted(moments)
    assert list(paths) == sorted(paths)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user/angle": "left"}, "line 3: expected user/angle to be a number"),
        ({"user/throttle": 3}, r"line 3: expected user/throttle in \[-1, 1\], got 3"),
        ({"user/throttle": float("nan")}, "line 3: expected user/throttle to be a number"),
        ({"cam/image_array": "../../secret.jpg"}, "line 3: expected a file name without a path"),
        ({"cam/image_array": "99.jpg"}, "line 3: expected the image images/99.jpg, found none"),
        ({"_index": 0}, "expected each _index once, found 0 twice"),
        ({"_timestamp_ms": 1e300}, "expected _timestamp_ms since 1970"),
    ],
)
def test_a_malformed_record_is_named_and_nothing_is_written(
    tmp_path: Path, out: Path, change: dict[str, object], message: str
) -> None:
    tub = make_tub(tmp_path / "tub", changes={2: change})
    with pytest.raises(EpisodeError, match=message) as caught:
        import_donkey(tub, out, robot="donkey-1", frames_per_episode=2, strict=True)
    assert caught.value.rule == "tub"
    assert list(out.iterdir()) == []


def test_a_broken_line_image_or_manifest_is_named(tmp_path: Path, out: Path) -> None:
    tub = make_tub(tmp_path / "tub")
    lines = (tub / "catalog_0.catalog").read_text().splitlines()
    (tub / "catalog_0.catalog").write_text("\n".join([*lines[:4], lines[4][:30], *lines[5:]]))
    with pytest.raises(EpisodeError, match=r"catalog_0\.catalog, line 5: expected a JSON record"):
        import_donkey(tub, out, robot="donkey-1", strict=True)
    (tub / "catalog_0.catalog").write_text("\n".join(lines))
    (tub / "images" / "4_cam_image_array_.jpg").write_bytes(b"no image")
    with pytest.raises(EpisodeError, match=r"4_cam_image_array_\.jpg: expected a whole JPEG or PNG"):
        import_donkey(tub, out, robot="donkey-1", frames_per_episode=2, strict=True)
    (tub / "manifest.json").write_text("{}\nnot json")
    with pytest.raises(EpisodeError, match=r"manifest\.json: expected its last line"):
        import_donkey(tub, out, robot="donkey-1")
    (tub / "manifest.json").write_text('{"paths": ["../x"], "deleted_indexes": []}')
    with pytest.raises(EpisodeError, match="without a path"):
        import_donkey(tub, out, robot="donkey-1")
    (tub / "manifest.json").write_text('{"paths": [], "deleted_indexes": []}')
    with pytest.raises(EpisodeError, match="expected records, found none"):
        import_donkey(tub, out, robot="donkey-1")
    (tub / "manifest.json").unlink()
    with pytest.raises(EpisodeError, match=r"expected a manifest\.json"):
        import_donkey(tub, out, robot="donkey-1")
    with pytest.raises(EpisodeError, match="found nothing there"):
        import_donkey(tmp_path / "nowhere", out, robot="donkey-1")
    assert list(out.iterdir()) == []


def test_images_of_another_size_begin_a_new_session(tmp_path: Path, out: Path) -> None:
    tub = make_tub(tmp_path / "tub")
    for index in (3, 4, 5, 6):
        Image.new("RGB", (16, 16)).save(tub / "images" / f"{index}_cam_image_array_.jpg")
    episodes = [read_episode(path) for path in import_donkey(tub, out, robot="donkey-1").files]
    assert [episode.images.shape[:3] for episode in episodes] == [(4, 24, 32), (5, 16, 16)]
    assert len({episode.attributes.session for episode in episodes}) == 2


def _break(tub: Path, kind: str) -> None:
    """One of the seven records is damaged as fields show it."""
    catalog, image = tub / "catalog_0.catalog", tub / "images" / "3_cam_image_array_.jpg"
    lines = catalog.read_text().split("\n")
    if kind == "no image":
        image.unlink()
    elif kind == "empty image":
        image.write_bytes(b"")
    elif kind == "half an image":
        noise = np.random.default_rng(1).integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(image, quality=90)
        image.write_bytes(image.read_bytes()[:900] + b"\xff\xd9")
    else:
        record = json.loads(lines[3])
        broken = {
            "null angle": record | {"user/angle": None},
            "no angle": {name: value for name, value in record.items() if name != "user/angle"},
            "NaN": record | {"user/throttle": float("nan")},
            "beyond": record | {"user/throttle": 7.0},
            "endless time": record | {"_timestamp_ms": 1e300},
            "driver nobody knows": record | {"user/mode": "autopilot9"},
        }
        lines[3] = json.dumps(broken[kind]) if kind in broken else lines[3][:20]
        catalog.write_text("\n".join(lines))


@pytest.mark.parametrize(
    "kind",
    ["no image", "empty image", "half an image", "null angle", "no angle", "NaN", "beyond", "endless time",
     "driver nobody knows", "half a line"],
)  # fmt: skip
def test_one_damaged_record_is_left_out_counted_and_named(tmp_path: Path, out: Path, kind: str) -> None:
    tub = make_tub(tmp_path / "tub")
    _break(tub, kind)
    done = import_donkey(tub, out, robot="donkey-1")
    episodes = [read_episode(path) for path in done.files]
    shown = [[round(float(image[10, 10, 0]) / 9) for image in episode.images[1:]] for episode in episodes]
    assert shown == [[0, 1, 2], [4, 5, 6]]
    assert [np.round(episode.actions[1:, 2] / -0.1).tolist() for episode in episodes] == [[0, 1, 2], [4, 5, 6]]
    tally = done.counts[0]
    assert (tally.unit, tally.read, tally.used, tally.dropped.total()) == ("records", 7, 6, 1)
    named = "3_cam_image_array_" if "image" in kind else "line 4"
    assert [note for note in done.notes if note.startswith("left out") and named in note]
    with pytest.raises(EpisodeError, match=named):
        import_donkey(tub, tmp_path / "strict", robot="donkey-1", strict=True)


def test_damage_everywhere_is_one_error_and_a_few_names(tmp_path: Path, out: Path) -> None:
    changes: dict[int, dict[str, object]] = {index: {"user/angle": None} for index in range(40)}
    tub = make_tub(tmp_path / "tub", 40, changes=changes)
    with pytest.raises(EpisodeError, match="line 1: expected user/angle to be a number, got None"):
        import_donkey(tub, out, robot="donkey-1")
    tub = make_tub(tmp_path / "half", 40, changes=changes | {index: {"user/angle": 0.1} for index in range(20, 40)})
    done = import_donkey(tub, out, robot="donkey-1")
    assert sum(note.startswith("left out") for note in done.notes) == 10
    assert done.counts[0].dropped.total() == 20


def test_a_tub_that_calls_the_angle_steering_is_read_and_noted(tmp_path: Path, out: Path) -> None:
    tub = make_tub(tmp_path / "tub")
    catalog = tub / "catalog_0.catalog"
    catalog.write_text(catalog.read_text().replace("user/angle", "user/steering"))
    done = import_donkey(tub, out, robot="donkey-1")
    assert np.allclose(read_episode(done.files[0]).actions[1:, 2], [-0.1 * index for index in range(7)])
    assert any("user/steering" in note for note in done.notes)


def test_the_commands_are_those_of_who_drove(tmp_path: Path, out: Path) -> None:
    pilot = {"pilot/angle": 0.9, "pilot/throttle": 0.2}
    changes: dict[int, dict[str, object]] = {
        2: {"user/mode": "local_angle", **pilot}, 3: {"user/mode": "local", **pilot}, 4: {"user/mode": "local"},
    }  # fmt: skip
    done = import_donkey(make_tub(tmp_path / "tub", changes=changes), out, robot="donkey-1")
    actions = read_episode(done.files[0]).actions
    assert np.allclose(actions[1:, (0, 2)], [[0.5, 0], [0.5, -0.1], [0.5, 0.9], [0.2, 0.9]])
    assert done.counts[0].dropped.total() == 1  # the pilot drove, and what it commanded was not recorded
    assert sum("driven by the pilot" in note for note in done.notes) == 2


def test_every_tub_of_a_folder_is_taken(tmp_path: Path, out: Path) -> None:
    make_tub(tmp_path / "data" / "tub_1", 5)
    make_tub(tmp_path / "data" / "tub_2", 6)
    (tmp_path / "data" / "._tub_1").write_bytes(b"\x00\x05\x16\x07")
    done = import_donkey(tmp_path / "data", out, robot="donkey-1")
    episodes = [read_episode(path) for path in done.files]
    assert [len(episode.images) - 1 for episode in episodes] == [5, 6]
    assert len({episode.attributes.session for episode in episodes}) == 2
    assert "2 tubs: tub_1, tub_2" in done.notes


def _zip(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"mycar/data/{folder.name}/{file.relative_to(folder)}")
        archive.writestr(f"__MACOSX/{folder.name}/._manifest.json", b"\x00\x05\x16\x07")
    return path


def test_a_zip_holds_the_same_tub(tmp_path: Path, out: Path) -> None:
    tub = make_tub(tmp_path / "tub")
    done = import_donkey(_zip(tmp_path / "tub.zip", tub), out, robot="donkey-1")
    wanted = import_donkey(tub, tmp_path / "wanted", robot="donkey-1")
    assert [path.read_bytes() for path in done.files] == [path.read_bytes() for path in wanted.files]


@pytest.mark.parametrize("name", ["../escaped", "/tmp/drover-escaped", "tub/../../escaped", "tub\\..\\escaped"])  # noqa: S108
def test_a_zip_that_points_outside_is_refused(tmp_path: Path, out: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "tub.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(EpisodeError, match="expected names inside the archive"):
        import_donkey(tmp_path / "tub.zip", out, robot="donkey-1")
    assert not list(tmp_path.rglob("*escaped"))


def test_a_zip_with_a_link_that_swells_or_is_damaged_is_refused(tmp_path: Path, out: Path) -> None:
    link = zipfile.ZipInfo("tub/manifest.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(EpisodeError, match="link or device"):
        import_donkey(tmp_path / "link.zip", out, robot="donkey-1")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tub/zeros", bytes(65 * 2**20))
    with pytest.raises(EpisodeError, match="found more at 'tub/zeros'"):
        import_donkey(tmp_path / "bomb.zip", out, robot="donkey-1")
    whole = _zip(tmp_path / "tub.zip", make_tub(tmp_path / "tub")).read_bytes()
    middle = len(whole) // 3
    (tmp_path / "flipped.zip").write_bytes(whole[:middle] + bytes(200) + whole[middle + 200 :])
    with pytest.raises(EpisodeError, match="expected a whole tar or zip archive"):
        import_donkey(tmp_path / "flipped.zip", out, robot="donkey-1")


def test_fewer_records_than_the_tub_declares_are_an_error_unless_allowed(tmp_path: Path, out: Path) -> None:
    tub = make_tub(tmp_path / "tub")
    (tub / "catalog_0.catalog_manifest").write_text(json.dumps({"line_lengths": [1] * 12}))
    with pytest.raises(EpisodeError, match="declares 12 records, of which 7 could be read") as caught:
        import_donkey(tub, out, robot="donkey-1")
    assert caught.value.rule == "partial"
    assert import_donkey(tub, out, robot="donkey-1", allow_partial=True).frames == 8


@pytest.mark.parametrize("text", ["\u2028", "\u0085", "\u000c"], ids=["U+2028", "U+0085", "form feed"])
def test_a_line_of_a_catalog_ends_at_a_line_feed_alone(tmp_path: Path, out: Path, text: str) -> None:
    tub = make_tub(tmp_path / "tub")
    catalog = tub / "catalog_0.catalog"
    records = [json.loads(line) | {"_session_id": "a"} for line in catalog.read_text().splitlines()]
    lines = [json.dumps(record, ensure_ascii=False).replace('"a"', f'"a{text}b"') for record in records]
    escaped = [line.replace("\f", "\\f") for line in lines]  # JSON's own rule for what is below U+0020
    catalog.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(escaped).encode())
    manifest = tub / "manifest.json"
    manifest.write_bytes(b"\xef\xbb\xbf" + manifest.read_bytes() + b"\n\n")
    done = import_donkey(tub, out, robot="donkey-1")
    assert (done.episodes, done.frames) == (1, 8)


def test_a_senseless_robot_or_length_is_refused(tmp_path: Path, out: Path) -> None:
    tub = make_tub(tmp_path / "tub")
    with pytest.raises(ConfigurationError, match="Donkey One"):
        import_donkey(tub, out, robot="Donkey One")
    with pytest.raises(ConfigurationError, match="at least 1"):
        import_donkey(tub, out, robot="donkey-1", frames_per_episode=0)


@pytest.mark.parametrize("name", ["../escaped", "/tmp/drover-escaped", "tub/../../escaped"])  # noqa: S108
def test_an_archive_that_points_outside_is_refused(tmp_path: Path, out: Path, name: str) -> None:
    archive = _tar(tmp_path / "tub.tar.gz", (tarfile.TarInfo(name), b"x"))
    with pytest.raises(EpisodeError, match="expected names inside the archive"):
        import_donkey(archive, out, robot="donkey-1")
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_an_archive_with_a_link_or_device_is_refused(tmp_path: Path, out: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("tub/manifest.json")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(EpisodeError, match="link or device"):
        import_donkey(_tar(tmp_path / "tub.tar.gz", (info, b"")), out, robot="donkey-1")


def test_an_archive_that_swells_is_refused(tmp_path: Path, out: Path) -> None:
    bomb = _tar(tmp_path / "tub.tar.gz", (tarfile.TarInfo("tub/zeros"), bytes(65 * 2**20)))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(EpisodeError, match="found more at 'tub/zeros'"):
        import_donkey(bomb, out, robot="donkey-1")


def test_a_linked_image_in_a_folder_is_refused(tmp_path: Path, out: Path) -> None:
    tub = make_tub(tmp_path / "tub")
    image = tub / "images" / "1_cam_image_array_.jpg"
    image.rename(tmp_path / "elsewhere.jpg")
    image.symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.raises(EpisodeError, match="is a link"):
        import_donkey(tub, out, robot="donkey-1")


@pytest.mark.parametrize("keep", [0, 0.1, 0.5, 0.95])
def test_a_cut_off_or_foreign_archive_is_refused(tmp_path: Path, out: Path, keep: float) -> None:
    archive = tmp_path / "tub.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(make_tub(tmp_path / "tub"), "tub")
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(EpisodeError, match="expected a whole tar or zip archive"):
        import_donkey(archive, out, robot="donkey-1")


@pytest.mark.skipif(not REAL_TUB.is_file(), reason=f"the real Donkey tub is not at {REAL_TUB}")
def test_the_real_tub_becomes_twenty_episodes_with_its_implausible_clock(out: Path) -> None:
    paths = import_donkey(REAL_TUB, out, robot="donkey-1").files
    assert len(paths) == 20
    episodes = [read_episode(path) for path in paths]
    assert {episode.images.shape for episode in episodes} == {(51, 120, 160, 3)}
    summaries = [measure(episode, sha256="0" * 64, robot="donkey-1") for episode in episodes]
    durations = [summary.stated_duration_s or 0 for summary in summaries]
    assert sum(durations) < 4  # 1,000 frames: stated as they are, for the check to disbelieve
    assert all(summary.frame_zero_is_start and summary.non_finite_actions == 0 for summary in summaries)
    assert len({summary.session for summary in summaries}) == 1
    assert len({summary.content_sha256 for summary in summaries}) == 20
