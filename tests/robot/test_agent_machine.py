"""The agent's table of states: nothing is undefined, nothing loops, everything ends."""

import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from components.contracts import AgentState, ObjectRef, Release, RobotReport
from components.contracts.errors import ConfigurationError
from components.robot import RobotIdentity, Slots, agent_home_fault, is_signed_by, open_agent
from components.robot._clock import implausible
from components.robot._journal import Journal
from components.robot._machine import MAX_STARTS, TRANSITIONS, next_state, resume
from components.storage import FolderStore
from tests.faults.fleet_world import World, in_child, light_trials, sha

STATES: tuple[AgentState, ...] = get_args(AgentState)


def test_every_state_can_be_reached_and_left() -> None:
    assert {state for state, _ in TRANSITIONS} == set(STATES)
    assert set(TRANSITIONS.values()) == set(STATES)


def test_every_path_comes_back_to_idle() -> None:
    home: set[AgentState] = {"IDLE"}
    for _ in STATES:
        home |= {state for (state, _), following in TRANSITIONS.items() if following in home}
    assert home == set(STATES)


def test_activation_is_reached_through_every_check_alone() -> None:
    into = [state for (state, _), following in TRANSITIONS.items() if following == "ACTIVATE"]
    assert into == ["WAIT_SAFE"]
    path: list[AgentState] = ["CHECK"]
    while path[-1] != "COMMIT":
        path.append(next_state(path[-1], "done"))
    assert path == [
        "CHECK", "DOWNLOAD", "VERIFY", "STAGE", "BUILD", "SELFTEST", "WAIT_SAFE", "ACTIVATE", "TRIAL", "COMMIT",
    ]  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_resumed_state_before_activation_never_skips_forward(state: AgentState) -> None:
    for starts in range(MAX_STARTS + 1):
        assert resume(state, starts) in {state, "IDLE", "QUARANTINE", "ROLLBACK"}
    assert resume("TRIAL", MAX_STARTS) == "ROLLBACK"
    assert resume("SELFTEST", MAX_STARTS) == "QUARANTINE"


def test_clock_is_doubted_by_signed_facts_alone() -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert implausible(now, None) is None
    assert implausible(now, now - timedelta(days=400)) is None
    assert implausible(now, now + timedelta(minutes=30)) is None
    assert "was signed at" in (implausible(now, now + timedelta(days=1)) or "")


def slots_with(home: Path, *names: str) -> Slots:
    slots = Slots(home, Journal(home / "journal.db"))
    for number, name in enumerate(names):
        source = home / f"source-{name}"
        source.mkdir()
        (source / "policy").write_text(name)
        release = Release(
            name=name, number=number + 1, package="0" * 64, hardware=(), created_at=datetime(2026, 1, 1, tzinfo=UTC)
        )
        slots.activate(slots.stage(release, source, {"policy": sha(name.encode())}))
    return slots


def test_slots_alternate_and_keep_the_one_before(tmp_path: Path) -> None:
    slots = slots_with(tmp_path, "one", "two", "three")
    assert slots.current() == "a"
    assert (tmp_path / "current" / "policy").read_text() == "three"
    assert (slots.path("b") / "policy").read_text() == "two"
    slots.activate("b")
    assert (tmp_path / "current" / "policy").read_text() == "two"
    slots.activate(None)
    assert slots.current() is None


def test_slot_whose_byte_flipped_or_that_has_a_stranger_is_not_intact(tmp_path: Path) -> None:
    slots = slots_with(tmp_path, "one", "two")
    assert slots.intact("a")
    (slots.path("a") / "policy").write_text("onf")
    (slots.path("b") / "stranger").touch()
    assert not slots.intact("a")
    assert not slots.intact("b")
    assert slots.find("0" * 64) is None


def test_damaged_slot_is_not_activated_but_staged_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    (world.home("robot-1") / "moving").touch()
    world.assign(world.release("r1"))
    assert world.tick() is None
    (world.home("robot-1") / "slots" / "a" / "encode.onnx").write_bytes(b"\x08damaged")
    (world.home("robot-1") / "moving").unlink()
    assert world.tick() is None
    assert world.reports()[-1]["reason"].startswith("alarm: disk")
    assert world.tick() == "r1"


