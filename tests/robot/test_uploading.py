"""The uploader against a real gateway and store: what it sends, keeps, deletes and says."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from components.contracts import PartLink, Settings, UploadAnswer, UploadedPart, UploadTicket
from components.contracts.errors import ConfigurationError, EpisodeError, GatewayError, SpoolFullError
from components.episodes import KEYS, EpisodeAttributes
from components.robot import RULES_FILE, Recorder, Spool, Uploader, enrol, open_gateway, upload_folder
from components.robot._sender import checked_ticket
from components.storage import connect, prepare
from infra.local import store_alone
from tests.faults.upload_world import MIB, UploadWorld

SIZE = 200_000


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with store_alone(Settings(home=tmp_path_factory.mktemp("store"))) as settings:
        prepare(connect(settings))
        yield settings


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> UploadWorld:
    return UploadWorld(settings, tmp_path)


@pytest.fixture
def robot(world: UploadWorld, tmp_path: Path) -> Iterator[str]:
    """Enrolled, and its gateway is up."""
    name = f"r-{abs(hash(tmp_path.name)) % 10**9}"
    with world.gateway() as url:
        world.enrol(name, url)
        yield name


def test_an_episode_goes_to_the_inbox_and_stays_until_its_receipt(world: UploadWorld, robot: str) -> None:
    path = world.episode(robot, SIZE)
    data, uploader = path.read_bytes(), world.uploader(robot)
    assert uploader.sync().sent == ["one"]
    ((key, size),) = world.inbox(robot).items()
    assert (world.store.get("inbox", key), size) == (data, SIZE)
    assert uploader.sync().waiting == ["one"]
    assert path.read_bytes() == data
    assert (uploader.spool.status().pending, uploader.spool.status().sent) == (1, 1)
    world.confirm(robot, path)
    assert uploader.sync().confirmed == ["one"]
    assert uploader.spool.pending() == []
    assert (uploader.spool.status().confirmed, uploader.sync().confirmed) == (1, [])


def test_a_receipt_is_enough_even_when_the_inbox_was_emptied(world: UploadWorld, robot: str) -> None:
    world.confirm(robot, world.episode(robot, SIZE), status="quarantined", rule="frame-zero")
    report = world.uploader(robot).sync()
    assert (report.confirmed, report.quarantined, report.sent) == (["one"], {"one": "frame-zero"}, [])
    assert world.inbox(robot) == {}


@pytest.mark.parametrize("document", [b"", b"{}", b"not json", b'{"status": "accepted"}'])
def test_a_receipt_that_is_none_deletes_nothing(world: UploadWorld, robot: str, document: bytes) -> None:
    path = world.episode(robot, SIZE)
    key = world.confirm(robot, path).uri.removeprefix("s3://receipts/")
    world.store.put("receipts", key, document)
    assert world.uploader(robot).sync().sent == ["one"]
    assert path.exists()


def test_a_recording_in_progress_is_not_uploaded(world: UploadWorld, robot: str) -> None:
    import numpy as np

    uploader = world.uploader(robot)
    recorder = Recorder(uploader.spool, robot)
    recorder.start(EpisodeAttributes(name="live"), height=54, width=96)
    recorder.append(np.zeros((54, 96, 3), np.uint8), KEYS["space"], "episode_start")
    assert uploader.sync().sent == []
    recorder.finish()
    assert uploader.sync().sent == ["live"]


def test_a_rule_holds_uploads_back_and_says_why_but_receipts_are_collected(world: UploadWorld, robot: str) -> None:
    path = world.episode(robot, SIZE, "early")
    world.uploader(robot).sync()
    world.episode(robot, SIZE, "late", seed=1)
    world.confirm(robot, path)
    (path.parent / RULES_FILE).write_text("dock_only = true\n")
    (path.parent / "power.json").write_text('{"docked": false}')
    uploader = Uploader(world.spool(robot), world.line(robot))
    report = uploader.sync()
    assert (report.held, report.confirmed) == ({"late": "the robot is not on its dock"}, ["early"])
    (path.parent / "power.json").write_text('{"docked": true}')
    assert uploader.sync().sent == ["late"]


def test_leaving_the_dock_in_mid_upload_stops_after_the_part_in_hand(world: UploadWorld, robot: str) -> None:
    path = world.episode(robot, 11 * MIB)
    power = path.parent / "power.json"
    power.write_text('{"docked": true}')
    uploader = world.uploader(robot, dock_only=True)
    put = uploader._sender._put

    def undock(*arguments: object) -> str | None:
        power.write_text('{"docked": false}')
        return put(*arguments)  # type: ignore[arg-type]

    uploader._sender._put = undock  # type: ignore[method-assign,assignment]
    report = uploader.sync()
    assert (report.held, report.bytes_sent) == ({"one": "the robot is not on its dock"}, 5 * MIB)
    power.write_text('{"docked": true}')
    uploader._sender._put = put  # type: ignore[method-assign]
    report = uploader.sync()
    assert (report.sent, report.bytes_sent) == (["one"], 6 * MIB)


def test_a_file_that_the_platform_would_not_take_is_an_alarm_and_the_others_go(world: UploadWorld, robot: str) -> None:
    large = world.episode(robot, 1, "large")
    with large.open("r+b") as file:
        file.truncate(2**31)  # sparse
    world.episode(robot, SIZE, "small")
    uploader = world.uploader(robot)
    report = uploader.sync()
    assert (report.sent, list(report.failed)) == (["small"], ["large"])
    assert [alarm.kind for alarm in uploader.spool.status().alarms] == ["refused:large"]


def test_the_same_token_again_is_the_same_enrolment_and_another_robots_is_none(
    world: UploadWorld, tmp_path: Path
) -> None:
    from components.ingest import invite_robot

    with world.gateway() as url:
        token = invite_robot(world.store, f"twice-{os.getpid()}")
        first = enrol(f"twice-{os.getpid()}", token, tmp_path / "home", url)
        assert enrol(f"twice-{os.getpid()}", token, tmp_path / "home", url) == first
        assert first.receipt_keys == (world.key.public_key,)
        with pytest.raises(GatewayError, match="bad-token"):
            enrol(f"twice-{os.getpid()}", token, tmp_path / "other", url)
    assert (tmp_path / "home" / "gateway.json").stat().st_mode & 0o077 == 0


def test_a_robot_that_was_not_enrolled_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="drover robot join"):
        open_gateway(tmp_path)
    (tmp_path / "gateway.json").write_text("{")
    with pytest.raises(ConfigurationError, match="enrol the robot again"):
        open_gateway(tmp_path)
    with pytest.raises(ConfigurationError, match="expected a gateway's URL"):
        enrol("robot-1", "t" * 16, tmp_path, "ftp://gateway")


def _answer(*links: PartLink, done: tuple[UploadedPart, ...] = (), part_bytes: int = 10) -> UploadAnswer:
    from datetime import UTC, datetime

    expires = datetime.now(UTC) + timedelta(minutes=1)
    ticket = UploadTicket(upload_id="u", part_bytes=part_bytes, done=done, links=links, expires_at=expires)
    return UploadAnswer(state="open", ticket=ticket)


@pytest.mark.parametrize(
    "answer",
    [
        UploadAnswer(state="open"),
        _answer(PartLink(number=4, size=5, url="http://s3/4")),
        _answer(PartLink(number=1, size=5, url="http://s3/1")),
        _answer(PartLink(number=3, size=10, url="http://s3/3")),
        _answer(PartLink(number=1, size=10, url="http://s3/1"), PartLink(number=1, size=10, url="http://s3/1")),
        _answer(PartLink(number=1, size=10, url="file:///etc/passwd")),
        _answer(PartLink(number=1, size=10, url="http:///nowhere")),
        _answer(PartLink(number=1, size=10, url="http://[")),
        _answer(done=(UploadedPart(number=1, etag="e", size=9),)),
    ],
    ids=["none", "beyond", "short", "long", "twice", "file", "no host", "no url", "other part"],
)
def test_a_senseless_ticket_sends_nothing(answer: UploadAnswer) -> None:
    with pytest.raises(GatewayError, match="nothing was sent"):
        checked_ticket(answer, 25)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with three episodes."""
    folder = tmp_path / "source"
    folder.mkdir()
    for index in range(3):
        (folder / f"episode-{index}.h5").write_bytes(os.urandom(50_000))
    return folder


