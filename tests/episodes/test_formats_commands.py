"""`drover import` and `drover export`: what they say, and what a robot's light installation says instead."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from typer.testing import CliRunner

from components.cli import app
from components.contracts import EpisodeRecord
from components.contracts.errors import ConfigurationError, DatasetError, EpisodeError
from components.episodes import measure, read_episode
from components.episodes.formats import import_mcap
from components.storage import FolderStore

Record = Callable[..., Path]
LIBRARIES = ("mcap", "rosbags", "av", "pyarrow", "rerun", "zstandard", "lz4")


def drover(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_an_export_says_what_it_did_and_an_import_takes_it_back(record: Record, tmp_path: Path) -> None:
    path = record(robot="robot-1", instruction="go left")
    for name, back in (("mcap", "mcap"), ("lerobot", "lerobot"), ("hdf5", "hdf5"), ("rerun", None)):
        told = drover("export", name, path, "--out", tmp_path / name)
        assert "1 episodes, 4 frames" in told
        assert ("lost" in told) == (name == "rerun")
        if back:
            told = drover("import", back, tmp_path / name, "--robot", "robot-1", "--out", tmp_path / f"{name}-back")
            assert "drover robot upload" in told.replace("\n", " ")
            assert (tmp_path / f"{name}-back" / path.name).read_bytes() == path.read_bytes()


def test_names_in_files_do_not_lead_out_of_the_exports_folder(record: Record, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number, name in enumerate(("../../evil", "/evil", "a/b", ".evil", "evil\x1b[2J", "evil\n")):
        path = record(folder=source, name=f"e{number}")
        with h5py.File(path, "r+") as file:
            file.attrs["episode_name"] = name
    for kind in ("hdf5", "mcap", "rerun"):
        out = tmp_path / "exports" / kind
        drover("export", kind, source, "--out", out)
        assert {path.stem for path in out.iterdir()} == {f"e{number}" for number in range(6)}
    assert {path.name for path in tmp_path.iterdir()} == {"source", "exports"}


@pytest.mark.parametrize("mark", ["[bold]", "[red]x[", "[b", ":smile:"], ids=["bold", "open", "half", "emoji"])
def test_names_that_look_like_markup_are_shown_as_they_are(record: Record, tmp_path: Path, mark: str) -> None:
    source, out = tmp_path / f"in{mark}", tmp_path / f"out{mark}"
    source.mkdir()
    record(folder=source, name="good")
    (source / f"bad{mark}.h5").write_bytes(b"no HDF5")
    told = drover("import", "hdf5", source, "--robot", "r", "--out", out)
    assert f"1 episodes, 4 frames in {out}\n" in told
    assert f"note left out: bad{mark}.h5: expected an HDF5 file" in told
    assert f"drover robot upload {out} --robot r" in told
    assert "count files: 2 declared, 2 read, 1 used, 1 dropped (1 unreadable)" in told


def test_one_damaged_file_is_refused_if_asked_for(record: Record, tmp_path: Path) -> None:
    record(folder=tmp_path, name="good")
    (tmp_path / "bad.h5").write_bytes(b"no HDF5")
    strict = ("import", "hdf5", str(tmp_path), "--robot", "r", "--out", str(tmp_path / "out"), "--strict")
    with pytest.raises(EpisodeError, match=r"bad\.h5: expected an HDF5 file"):
        CliRunner().invoke(app, strict, catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("export", "mcap", "--out", "x"), "one of these alone"),
        (("export", "mcap", "a.h5", "--id", "00", "--out", "x"), "one of these alone"),
        (("export", "mcap", "a.h5", "--images", "gif", "--out", "x"), "expected one of png, jpeg, got 'gif'"),
        (("export", "lerobot", "a.h5", "--frames", "gif", "--out", "x"), "h264-lossless"),
        (("import", "mcap", "x", "--robot", "r", "--rate", "0"), "rate_hz"),
        (("import", "lerobot", "x", "--robot", "r", "--axis", "up=z"), "AXIS=NAME"),
    ],
)
def test_a_mistake_is_named(arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_admitted_episodes_are_exported_from_the_store_by_id(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components import storage

    store, path = FolderStore(tmp_path / "store"), record(robot="robot-1")
    file = store.put_file("episodes", "held.h5", path)
    summary = measure(read_episode(path), sha256=file.sha256, robot="robot-1")
    record_of = EpisodeRecord(file=file, summary=summary)
    store.put("episodes", f"{file.sha256}.json", record_of.canonical_json())
    monkeypatch.setattr(storage, "connect", lambda settings: store)  # a folder is a store as good as any
    drover("export", "hdf5", "--id", file.sha256[:12], "--out", tmp_path / "out")
    assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(DatasetError, match="there is no episode 'ffff'"):
        CliRunner().invoke(
            app, ["export", "hdf5", "--id", "ffff", "--out", str(tmp_path / "no")], catch_exceptions=False
        )


def test_the_formats_load_no_library_until_they_are_used() -> None:
    code = "import sys, components.episodes.formats, components.cli; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert not set(loaded.stdout.split()) & set(LIBRARIES)


@pytest.mark.parametrize(
    ("call", "library"),
    [
        ("import_mcap(p, p, robot='r')", "mcap"),
        ("import_rosbag2(p, p, robot='r')", "rosbags"),
        ("import_lerobot(p, p, robot='r')", "av"),
        ("export_lerobot([p], p)", "pyarrow"),
        ("export_mcap([p], p)", "rosbags"),
        ("export_rerun([p], p)", "rerun"),
    ],
)
def test_without_its_library_a_format_names_what_to_install(call: str, library: str) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        f"sys.modules[{library!r}] = None\n"
        "from components.contracts.errors import ConfigurationError\n"
        "from components.episodes.formats import *\n"
        "p = Path('/nowhere')\n"
        f"try:\n    {call}\nexcept ConfigurationError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert f"needs {library}" in done.stdout
    assert "install drover[platform]" in done.stdout


def test_the_donkey_importer_is_found_at_both_doors() -> None:
    from components import episodes
    from components.episodes import formats

    assert episodes.import_donkey is formats.import_donkey
    assert import_mcap is formats.import_mcap
