"""Rows 32 to 35, 39 and 43, from the robot's side: whatever breaks, an episode arrives once and is never lost.

The gateway and the object store are real; what breaks is a connection, a process, a clock or a file.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from components.contracts import Settings
from components.contracts.errors import SpoolFullError
from components.episodes import KEYS, EpisodeAttributes
from components.ingest import ReceiptKey, revoke_robot
from components.robot import Recorder, Spool
from components.storage import connect, prepare
from infra.local import store_alone
from tests.faults.fleet_world import in_child, kill_me, kill_me_at
from tests.faults.upload_world import MIB, UploadWorld, inbox_key

SIZE = 11 * MIB + 12_345
"""Two parts of 5 MiB, and one of a little over 1."""
PARTS = 3


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with store_alone(Settings(home=tmp_path_factory.mktemp("store"))) as settings:
        prepare(connect(settings))
        yield settings


@pytest.fixture
def world(settings: Settings, tmp_path: Path) -> UploadWorld:
    return UploadWorld(settings, tmp_path)


@pytest.fixture
def robot(tmp_path: Path) -> str:
    """A name of its own for each test: they share a store."""
    return f"r-{abs(hash(tmp_path.name)) % 10**9}"


def _arrived_once(world: UploadWorld, robot: str, path: Path) -> None:
    """One object, byte for byte, and nothing left open."""
    key = inbox_key(robot, path)
    assert world.inbox(robot) == {key: path.stat().st_size}
    assert world.store.get("inbox", key) == path.read_bytes()
    assert world.open_uploads(key) == 0


def test_row_32_upload_killed_at_every_part_resumes_and_is_one_episode(world: UploadWorld, robot: str) -> None:
    path = world.episode(robot, SIZE)
    with world.through_bad_network() as (url, network):
        world.enrol(robot, url)

        def die_before_part(number: int) -> None:
            uploader = world.uploader(robot)
            put, seen = uploader._sender._put, 0

            def watched(*arguments: object) -> str | None:
                nonlocal seen
                seen += 1
                if seen == number:
                    kill_me()
                return put(*arguments)  # type: ignore[arg-type]

            uploader._sender._put = watched  # type: ignore[method-assign,assignment]
            uploader.sync()

        for _ in range(PARTS):  # each life sends one part and dies at the next
            assert in_child(lambda: die_before_part(2)) == (-signal.SIGKILL if world.inbox(robot) == {} else 0)
        report = world.uploader(robot).sync()
    assert report.sent + report.waiting == ["one"]
    _arrived_once(world, robot, path)
    assert network.bytes["up"] < SIZE * 1.05  # every part went up once


def test_row_32_robot_killed_before_any_touch_of_its_disk_ends_well(world: UploadWorld, robot: str) -> None:
    with world.gateway() as url:
        world.enrol(robot, url)
        for number in range(1, 100):
            name = f"episode-{number}"
            path = world.episode(robot, 50_000, name, number)
            data = path.read_bytes()

            def live(number: int = number, path: Path = path) -> None:
                uploader = world.uploader(robot)
                kill_me_at(number)
                uploader.sync()
                world.confirm(robot, path)
                uploader.sync()

            def come_back(number: int = number, path: Path = path, name: str = name, data: bytes = data) -> None:
                if path.exists():
                    assert path.read_bytes() == data
                    world.confirm(robot, path)
                    assert world.uploader(robot).sync().confirmed == [name]
                status = world.spool(robot).status()
                assert (status.confirmed, status.pending, status.alarms) == (number, 0, ())

            code = in_child(live)
            assert in_child(come_back) == 0  # a process of its own: SQLite's files must not be open across a fork
            if code == 0:
                break
            assert code == -signal.SIGKILL
    assert number > 5


UPLOAD = """
import sys
from pathlib import Path
from components.robot import Spool, Uploader, open_gateway
spool = Spool(Path(sys.argv[1]))
print("begun", flush=True)
Uploader(spool, open_gateway(Path(sys.argv[1]) / "agent", patience=1.0)).sync()
"""


@pytest.mark.parametrize("mib", [0, 2, 5.1, 7, 10.1])
def test_row_32_upload_killed_after_any_number_of_bytes_resumes(world: UploadWorld, robot: str, mib: float) -> None:
    path = world.episode(robot, SIZE)
    with world.through_bad_network() as (url, network):
        world.enrol(robot, url)
        process = subprocess.Popen([sys.executable, "-c", UPLOAD, str(path.parent)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        whole = int(mib / 5)  # parts; on a full machine one may go up twice before the store has it
        while (network.bytes["up"] < mib * MIB or world.parts_held(robot, path) < whole) and process.poll() is None:
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        report = world.uploader(robot).sync()
    assert report.sent + report.waiting == ["one"]
    _arrived_once(world, robot, path)
    assert report.bytes_sent <= SIZE - whole * 5 * MIB


def test_row_32_network_that_drops_every_8_mb_costs_half_a_part_each_time(world: UploadWorld, robot: str) -> None:
    size = 40 * MIB
    path = world.episode(robot, size)
    with world.through_bad_network() as (url, network):
        world.enrol(robot, url)
        network.cut_after = 8_000_000
        report = world.uploader(robot).sync()
    assert report.sent == ["one"]
    _arrived_once(world, robot, path)
    assert network.cuts >= 4
    assert network.bytes["up"] <= 1.6 * size  # what a part of 5 MiB and a cut every 8 MB allow; see docs/robots.md


def test_network_that_never_carries_a_part_is_an_alarm_and_ends_the_pass(world: UploadWorld, robot: str) -> None:
    path = world.episode(robot, SIZE)
    with world.through_bad_network() as (url, network):
        world.enrol(robot, url)
        network.cut_after = 1_000_000
        uploader = world.uploader(robot)
        report = uploader.sync()
        assert "is the network too weak?" in report.failed["one"]
        assert [alarm.kind for alarm in uploader.spool.status().alarms] == ["gateway"]
        assert network.cuts < 20
        network.cut_after = None
        assert uploader.sync().sent == ["one"]
        assert uploader.spool.status().alarms == ()
    _arrived_once(world, robot, path)


def test_row_33_one_episode_uploaded_ten_times_is_one_episode(world: UploadWorld, robot: str) -> None:
    path = world.episode(robot, SIZE)
    with world.through_bad_network() as (url, _):
        world.enrol(robot, url)
        children = [_fork(lambda: world.uploader(robot).sync()) for _ in range(5)]
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 5
        reports = [world.uploader(robot).sync() for _ in range(5)]
    assert [report.waiting for report in reports] == [["one"]] * 5
    _arrived_once(world, robot, path)


def test_row_34_answer_to_the_last_request_is_lost_and_nothing_is_sent_twice(world: UploadWorld, robot: str) -> None:
    path = world.episode(robot, 3 * MIB)
    with world.through_bad_network() as (url, network):
        world.enrol(robot, url)
        network.cut_answers = 1  # of the only part: the store has it, the robot does not know
        report = world.uploader(robot).sync()
    assert (report.sent, report.bytes_sent) == (["one"], 3 * MIB)
    _arrived_once(world, robot, path)


def test_row_34_lost_receipt_keeps_the_copy_and_is_given_again(world: UploadWorld, robot: str) -> None:
    path = world.episode(robot, MIB)
    with world.gateway() as url:
        world.enrol(robot, url)
        assert world.uploader(robot).sync().sent == ["one"]
        key = world.confirm(robot, path).uri.removeprefix("s3://receipts/")
        kept = world.store.get("receipts", key)
        world.store.remove("receipts", key)
        assert world.uploader(robot).sync().waiting == ["one"]
        assert path.exists()
        world.store.put("receipts", key, kept)
        report = world.uploader(robot).sync()
    assert (report.confirmed, report.bytes_sent) == (["one"], 0)
    assert not path.exists()


def test_row_34_upload_lost_by_the_store_is_sent_again(world: UploadWorld, robot: str) -> None:
    path = world.episode(robot, MIB)
    with world.gateway() as url:
        world.enrol(robot, url)
        assert world.uploader(robot).sync().sent == ["one"]
        (key,) = world.inbox(robot)
        world.store.remove("inbox", key)
        assert world.uploader(robot).sync().sent == ["one"]
    _arrived_once(world, robot, path)


def test_robot_killed_between_proof_and_deletion_deletes_later_without_a_network(
    world: UploadWorld, robot: str
) -> None:
    path = world.episode(robot, MIB)
    with world.gateway() as url:
        world.enrol(robot, url)
        world.uploader(robot).sync()
        world.confirm(robot, path)

        def die_instead_of_deleting() -> None:
            sys.addaudithook(lambda event, _arguments: kill_me() if event == "os.remove" else None)
            world.uploader(robot).sync()

        assert in_child(die_instead_of_deleting) == -signal.SIGKILL
    assert path.exists()
    report = world.uploader(robot).sync()
    assert (report.confirmed, report.failed) == (["one"], {})
    assert not path.exists()


def test_row_35_full_spool_refuses_to_record_deletes_nothing_and_empties_by_uploading(
    world: UploadWorld, robot: str
) -> None:
    paths = [world.episode(robot, MIB, f"episode-{index}", index) for index in range(3)]
    full = Spool(world.root / robot, capacity_bytes=3 * MIB)
    recorder = Recorder(full, robot)
    with pytest.raises(SpoolFullError, match="nothing was deleted"):
        recorder.start(EpisodeAttributes(name="new"), height=54, width=96)
    assert [alarm.kind for alarm in full.status().alarms] == ["spool-full"]
    assert full.pending() == paths
    with world.gateway() as url:
        world.enrol(robot, url)
        assert len(world.uploader(robot).sync().sent) == 3
        assert full.pending() == paths
        world.confirm(robot, paths[0])
        assert world.uploader(robot).sync().confirmed == ["episode-0"]
    assert full.status().alarms == ()
    recorder.start(EpisodeAttributes(name="new"), height=54, width=96)
    recorder.append(np.zeros((54, 96, 3), np.uint8), KEYS["space"], "episode_start")
    assert recorder.finish().exists()


def test_row_39_links_that_expire_in_mid_upload_are_renewed(world: UploadWorld, robot: str) -> None:
    path = world.episode(robot, SIZE)
    with world.through_bad_network(link_life=timedelta(seconds=2)) as (url, network):
        world.enrol(robot, url)
        uploader = world.uploader(robot, bandwidth_kib_s=3072)  # three parts in four seconds
        report = uploader.sync()
    assert report.sent == ["one"]
    _arrived_once(world, robot, path)
    assert report.bytes_sent > SIZE or network.bytes["up"] > SIZE  # a link did expire


def test_row_43_store_that_is_down_for_a_while_costs_nothing_but_time(world: UploadWorld, robot: str) -> None:
    path = world.episode(robot, SIZE)
    with world.through_bad_network() as (url, network):
        world.enrol(robot, url)
        network.down_after_cuts, network.cut_after = 1, 6 * MIB
        uploader = world.uploader(robot)
        assert list(uploader.sync().failed) == ["one"]
        assert world.inbox(robot) == {}
        assert path.exists()
        network.down_after_cuts, network.cut_after, network.down = None, None, False
        report = uploader.sync()
    assert report.sent == ["one"]
    assert report.bytes_sent == SIZE - 5 * MIB  # the first part was there
    _arrived_once(world, robot, path)


def test_gateway_that_is_away_ends_the_pass_and_keeps_everything(world: UploadWorld, robot: str) -> None:
    paths = [world.episode(robot, 100_000, f"episode-{index}", index) for index in range(5)]
    with world.gateway() as url:
        world.enrol(robot, url)
        uploader = world.uploader(robot)
    report = uploader.sync()
    assert sorted(report.failed) == [path.stem for path in paths]
    assert "not tried" in report.failed["episode-4"]
    assert uploader.spool.pending() == paths
    assert [alarm.kind for alarm in uploader.spool.status().alarms] == ["gateway"]


@pytest.mark.parametrize("year", [1970, 2045])
def test_robot_whose_clock_is_wrong_uploads_all_the_same(world: UploadWorld, robot: str, year: int) -> None:
    path = world.episode(robot, MIB)
    wrong = datetime(year, 1, 1, tzinfo=UTC)
    with world.gateway() as url:
        world.enrol(robot, url)
        uploader = world.uploader(robot, clock=lambda: wrong)
        assert uploader.sync().sent == ["one"]
        world.confirm(robot, path)
        assert uploader.sync().confirmed == ["one"]
        assert abs(uploader._gateway.now() - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "changes",
    [{"robot": "robot-2"}, {"sha256": "0" * 64}, {"size": 3}],
    ids=["for another robot", "for other bytes", "for another size"],
)
def test_signed_receipt_for_anything_else_deletes_nothing(
    world: UploadWorld, robot: str, changes: dict[str, object]
) -> None:
    path = world.episode(robot, 1000)
    with world.gateway() as url:
        world.enrol(robot, url)
        world.confirm(robot, path, **changes)
        report = world.uploader(robot).sync()
    assert report.confirmed == []
    assert path.exists()


def test_forged_or_altered_receipt_deletes_nothing_and_is_an_alarm(world: UploadWorld, robot: str) -> None:
    path = world.episode(robot, 1000)
    thief = ReceiptKey(world.root / "thief.pem")
    with world.gateway() as url:
        world.enrol(robot, url)
        uploader = world.uploader(robot)
        key = world.confirm(robot, path, key=thief).uri.removeprefix("s3://receipts/")
        assert "a key that this robot was not told of" in uploader.sync().failed["one"]
        world.confirm(robot, path)
        altered = json.loads(world.store.get("receipts", key))
        altered["receipt"]["status"] = "quarantined"
        world.store.put("receipts", key, json.dumps(altered).encode())
        assert "not of these words" in uploader.sync().failed["one"]
        assert path.exists()
        assert [alarm.kind for alarm in uploader.spool.status().alarms] == ["receipt:one"]
        world.confirm(robot, path)
        assert uploader.sync().confirmed == ["one"]
        assert uploader.spool.status().alarms == ()


def test_file_that_changed_after_it_was_hashed_is_not_deleted_on_the_old_receipt(
    world: UploadWorld, robot: str
) -> None:
    path = world.episode(robot, 1000)
    with world.gateway() as url:
        world.enrol(robot, url)
        uploader = world.uploader(robot)
        uploader.sync()
        world.confirm(robot, path)
        stamp = path.stat()
        path.write_bytes(path.read_bytes()[:-1] + b"!")  # a disk's fault: the same size, the same time
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert "changed since it was hashed" in uploader.sync().failed["one"]
        assert path.exists()
        assert uploader.sync().sent == ["one"]


def test_row_40_revoked_robot_uploads_nothing_more_and_keeps_everything(world: UploadWorld, robot: str) -> None:
    path = world.episode(robot, 1000)
    with world.gateway() as url:
        world.enrol(robot, url)
        revoke_robot(world.store, robot)
        uploader = world.uploader(robot)
        assert "revoked" in uploader.sync().failed["one"]
        assert world.inbox(robot) == {}
        assert path.exists()


def _fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  # the parent is told by the status
            os._exit(1)
        os._exit(0)
    return child
