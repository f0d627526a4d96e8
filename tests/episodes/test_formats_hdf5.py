"""RECON-style HDF5, stray episode files, and what must not be followed in either."""

import io
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
from PIL import Image

from components.contracts.errors import ConfigurationError, EpisodeError
from components.episodes import read_episode
from components.episodes.formats import export_hdf5, import_hdf5, import_recon

Record = Callable[..., Path]


def _jpeg(value: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.full((24, 32, 3), (value, 90, 30), np.uint8)).save(data, "JPEG", quality=95)
    return data.getvalue()


def make_recon(path: Path, count: int = 4, kind: str = "bytes") -> Path:
    images = [_jpeg(40 * index) for index in range(count)]
    with h5py.File(path, "w") as file:
        if kind == "bytes":
            file["images/rgb_left"] = np.array(images, dtype="S")
        elif kind == "any-length":
            target = file.create_dataset("images/rgb_left", (count,), h5py.vlen_dtype(np.uint8))
            for index, data in enumerate(images):
                target[index] = np.frombuffer(data, np.uint8)
        else:
            file["images/rgb_left"] = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in images])
        file["commands/linear_velocity"] = np.arange(count) / 10
        file["commands/angular_velocity"] = -np.arange(count) / 20
        file["gps/latlong"] = np.zeros((count, 2))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize("kind", ["bytes", "any-length", "pixels"])
def test_a_recon_trajectory_becomes_an_episode(tmp_path: Path, out: Path, kind: str) -> None:
    (tmp_path / "recon").mkdir()
    make_recon(tmp_path / "recon/jackal_2019-08-02-16-23-29_0_r00.hdf5", kind=kind)
    make_recon(tmp_path / "recon/jackal_2019-08-02-16-23-29_0_r01.hdf5", 3, kind)
    done = import_recon(tmp_path / "recon", out, robot="jackal-1", rate_hz=4, instruction="explore")
    assert (done.episodes, done.frames) == (2, 7)
    episode = read_episode(done.files[0])
    assert np.allclose(episode.actions, [[index / 10, 0, -index / 20] for index in range(4)])
    assert np.abs(episode.images[:, 5, 5].astype(int) - [(40 * index, 90, 30) for index in range(4)]).max() <= 4
    attributes = episode.attributes
    assert (attributes.source, attributes.instruction, attributes.total_duration_s) == ("recon", "explore", 0.75)
    assert attributes.session == "jackal-1-jackal_2019-08-02-16-23-29_0"
    assert any("0.25 s apart" in note for note in done.notes)
    assert any("GPS" in line for line in done.lost)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), 1e9])
def test_a_senseless_rate_is_refused(tmp_path: Path, out: Path, rate: float) -> None:
    with pytest.raises(ConfigurationError, match="rate"):
        import_recon(make_recon(tmp_path / "a.h5"), out, robot="r", rate_hz=rate)


def _secret(folder: Path) -> Path:
    with h5py.File(folder / "secret.h5", "w") as file:
        file["linear"] = np.ones(4)
    (folder / "raw").write_bytes(np.ones(4).tobytes())
    return folder / "secret.h5"


def _external_link(file: h5py.File, folder: Path) -> None:
    file["commands/linear_velocity"] = h5py.ExternalLink(_secret(folder), "linear")


def _soft_link(file: h5py.File, folder: Path) -> None:
    file["commands/linear_velocity"] = h5py.SoftLink("/commands/angular_velocity")


def _external_storage(file: h5py.File, folder: Path) -> None:
    _secret(folder)
    file["commands"].create_dataset(
        "linear_velocity", (4,), np.float64, external=[(str(folder / "raw"), 0, h5py.h5f.UNLIMITED)]
    )


def _virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((4,), np.float64)
    layout[:] = h5py.VirtualSource(str(_secret(folder)), "linear", (4,))
    file["commands"].create_virtual_dataset("linear_velocity", layout)


def _bomb(file: h5py.File, folder: Path) -> None:
    file["commands"].create_dataset("linear_velocity", (2**40,), np.float64, chunks=(2**20,), compression="gzip")


def _text(file: h5py.File, folder: Path) -> None:
    file["commands/linear_velocity"] = ["a", "b", "c", "d"]


def _group(file: h5py.File, folder: Path) -> None:
    file["commands"].create_group("linear_velocity")


