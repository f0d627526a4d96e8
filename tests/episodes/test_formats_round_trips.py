"""An episode that is exported and imported again is the same episode, but for what the exporter listed."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.contracts.errors import EpisodeError
from components.episodes import EVENTS, Episode, EpisodeAttributes, EpisodeWriter, read_episode
from components.episodes.formats import (
    Conversion,
    export_hdf5,
    export_lerobot,
    export_mcap,
    export_rerun,
    import_hdf5,
    import_lerobot,
    import_mcap,
)

_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=40)
_ACTION = st.tuples(*[st.floats(-1.125, 1.125, width=32) | st.sampled_from([1.15, -1.15, 0.0])] * 3)
_ATTRIBUTES = st.builds(
    EpisodeAttributes,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True).filter(
        lambda name: not name.endswith(".h5")
    ),
    robot=st.just("robot-1"),
    session=st.none() | _TEXT,
    collected_at=st.none() | st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    instruction=st.none() | _TEXT,
    source=st.sampled_from(["robot", "simulated", "ros"]),
    scenario=st.none() | _TEXT,
    time_period=st.none() | _TEXT,
    action_chunk_size=st.integers(1, 50),
)
_PROPERTY = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def _episodes(draw: st.DrawFn, *, even: bool = False) -> Episode:
    count = draw(st.integers(1, 5))
    height, width = draw(st.integers(1, 12)) * 2, draw(st.integers(1, 12)) * 2
    if not even:
        height, width = height - draw(st.integers(0, 1)), width - draw(st.integers(0, 1))
    images = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    actions = np.array(draw(st.lists(_ACTION, min_size=count, max_size=count)), np.float32)
    events = tuple(draw(st.lists(st.sampled_from(EVENTS), min_size=count, max_size=count)))
    duration_s = draw(st.floats(0, 1e4))
    return Episode(images, actions, events, draw(_ATTRIBUTES).model_copy(update={"total_duration_s": duration_s}))


def written(episode: Episode, folder: Path) -> Path:
    path = folder / "in.h5"
    writer = EpisodeWriter(path, episode.attributes, *episode.images.shape[1:3], sync=False)
    for image, action, event in zip(episode.images, episode.actions, episode.events, strict=True):
        writer.append(image, action, event, elapsed_s=0)
    return writer.close(total_duration_s=episode.attributes.total_duration_s)


def assert_same(one: Path, other: Path, *, frames: bool = True) -> None:
    before, after = read_episode(one), read_episode(other)
    assert before.attributes == after.attributes
    assert before.events == after.events
    assert np.array_equal(before.actions, after.actions)
    assert before.images.shape == after.images.shape
    assert not frames or np.array_equal(before.images, after.images)


def _only(conversion: Conversion) -> Path:
    assert (conversion.episodes, len(conversion.files)) == (1, 1)
    return conversion.files[0]


@_PROPERTY
@given(_episodes())
def test_through_mcap_an_episode_stays_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, episode: Episode
) -> None:
    folder = tmp_path_factory.mktemp("mcap")
    path = written(episode, folder)
    exported = export_mcap([path], folder / "out")
    assert exported.lost == ()
    back = _only(import_mcap(folder / "out", folder / "back", robot="robot-1"))
    assert_same(path, back)
    assert path.read_bytes() == back.read_bytes()


@_PROPERTY
@given(_episodes(), st.sampled_from(["h264-lossless", "images"]))
def test_through_a_lerobot_dataset_an_episode_stays_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, episode: Episode, frames: str
) -> None:
    folder = tmp_path_factory.mktemp("lerobot")
    path = written(episode, folder)
    exported = export_lerobot([path], folder / "out", frames=frames)  # type: ignore[arg-type]
    assert exported.lost == ()
    back = _only(import_lerobot(folder / "out", folder / "back", robot="robot-1"))
    assert_same(path, back)
    assert path.read_bytes() == back.read_bytes()


@_PROPERTY
@given(_episodes())
def test_through_hdf5_an_episode_stays_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, episode: Episode
) -> None:
    folder = tmp_path_factory.mktemp("hdf5")
    path = written(episode, folder)
    copy = _only(export_hdf5([path], folder / "out"))
    assert copy.name == f"{episode.attributes.name}.h5"
    back = _only(import_hdf5(copy, folder / "back", robot="robot-1"))
    assert path.read_bytes() == copy.read_bytes() == back.read_bytes()


@_PROPERTY
@given(_episodes())
def test_a_rerun_recording_holds_actions_events_attributes_and_times(
    tmp_path_factory: pytest.TempPathFactory, episode: Episode
) -> None:
    from rerun.chunk import RrdReader

    folder = tmp_path_factory.mktemp("rerun")
    path = _only(export_rerun([written(episode, folder)], folder / "out", images="png"))
    columns: dict[tuple[str, str], list[object]] = {}
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            columns.setdefault((str(chunk.entity_path), name), []).extend(values.to_pylist())
    for axis, name in enumerate(("linear_x", "linear_y", "angular_z")):
        values = [value for value in columns[f"/action/{name}", "Scalars:scalars"] if value is not None]
        assert np.array_equal(np.ravel(values), episode.actions[:, axis])
    assert columns["/camera", "frame"] == list(range(len(episode.images)))
    interval_s = (episode.attributes.total_duration_s or 0) / max(len(episode.images) - 1, 1)
    if interval_s > 0.001:
        times = np.array(columns["/camera", "time"], "timedelta64[ns]").astype(np.int64) / 1e9
        assert np.allclose(times, np.arange(len(episode.images)) * interval_s, atol=1e-6)
    document = json.loads(np.ravel(columns["/episode", "TextDocument:text"])[0])
    stated = EpisodeAttributes.model_validate(document["attributes"])
    assert stated == episode.attributes.model_copy(update={"num_frames": len(episode.images)})
    assert len(columns["/event", "TextLog:text"]) == len(episode.events)


def _smooth(count: int = 4, height: int = 90, width: int = 160) -> np.ndarray:
    """Frames such as a camera makes: gradients that move."""
    rows, across = np.mgrid[0:height, 0:width]
    ramp = [np.stack([rows + across, across + 9 * index, 255 - rows], axis=2) % 256 for index in range(count)]
    return np.stack([np.clip(frame * 0.4 + 60, 0, 255) for frame in ramp]).astype(np.uint8)


@pytest.mark.parametrize(("frames", "mean", "worst"), [("av1", 3.0, 60), ("h264", 1.5, 40)])
def test_lossy_video_stays_within_its_error_and_says_so(tmp_path: Path, frames: str, mean: float, worst: int) -> None:
    images = _smooth()
    attributes = EpisodeAttributes(name="smooth", robot="robot-1", instruction="go left", total_duration_s=9.5)
    path = written(Episode(images, np.zeros((4, 3), np.float32), ("start_action",) * 4, attributes), tmp_path)
    exported = export_lerobot([path], tmp_path / "out", frames=frames)  # type: ignore[arg-type]
    assert exported.lost == (f"exact frames: {frames} is lossy; h264-lossless and images are not",)
    back = _only(import_lerobot(tmp_path / "out", tmp_path / "back", robot="robot-1"))
    assert_same(path, back, frames=False)
    error = np.abs(read_episode(back).images.astype(int) - images)
    assert error.mean() <= mean
    assert error.max() <= worst


def test_jpeg_in_mcap_stays_within_its_error_and_says_so(tmp_path: Path) -> None:
    images = _smooth()
    attributes = EpisodeAttributes(name="smooth", robot="robot-1", total_duration_s=9.5)
    path = written(Episode(images, np.zeros((4, 3), np.float32), ("start_action",) * 4, attributes), tmp_path)
    exported = export_mcap([path], tmp_path / "out", images="jpeg")
    assert exported.lost == ("exact frames: they are JPEG of quality 90",)
    back = _only(import_mcap(tmp_path / "out", tmp_path / "back", robot="robot-1"))
    assert_same(path, back, frames=False)
    assert np.abs(read_episode(back).images.astype(int) - images).mean() <= 2


def test_two_robots_episodes_of_one_name_are_both_exported(tmp_path: Path) -> None:
    attributes = EpisodeAttributes(name="same", robot="robot-1", total_duration_s=1)
    path = written(Episode(_smooth(1), np.zeros((1, 3), np.float32), ("episode_start",), attributes), tmp_path)
    for export, suffix in ((export_hdf5, ".h5"), (export_mcap, ".mcap"), (export_rerun, ".rrd")):
        out = tmp_path / suffix
        assert export([path, path], out).episodes == 2  # type: ignore[operator]
        assert sorted(file.name for file in out.iterdir()) == [f"same-2{suffix}", f"same{suffix}"]


def test_a_failed_export_leaves_nothing_and_a_full_folder_is_not_touched(tmp_path: Path) -> None:
    attributes = EpisodeAttributes(name="e", robot="robot-1", total_duration_s=1)
    path = written(Episode(_smooth(1), np.zeros((1, 3), np.float32), ("episode_start",), attributes), tmp_path)
    (tmp_path / "bad.h5").write_bytes(b"no episode")
    for export in (export_hdf5, export_mcap, export_rerun, export_lerobot):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(EpisodeError):
            export([path, tmp_path / "bad.h5"], tmp_path / "out")  # type: ignore[operator]
        with pytest.raises(EpisodeError, match="at least one"):
            export([], tmp_path / "out")  # type: ignore[operator]
        with pytest.raises(EpisodeError, match="new folder"):
            export([path], tmp_path)  # type: ignore[operator]
        assert sorted(tmp_path.rglob("*")) == before


def test_frames_of_two_sizes_do_not_fit_one_lerobot_dataset(tmp_path: Path) -> None:
    paths = []
    for width in (32, 64):
        (tmp_path / str(width)).mkdir()
        attributes = EpisodeAttributes(name=f"e{width}", robot="robot-1", total_duration_s=1)
        episode = Episode(_smooth(1, 32, width), np.zeros((1, 3), np.float32), ("episode_start",), attributes)
        paths.append(written(episode, tmp_path / str(width)))
    with pytest.raises(EpisodeError, match="e64: expected 32x32 as the first, got 64x32"):
        export_lerobot(paths, tmp_path / "out")


def test_statistics_are_those_of_every_value(tmp_path: Path) -> None:
    rng, paths, images, actions = np.random.default_rng(3), [], [], []
    for number, count in enumerate((3, 7)):
        (tmp_path / str(number)).mkdir()
        images.append(rng.integers(0, 256, (count, 20, 30, 3), dtype=np.uint8))
        actions.append(rng.normal(size=(count, 3)).astype(np.float32))
        attributes = EpisodeAttributes(name=f"e{number}", total_duration_s=2.0 * count)
        episode = Episode(images[-1], actions[-1], ("start_action",) * count, attributes)
        paths.append(written(episode, tmp_path / str(number)))
    export_lerobot(paths, tmp_path / "out", fps=10)
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())
    every, pixels = np.concatenate(actions).astype(float), np.concatenate(images) / 255
    camera = stats["observation.images.front"]
    for name, figure in (("min", np.min), ("max", np.max), ("mean", np.mean), ("std", np.std)):
        assert np.allclose(stats["action"][name], figure(every, axis=0), atol=1e-7)
        assert np.allclose(np.ravel(camera[name]), figure(pixels, axis=(0, 1, 2)))
    assert (stats["action"]["count"], camera["count"]) == ([10], [10])
    for name, share in (("q01", 0.01), ("q50", 0.5), ("q99", 0.99)):
        assert np.allclose(stats["action"][name], np.quantile(every, share, axis=0), atol=1e-7)
        wanted = np.quantile(pixels, share, axis=(0, 1, 2), method="inverted_cdf")
        assert np.allclose(np.ravel(camera[name]), wanted)
    assert stats["index"]["max"] == [9]
    assert np.allclose(stats["timestamp"]["max"], [0.6])


def test_an_undated_episode_is_exported_from_1970(tmp_path: Path) -> None:
    late = datetime(2300, 1, 1, tzinfo=UTC) + timedelta(days=1)
    attributes = EpisodeAttributes(name="late", robot="robot-1", collected_at=late, total_duration_s=3)
    path = written(Episode(_smooth(2), np.zeros((2, 3), np.float32), EVENTS[:2], attributes), tmp_path)
    export_mcap([path], tmp_path / "out")
    assert_same(path, _only(import_mcap(tmp_path / "out", tmp_path / "back", robot="robot-1")))
