"""The simulated fleet, with the robots' own recorder, spool and uploader, in processes of their own."""

import hashlib
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from components.contracts import Settings
from components.contracts.errors import DroverError, EpisodeError
from components.episodes import KEYS, content_digest, key_of, parse_name, read_episode
from components.ingest import enrol_here
from components.robot import Recorder, Spool, Uploader, open_gateway
from components.simulation import (
    RENDERER,
    Demonstration,
    FleetEvent,
    FleetReport,
    plan_fleet,
    plant_bad_episodes,
    simulate_fleet,
    write_bad_episodes,
)
from components.simulation._fleet import attributes_of
from components.storage import S3Store, connect, prepare
from infra.local import store_alone
from tests.faults.upload_world import UploadWorld

pytestmark = pytest.mark.long

_SIZE = {"width": 160, "height": 90}


@contextmanager
def _platform(root: Path) -> Iterator[tuple[S3Store, Settings]]:
    """A store and a gateway."""
    with store_alone(Settings(home=root / "home")) as settings:
        prepare(connect(settings))
        world = UploadWorld(settings, root)
        with world.gateway() as url:
            yield world.store, settings.model_copy(update={"gateway_url": url})


def _simulate(root: Path, **options: object) -> tuple[FleetReport, list[FleetEvent], dict[str, str]]:
    """What it said, and what is in the inbox: key -> SHA-256."""
    events: list[FleetEvent] = []
    with _platform(root) as (store, settings):
        report = simulate_fleet(
            partial(enrol_here, store, settings), root / "spools", robots=2, episodes=8, **_SIZE,
            progress=events.append, **options,
        )  # type: ignore[arg-type]  # fmt: skip
        inbox = {info.key: hashlib.sha256(store.get("inbox", info.key)).hexdigest() for info in store.list("inbox")}
    return report, events, inbox


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, FleetReport, list[FleetEvent], dict[str, str]]:
    root = tmp_path_factory.mktemp("fleet")
    return root, *_simulate(root)


def test_a_fleet_records_and_uploads_everything_planned(
    fleet: tuple[Path, FleetReport, list[FleetEvent], dict[str, str]],
) -> None:
    root, report, events, inbox = fleet
    planned = {item.name: item.robot for item in plan_fleet(2, 8)}

    assert set(report.recorded) == set(report.uploaded) == set(planned)
    assert not report.failed
    assert Counter(event.kind for event in events) == {"frame": 144, "recorded": 8, "uploaded": 8}
    found = {Path(key).stem: Path(key).parts for key in inbox}
    assert {name: parts[0] for name, parts in found.items()} == planned
    for name, (robot, sha256, _) in found.items():
        assert hashlib.sha256((root / "spools" / robot / f"{name}.h5").read_bytes()).hexdigest() == sha256
        assert inbox[f"{robot}/{sha256}/{name}.h5"] == sha256


def test_a_second_fleet_writes_the_same_bytes_and_a_second_run_records_nothing(
    fleet: tuple[Path, FleetReport, list[FleetEvent], dict[str, str]], tmp_path: Path
) -> None:
    _, first, _, inbox = fleet
    other, _, others = _simulate(tmp_path)
    again, _, _ = _simulate(tmp_path)

    assert others == inbox
    assert sorted(other.recorded) == sorted(first.recorded)
    assert (again.recorded, len(again.skipped)) == ([], 8)