@pytest.mark.parametrize(
    ("evil", "rule"),
    [
        (_external_link, "link"),
        (_soft_link, "link"),
        (_external_storage, "external-storage"),
        (_virtual, "virtual-dataset"),
        (_bomb, "recon"),
        (_text, "recon"),
        (_group, "missing-dataset"),
    ],
)
def test_a_hostile_trajectory_is_refused_by_rule(
    tmp_path: Path, out: Path, evil: Callable[[h5py.File, Path], None], rule: str
) -> None:
    path = make_recon(tmp_path / "evil.h5")
    with h5py.File(path, "r+") as file:
        del file["commands/linear_velocity"]
        evil(file, tmp_path)
    with pytest.raises(EpisodeError) as caught:
        import_recon(path, out, robot="r")
    assert caught.value.rule == rule
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("group", ["commands", "images"])
def test_a_linked_group_is_refused(tmp_path: Path, out: Path, group: str) -> None:
    other = make_recon(tmp_path / "other.h5")
    path = make_recon(tmp_path / "evil.h5")
    with h5py.File(path, "r+") as file:
        del file[group]
        file[group] = h5py.ExternalLink(other, f"/{group}")
    with pytest.raises(EpisodeError) as caught:
        import_recon(path, out, robot="r")
    assert caught.value.rule == "link"


def test_broken_trajectories_are_one_clear_error(tmp_path: Path, out: Path) -> None:
    path = make_recon(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["commands/angular_velocity"]
        file["commands/angular_velocity"] = np.zeros(3)
    with pytest.raises(EpisodeError, match="found 4 images, 4 linear and 3 angular"):
        import_recon(path, out, robot="r")
    with h5py.File(path, "r+") as file:
        del file["commands/angular_velocity"], file["images/rgb_left"]
        file["commands/angular_velocity"] = np.zeros(4)
        file["images/rgb_left"] = np.array([b"no jpeg"] * 4)
    with pytest.raises(EpisodeError, match=r"rgb_left\[0\]: expected a whole JPEG or PNG"):
        import_recon(path, out, robot="r")
    path.write_bytes(b"no hdf5")
    for load in (import_recon, import_hdf5):
        with pytest.raises(EpisodeError, match="expected an HDF5 file"):
            load(path, out, robot="r")
        with pytest.raises(EpisodeError, match="found none"):
            load(tmp_path / "nowhere", out, robot="r")
        with pytest.raises(ConfigurationError, match="robot id"):
            load(path, out, robot="No Robot")


def test_a_stray_episode_file_is_written_anew_for_its_robot(record: Record, out: Path) -> None:
    path = record(robot="someone", instruction="go left", source="simulated", renderer="x")
    done = import_hdf5(path, out, robot="robot-1")
    before, after = read_episode(path), read_episode(done.files[0])
    assert after.attributes == before.attributes.model_copy(update={"robot": "robot-1"})
    assert np.array_equal(before.images, after.images)
    assert (before.events, after.events) == (after.events, before.events)


@pytest.mark.parametrize("name", ["images", "actions", "action_event_types"])
def test_a_stray_episode_that_reads_another_file_is_refused(
    record: Record, tmp_path: Path, out: Path, name: str
) -> None:
    other, path = record(), tmp_path / "evil.h5"
    path.write_bytes(other.read_bytes())
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = h5py.ExternalLink(other, name)
    with pytest.raises(EpisodeError) as caught:
        import_hdf5(path, out, robot="r")
    assert caught.value.rule == "link"


def test_an_exported_file_is_the_same_bytes_under_its_name(record: Record, tmp_path: Path) -> None:
    path = record()
    renamed = path.rename(tmp_path / "fetched.h5")
    done = export_hdf5([renamed], tmp_path / "out")
    assert [file.name for file in done.files] == [path.name]
    assert done.files[0].read_bytes() == renamed.read_bytes()
    assert (done.notes, done.lost) == ((), ())


def test_a_mutated_trajectory_is_read_or_refused(tmp_path: Path, survives_mutation: Callable[..., None]) -> None:
    path = make_recon(tmp_path / "a.h5")

    def load() -> None:
        with TemporaryDirectory(dir=tmp_path) as folder:
            import_recon(path, Path(folder), robot="r")

    survives_mutation(path, load, 100)