def test_a_users_folder_is_sent_and_never_touched(folder: Path, world: UploadWorld, robot: str) -> None:
    before = {path: path.read_bytes() for path in folder.glob("*.h5")}
    uploader = world.uploader(robot)
    assert upload_folder(folder, uploader).sent == ["episode-0", "episode-1", "episode-2"]
    for path in before:
        world.confirm(robot, path)
    assert len(upload_folder(folder, uploader).confirmed) == 3
    assert uploader.spool.pending() == []
    again = upload_folder(folder, uploader)
    assert (len(again.confirmed), again.sent, again.failed) == (3, [], {})
    assert {path: path.read_bytes() for path in folder.glob("*.h5")} == before


def test_a_folder_that_is_none_or_empty_is_named(tmp_path: Path, world: UploadWorld, robot: str) -> None:
    uploader, empty = world.uploader(robot), tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no episode")
    with pytest.raises(ConfigurationError, match=r"empty: expected episode files \(\*\.h5\), found none"):
        upload_folder(empty, uploader)
    with pytest.raises(ConfigurationError, match="expected a folder of episode files, found nothing"):
        upload_folder(tmp_path / "nowhere", uploader)
    with pytest.raises(ConfigurationError, match="found a file"):
        upload_folder(empty / "notes.txt", uploader)