def test_a_robot_that_is_killed_is_told_of_and_the_next_run_goes_on(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(event: FleetEvent) -> None:
        if event.kind == "recorded" and not killed:
            killed.extend(
                child.pid for child in multiprocessing.active_children() if child.name == event.robot and child.pid
            )
            os.kill(killed[0], signal.SIGKILL)

    spools = tmp_path / "spools"
    with _platform(tmp_path) as (store, settings):
        enrol = partial(enrol_here, store, settings)
        with pytest.raises(DroverError, match=r"robot-\d ended with exit code -9; what they recorded is kept"):
            simulate_fleet(enrol, spools, robots=2, episodes=8, **_SIZE, progress=kill)
        report = simulate_fleet(enrol, spools, robots=2, episodes=8, **_SIZE)
        inbox = list(store.list("inbox"))

    assert set(report.recorded) | set(report.skipped) == {item.name for item in plan_fleet(2, 8)}
    assert len(inbox) == 8


def test_a_recorded_file_is_what_robots_write(tmp_path: Path) -> None:
    planned = plan_fleet(4, 96)[2]
    drive = Demonstration(planned.scenario())
    spool = Spool(tmp_path)
    recorder = Recorder(spool, planned.robot)
    recorder.start(attributes_of(planned))
    for frame in drive:
        recorder.append(frame.image, frame.action, frame.event, elapsed_s=frame.elapsed_s)
    path = recorder.finish()

    assert drive.outcome.success
    with h5py.File(path) as file:
        assert set(file) == {"images", "actions", "action_event_types"}
        assert (file["images"].shape, file["images"].dtype, file["images"].compression) == (
            (18, 720, 1280, 3), np.uint8, "gzip",
        )  # fmt: skip
        assert (file["actions"].shape, file["actions"].dtype, file["actions"].compression) == ((18, 3), "f4", "gzip")
        events = file["action_event_types"].asstr()[...].tolist()
        attributes = dict(file.attrs)
    assert events[0] == "episode_start"
    assert set(events[1:]) <= {"start_action", "stop_action"}
    assert attributes["episode_name"] == path.stem == planned.name
    assert (attributes["num_frames"], attributes["action_chunk_size"]) == (18, 8)
    assert 25 <= attributes["total_duration"] <= 96
    assert (attributes["source"], attributes["renderer"], attributes["colour_order"]) == ("simulated", RENDERER, "bgr")
    episode = read_episode(path)
    assert not episode.actions[0].any()
    assert all(key_of(action) for action in episode.actions)
    assert [event == "stop_action" for event in episode.events[1:]] == [
        bool((action == KEYS["space"]).all()) for action in episode.actions[1:]
    ]


def test_five_bad_episodes_are_bad_each_in_its_way(tmp_path: Path) -> None:
    original = plan_fleet(4, 96)[0]
    frames = list(Demonstration(original.scenario(), **_SIZE))
    files = write_bad_episodes(tmp_path, original, **_SIZE)

    with pytest.raises(EpisodeError, match="truncated"):
        read_episode(files["truncated"])
    with pytest.raises(EpisodeError, match="expected images of"):
        read_episode(files["wrong-shape"])
    assert np.isnan(read_episode(files["nan-action"]).actions).sum() == 1
    duplicate = read_episode(files["duplicate"])
    assert content_digest(duplicate.images, duplicate.actions) == content_digest(
        np.stack([frame.image for frame in frames]), np.stack([frame.action for frame in frames])
    )
    with h5py.File(files["external-link"]) as file:
        assert isinstance(file.get("images", getlink=True), h5py.ExternalLink)
    assert all(parse_name(path.name).scenario == original.scenario_name for path in files.values())


def test_bad_episodes_are_uploaded_as_any_others(tmp_path: Path) -> None:
    with _platform(tmp_path) as (store, settings):
        enrol_here(store, settings, "robot-1", tmp_path / "agent")
        uploader = Uploader(Spool(tmp_path / "spool"), open_gateway(tmp_path / "agent"))
        names, report = plant_bad_episodes(uploader, **_SIZE)
        inbox = list(store.list("inbox", "robot-1/"))

    assert sorted(report.sent) == sorted(names.values())
    assert len(inbox) == 5


@pytest.mark.parametrize("seed", range(40))
def test_operators_take_as_long_as_the_real_ones(seed: int) -> None:
    times = Demonstration(plan_fleet(1, 1, seed=seed)[0].scenario(), width=16, height=9).elapsed_s

    assert len(times) == 18
    assert 25 <= times[-1] <= 96
    assert (np.diff(times) > 0.5).all()
