"""Errors that nobody expects: the agent's and the uploader's loops go on, with one alarm and longer waits."""

import json
import resource
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import TargetFile

from components.contracts import Assignment, RobotReport, Settings, UploadRequest
from components.contracts.errors import ConfigurationError, InvalidDocumentError
from components.promotion._metadata import View, sign
from components.robot import Gateway, GatewayPin, RobotIdentity, Spool, TrialResult, Uploader, UploadRules, run_uploader
from components.robot._journal import Journal
from components.robot._loop import MAX_WAIT_S, keep_running, wait_after
from components.robot._service import run_agent
from components.storage import S3Store, connect, prepare
from infra.local import store_alone
from tests.faults.fleet_world import LightBench, World, in_child
from tests.faults.portals import portal
from tests.keys import public_key

DEEP = b"[" * 60_000
ODD = {
    "a seq beyond 64 bits": b'{"robot":"robot-1","deployment":"d","release":"r2","number":2,"seq":%d,"floor":0}'
    % 2**64,
    "a seq beyond 2**53": b'{"robot":"robot-1","deployment":"d","release":"r2","number":2,"seq":%d,"floor":0}' % 2**53,
    "a floor beyond 64 bits": b'{"robot":"robot-1","deployment":"d","release":"r2","number":2,"seq":2,"floor":%d}'
    % 2**70,
    "trials without end": b'{"robot":"robot-1","deployment":"d","release":"r2","number":2,"seq":2,"floor":0,'
    b'"trials":%d}' % 2**64,
    "a number of 5000 digits": b'{"robot":"robot-1","deployment":"d","release":"r2","number":2,"seq":1%s,"floor":0}'
    % (b"0" * 5000),
    "deep JSON": DEEP,
    "no UTF-8": b'{"robot":"\xff"}',
    "a lone surrogate": b'{"robot":"robot-1","deployment":"\\ud800","release":"r2","number":2,"seq":2,"floor":0}',
    "a NUL": b'{"robot":"robot-1","deployment":"d","release":"r\\u0000","number":2,"seq":2,"floor":0}',
    "a list": b"[]",
    "nothing": b"",
}
NAMES = [
    "nul\0.onnx",
    "line\n.onnx",
    "../up.onnx",
    "a/b.onnx",
    ".onnx",
    "x" * 300 + ".onnx",
    "\ud7ff.onnx",
    "encode.onnx\n",
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Robot-1 drives r1; r2 is signed."""
    world = World(tmp_path)
    world.assign(world.release("r1", tag="one"))
    assert world.tick() == "r1"
    world.release("r2", tag="two")
    return world


def sign_target(world: World, role: str, path: str, data: bytes) -> None:
    """Publish bytes as a signed target, as a faulty publisher would."""

    def change(view: View) -> set[str]:
        world.repository._put_target(view.roles[role], path, data)
        return {role}

    world.repository.metadata.commit(change)


@pytest.mark.parametrize("kind", ODD)
def test_odd_signed_assignment_is_refused_with_one_alarm_and_a_good_one_follows(world: World, kind: str) -> None:
    sign_target(world, "director", "assign/robot-1.json", ODD[kind])
    for _ in range(3):
        assert world.tick() == "r1"
    alarms = [report["reason"] for report in world.reports() if report["reason"].startswith("alarm")]
    assert len(alarms) == 1
    assert alarms[0].startswith("alarm: metadata")
    good = Assignment(robot="robot-1", deployment="d", release="r2", number=2, seq=2, floor=0)
    sign_target(world, "director", "assign/robot-1.json", good.canonical_json())
    assert world.tick() == "r2"


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_signed_file_name_that_no_disk_should_see_is_refused(world: World, name: str) -> None:
    def change(view: View) -> set[str]:
        view.roles["releases"].targets[f"releases/r2/{name}"] = TargetFile.from_data("x", b"x", ["sha256"])
        return {"releases"}

    world.repository.metadata.commit(change)
    world.assign(world.repository.releases()[-1])
    before = sorted(world.root.rglob("*.onnx*"))
    assert world.tick() == "r1"
    assert "alarm: metadata" in world.reports()[-1]["reason"]
    assert sorted(world.root.rglob("*.onnx*")) == before


@pytest.mark.parametrize("version", [2**53, 2**64, 10**100])
def test_metadata_version_beyond_any_database_is_refused(world: World, version: int) -> None:
    view = world.repository.metadata.load()
    signers = world.repository.metadata._signers(view, set())
    view.timestamp.version = version
    world.metadata("timestamp.json").write_bytes(sign(view.timestamp, signers["timestamp"]).to_bytes())
    assert world.tick() == "r1"
    assert world.tick() == "r1"
    alarms = [report["reason"] for report in world.reports() if report["reason"].startswith("alarm")]
    assert len(alarms) == 1
    assert alarms[0].startswith("alarm: metadata")


@pytest.mark.parametrize("field", ["seq", "count", "trials", "successes"])
@pytest.mark.parametrize("value", [-1, 2**53, 2**64])
def test_numbers_in_reports_are_bounded(field: str, value: int) -> None:
    report = RobotReport(
        robot="robot-1", sent_at=datetime(2026, 1, 1, tzinfo=UTC), deployment=None, release=None, attempted=None, seq=0,
        state="IDLE", reason="", trials=0, successes=0, p50_ms=None, p99_ms=None, provider=None,
    )  # fmt: skip
    document = json.dumps(report.model_dump(mode="json") | {field: value})
    with pytest.raises(InvalidDocumentError, match=field):
        RobotReport.parse(document, source="test")


# the agent's loop


class BrokenBench(LightBench):
    def build(self, package: Path) -> None:
        raise RecursionError("nobody expected this")


def odd_trials(package: Path, *, trials: int, seed: int, sha256: str) -> Iterator[TrialResult]:
    raise LookupError("a driver's own fault")


def test_step_that_fails_for_ever_is_left_so_that_another_assignment_ends_it(world: World) -> None:
    world.assign(world.repository.releases()[-1])
    with world.agent(bench=BrokenBench()) as agent, pytest.raises(RecursionError):
        agent.tick()
    assert world.drives() == "r1"
    world.assign(world.release("r3", tag="three"))
    assert world.tick() == "r3"


def test_trial_driver_that_raises_anything_counts_as_failing_and_is_rolled_back(world: World) -> None:
    world.assign(world.repository.releases()[-1])
    assert world.tick(trials=odd_trials) == "r1"
    assert world.reports()[-1]["state"] == "QUARANTINE"


def test_alarms_of_several_kinds_are_reported_once_each(world: World) -> None:
    with world.agent() as agent:
        for _ in range(3):
            agent.alarm("tick", "one")
            agent.alarm("work:disk", "two")
        agent.over("work:")
        agent.alarm("work:disk", "again")
        agent.alarm("tick", "still")
        agent.send_reports()
    said = [report["reason"] for report in world.reports() if report["reason"].startswith("alarm")]
    assert said == ["alarm: tick: one", "alarm: disk: two", "alarm: disk: again"]


def test_disk_that_takes_no_download_is_one_alarm_and_the_robot_drives_on(world: World) -> None:
    world.assign(world.release("large", tag="large", size=3_000_000))

    def with_small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
        for _ in range(3):
            assert world.tick() == "r1"

    assert in_child(with_small_files_only) == 0
    said = [report["reason"] for report in world.reports() if report["reason"].startswith("alarm")]
    assert len(said) == 1
    assert said[0].startswith("alarm: disk")
    assert world.tick() == "large"


def test_failing_rounds_wait_longer_each_time_and_a_good_one_resets_it() -> None:
    rounds: list[int] = []
    waits: list[float] = []
    noted: list[Exception] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return len(waits) == 6

    def step() -> None:
        rounds.append(1)
        if len(rounds) != 4:
            raise OverflowError(len(rounds))

    def failed(error: Exception) -> None:
        noted.append(error)
        raise ValueError("not even that")

    keep_running(step, stop=Stop(), poll_s=1.0, failed=failed)
    assert len(rounds) == 6
    assert len(noted) == 5
    assert waits[3] == 1.0
    assert 1.0 <= waits[0] <= 2.0 <= waits[1] <= 4.0 <= waits[2] <= 8.0
    assert 1.0 <= waits[4] <= 2.0
    assert wait_after(10_000, 1.0) <= MAX_WAIT_S


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with store_alone(Settings(home=tmp_path_factory.mktemp("store"))) as settings:
        prepare(connect(settings))
        yield settings


def drive(package: Path, *, trials: int, seed: int, sha256: str) -> Iterator[TrialResult]:
    yield from ()


def test_agents_loop_survives_a_broken_journal_and_an_odd_store_until_it_is_stopped(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The whole loop in a thread, against a server that answers oddly; then the journal's table is gone."""
    world = World(tmp_path)
    home, stop = world.home("robot-1"), threading.Event()
    with portal("s3-like odd length") as found:
        own = Settings(
            home=tmp_path / "home", s3_endpoint=found.address, robot_s3_key="key", robot_s3_secret="secret",
        )  # fmt: skip
        ended: list[object] = []
        target = f"{__name__}:drive"

        def work() -> None:
            ended.append(run_agent(own, "robot-1", home, trial_driver=target, poll_s=0.05, stop=stop))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        wait_for(lambda: len(found.requests) > 2)
        with sqlite3.connect(home / "journal.db", timeout=30) as db:
            db.execute("DROP TABLE facts")
        db.close()
        wait_for(lambda: "the agent could not be opened" in caplog.text)
        before = len(found.requests)
        wait_for(lambda: len(found.requests) > before + 1)
        assert thread.is_alive()
        stop.set()
        thread.join(60)
    assert ended == ["IDLE"]


def wait_for(condition: Any) -> None:
    pause = threading.Event()
    while not condition():  # the test's own timeout ends it
        pause.wait(0.05)


def test_agent_that_is_not_enrolled_ends_at_once(tmp_path: Path) -> None:
    own = Settings(home=tmp_path, s3_endpoint="127.0.0.1:1", robot_s3_key="key", robot_s3_secret="secret")
    with pytest.raises(ConfigurationError, match="expected the key of robot-1"):
        run_agent(own, "robot-1", tmp_path, trial_driver=f"{__name__}:drive", once=False, poll_s=0.01)


def test_journal_of_an_earlier_version_keeps_its_alarm_quiet_or_says_it_once_more(world: World) -> None:
    with sqlite3.connect(world.home("robot-1") / "journal.db") as db:
        db.execute("INSERT OR REPLACE INTO facts VALUES ('alarm', 'disk')")
    db.close()
    journal = Journal(world.home("robot-1") / "journal.db")
    assert journal.alarms() == frozenset()
    journal.close()
    assert world.tick() == "r1"


# the uploader's loop


def uploader_at(url: str, folder: Path) -> Uploader:
    pin = GatewayPin(robot="robot-1", url=url, receipt_keys=(public_key(),))
    gateway = Gateway(pin, RobotIdentity(folder / "agent"), patience=0.01)
    return Uploader(Spool(folder / "spool"), gateway, rules=UploadRules())


@pytest.mark.parametrize("name", ["line\nbreak", "x" * 200, "späße", "a b", "-rf", "\x1b[31m"])
def test_oddly_named_file_in_the_spool_stops_no_other_upload(tmp_path: Path, name: str) -> None:
    with portal("json") as found:
        found.answer = (200, {"Content-Type": "application/json"}, b'{"state":"waiting","ticket":null,"receipt":null}')
        uploader = uploader_at(f"http://{found.address}", tmp_path)
        for stem in (name, "good"):
            (uploader.spool.folder / f"{stem}.h5").write_bytes(b"data")
        report = uploader.sync()
    assert report.waiting == ["good"]
    assert list(report.failed) == [name]
    assert any(alarm.kind.startswith("odd:") for alarm in uploader.spool.status().alarms)
    assert (uploader.spool.folder / f"{name}.h5").read_bytes() == b"data"


def test_many_odd_files_before_a_good_one_do_not_end_the_pass(tmp_path: Path) -> None:
    with portal("json") as found:
        found.answer = (200, {"Content-Type": "application/json"}, b'{"state":"waiting","ticket":null,"receipt":null}')
        uploader = uploader_at(f"http://{found.address}", tmp_path)
        for number in range(5):
            (uploader.spool.folder / f" odd {number}.h5").write_bytes(b"data")
            (uploader.spool.folder / f"folder-{number}.h5").mkdir()
        (uploader.spool.folder / "good.h5").write_bytes(b"data")
        report = uploader.sync()
    assert report.waiting == ["good"]
    assert len(report.failed) == 5  # folders are no episodes


def test_uploaders_loop_survives_what_it_did_not_expect_and_takes_its_alarm_back(tmp_path: Path) -> None:
    stop, passes = threading.Event(), []
    with portal("json") as found:
        uploader = uploader_at(f"http://{found.address}", tmp_path)
        journal = uploader.spool.journal

        def told(_report: object) -> None:
            passes.append([alarm.kind for alarm in journal.alarms()])
            if len(passes) < 3:
                raise OverflowError("a screen that is too small")
            stop.set()

        run_uploader(uploader, stop=stop, poll_s=0.01, told=told)
    assert passes == [[], ["uploader"], ["uploader"]]
    assert journal.alarms() == []


def test_answer_with_numbers_beyond_bounds_is_no_ticket() -> None:
    with pytest.raises(InvalidDocumentError):
        UploadRequest.parse(b'{"name":"one","sha256":"%s","size":%d}' % (b"0" * 64, 2**64), source="test")


def test_store_that_answers_with_an_odd_length_never_ends_a_fresh_process(tmp_path: Path) -> None:
    world = World(tmp_path)
    with portal("s3-like odd length") as found:
        store = S3Store(found.address, "key", "secret", patience=0.01)
        assert in_child(lambda: world.tick(store=store)) == 0