def test_a_file_with_an_impossible_name_is_reported_and_the_others_go(
    folder: Path, world: UploadWorld, robot: str
) -> None:
    (folder / "bad name!.h5").write_bytes(b"x")
    report = upload_folder(folder, world.uploader(robot))
    assert len(report.sent) == 3
    assert "rename the file" in report.failed["bad name!"]


def test_a_folder_that_does_not_fit_says_what_was_left(
    folder: Path, tmp_path: Path, world: UploadWorld, robot: str
) -> None:
    small = Uploader(Spool(tmp_path / "small", capacity_bytes=125_000), world.line(robot))
    report = upload_folder(folder, small)
    assert report.sent == ["episode-0", "episode-1"]
    assert "nothing was deleted" in report.failed["episode-2"]
    tiny = Uploader(Spool(tmp_path / "tiny", capacity_bytes=25_000), world.line(robot))
    with pytest.raises(SpoolFullError):
        upload_folder(folder, tiny)


def test_the_same_name_with_other_bytes_does_not_replace_what_waits(folder: Path, world: UploadWorld) -> None:
    kept, spool = world.episode("here", SIZE, "episode-0"), world.spool("here")
    before = kept.read_bytes()
    with pytest.raises(EpisodeError) as caught:
        spool.add(folder / "episode-0.h5")
    assert caught.value.rule == "exists"
    assert kept.read_bytes() == before
    assert spool.add(folder / "episode-1.h5") == spool.add(folder / "episode-1.h5")


def test_what_earlier_versions_and_cut_off_copies_left_is_cleared(folder: Path, world: UploadWorld) -> None:
    path, spool = world.episode("here", SIZE), world.spool("here")
    (spool.folder / "one.h5.sent").write_text("0" * 64)
    (spool.folder / "episode-0.h5.copy").write_bytes(b"half")
    spool.recover()
    assert (spool.used_bytes, spool.pending()) == (SIZE, [path])
    assert spool.add(folder / "episode-0.h5").read_bytes() == (folder / "episode-0.h5").read_bytes()