def test_file_that_a_slot_has_already_is_not_fetched_again(tmp_path: Path) -> None:
    class Counting(FolderStore):
        fetched = 0

        def get_file(self, bucket: str, key: str, path: Path, **options: Any) -> ObjectRef:
            self.fetched += 1
            return super().get_file(bucket, key, path, **options)

    world = World(tmp_path)
    world.assign(world.release("r1", tag="one"))
    world.tick()
    backbone = (world.home("robot-1") / "current" / "encode.onnx").read_bytes()
    world.assign(world.release("r2", tag="two", extra={"encode.onnx": backbone}))
    store = Counting(world.store.root)
    assert world.tick(store=store) == "r2"
    assert store.fetched == 2  # step.onnx and manifest.json; the backbone and the golden outputs were there


def test_report_is_signed_and_an_altered_one_is_not(tmp_path: Path) -> None:
    identity = RobotIdentity(tmp_path)
    report = RobotReport(
        robot="robot-1", sent_at=datetime(2026, 1, 1, tzinfo=UTC), deployment=None, release=None, attempted=None, seq=1,
        state="IDLE", reason="", trials=1, successes=0, p50_ms=None, p99_ms=None, provider=None,
    )  # fmt: skip
    signed = identity.sign(report)
    assert is_signed_by(signed, identity.public_key)
    better = signed.model_copy(update={"report": report.model_copy(update={"successes": 1})})
    assert not is_signed_by(better, identity.public_key)
    assert not is_signed_by(signed, RobotIdentity(tmp_path / "other").public_key)
    assert RobotIdentity(tmp_path).public_key == identity.public_key


def test_robot_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    RobotIdentity(tmp_path)
    (tmp_path / "robot_key.pem").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        RobotIdentity(tmp_path)


def test_second_agent_on_the_same_home_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.agent(), pytest.raises(ConfigurationError, match="another agent"), world.agent():
        pass


def refusal(home: Path) -> str:
    with (
        pytest.raises(ConfigurationError) as refused,
        open_agent("robot-1", home, FolderStore(home.parent / "store"), trials=light_trials),
    ):
        pass
    return str(refused.value)


def test_agent_says_what_is_missing_in_its_folder_and_what_to_do(tmp_path: Path) -> None:
    home = tmp_path / "agent"
    assert "found none on this machine" in refusal(home)
    RobotIdentity(home)
    assert f"expected the root of trust at {home}/root.json" in refusal(home)
    (home / "root.json").write_bytes(b"{}")
    (home / "robot_key.pem").unlink()
    assert f"expected the key of robot-1 at {home}/robot_key.pem" in refusal(home)
    assert "--replace" in refusal(home)
    assert not (home / "robot_key.pem").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("closed", [".", "robot_key.pem", "root.json", "journal.db"])
def test_agent_of_another_user_is_told_whose_folder_it_is(tmp_path: Path, closed: str) -> None:
    enrolled = World(tmp_path).home("robot-1")
    with tempfile.TemporaryDirectory() as folder:  # the test's own folder is closed to others above
        home, fault = Path(folder) / "agent", Path(folder) / "fault"
        shutil.copytree(enrolled, home)
        for path in (home / "journal.db", fault):
            path.touch()
        for path in (Path(folder), home, fault, *home.iterdir()):
            path.chmod(0o777)
        (home / closed).chmod(0o700)

        def as_nobody() -> None:
            os.setuid(65534)
            fault.write_text(str(agent_home_fault("robot-1", home)))

        assert in_child(as_nobody) == 0
        assert f"{home / closed} belongs to root and is closed to nobody" in fault.read_text()
        assert agent_home_fault("robot-1", home) is None


def test_idle_poll_writes_nothing_to_the_journal(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.assign(world.release("r1"))
    world.tick()
    with world.agent() as agent:
        agent.tick()
        before = agent._journal._connection.total_changes
        agent.tick()
        assert agent._journal._connection.total_changes == before
