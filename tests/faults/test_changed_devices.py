"""Row 46: the device changes (JetPack, driver, onnxruntime, power mode) in any state, or under the driving release."""

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.contracts import AgentState, SelfTestResult
from components.robot import Fingerprint
from components.robot._journal import Journal
from components.robot._slots import SLOTS
from tests.faults.fleet_world import SIMULATED, DeadStore, LightBench, World, in_child, kill_me

KILLED = -9
CHANGES = {
    "jetpack": {"l4t": "36.5"},
    "tensorrt": {"tensorrt": "10.4"},
    "onnxruntime": {"onnxruntime": "1.32"},
    "power mode": {"power_mode": "15W"},
    "driver": {"driver": "560.1"},
}
CHANGED = SIMULATED.model_copy(update=CHANGES["jetpack"])
OTHER = Fingerprint(module="jetson-orin-nx-16gb")
BEFORE: tuple[AgentState, ...] = ("CHECK", "DOWNLOAD", "VERIFY", "STAGE", "BUILD", "SELFTEST", "WAIT_SAFE", "ACTIVATE")
DRIVING: tuple[AgentState, ...] = ("TRIAL", "COMMIT", "IDLE")


class Bench(LightBench):
    """Remembers what it tested; fails what `fails` names."""

    def __init__(self, *, fails: str = "", crash: bool = False) -> None:
        self.tested: list[str] = []
        self.built = 0
        self._fails, self._crash = fails, crash

    def build(self, package: Path) -> None:
        self.built += 1
        super().build(package)

    def self_test(self, package: Path, sha256: str) -> SelfTestResult:
        if self._crash:
            kill_me()
        record = json.loads(package.with_suffix(".json").read_bytes())
        self.tested.append(record["release"]["name"])
        result = super().self_test(package, sha256)
        failures = ("too slow here",) if record["release"]["name"] == self._fails else ()
        return result.model_copy(update={"passed": not failures, "failures": failures})


class Device:
    """A device that a test changes."""

    def __init__(self, now: Fingerprint = SIMULATED) -> None:
        self.now = now

    def __call__(self) -> Fingerprint:
        return self.now


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Robot-1 drives r1; r2 is assigned."""
    world = World(tmp_path)
    world.assign(world.release("r1", tag="one"))
    assert world.tick() == "r1"
    world.assign(world.release("r2", tag="two"))
    return world


def killed_in(state: AgentState) -> Callable[[AgentState], None]:
    return lambda entered: kill_me() if entered == state else None


def device_of(world: World, name: str) -> Fingerprint | None:
    with contextlib.closing(Journal(world.home("robot-1") / "journal.db")) as journal:
        for slot in SLOTS:
            record = journal.slot(slot)
            if record and record.release.name == name:
                return record.fingerprint
    raise AssertionError(f"no slot holds {name}")


@pytest.mark.parametrize("change", CHANGES)
def test_row_46_device_that_changed_under_the_driving_release_tests_it_again(world: World, change: str) -> None:
    bench, device = Bench(), Device()
    with world.agent(bench=bench, fingerprint=device, store=DeadStore()) as agent:
        agent.tick()
        assert bench.tested == []
        device.now = SIMULATED.model_copy(update=CHANGES[change])
        agent.tick()
        agent.tick()
    assert (bench.tested, bench.built) == (["r1"], 1)
    assert world.drives() == "r1"
    assert device_of(world, "r1") == device.now


def test_row_46_driving_release_that_fails_on_the_changed_device_is_stopped(world: World) -> None:
    stops: list[Path | None] = []
    options: dict[str, Any] = {"store": DeadStore(), "bench": Bench(fails="r1"), "activated": stops.append}
    assert world.tick(fingerprint=CHANGED, **options) is None
    assert stops == [None]
    world.assign(None)
    assert world.tick(fingerprint=CHANGED, bench=Bench(fails="r1")) is None
    assert any(report["reason"].startswith("alarm: device: SELFTEST") for report in world.reports())


def test_row_46_release_before_drives_instead_if_it_passes_on_the_changed_device(world: World) -> None:
    assert world.tick() == "r2"
    bench = Bench(fails="r2")
    assert world.tick(fingerprint=CHANGED, store=DeadStore(), bench=bench) == "r1"
    assert bench.tested == ["r2", "r1"]
    assert device_of(world, "r1") == CHANGED
    assert world.tick(fingerprint=CHANGED, bench=bench) == "r1"  # r2 is assigned still, and barred from this device
    assert world.tick(fingerprint=SIMULATED, bench=Bench()) in {"r1", "r2"}


def test_row_46_device_that_is_itself_again_drives_again_what_was_tested_on_it(world: World) -> None:
    assert world.tick(fingerprint=CHANGED, store=DeadStore(), bench=Bench(fails="r1")) is None
    assert world.tick(fingerprint=SIMULATED, store=DeadStore(), bench=Bench()) == "r1"


def test_row_46_release_for_other_hardware_is_stopped(world: World) -> None:
    assert world.tick(fingerprint=OTHER, store=DeadStore()) is None
    assert world.tick(fingerprint=OTHER) is None
    assert world.reports()[-1]["state"] == "REJECTED"


@pytest.mark.parametrize("state", [*BEFORE, *DRIVING])
def test_row_46_killed_in_a_state_and_started_on_a_changed_device_tests_before_it_counts(
    world: World, state: AgentState
) -> None:
    assert in_child(lambda: world.tick(on_state=killed_in(state))) == KILLED
    bench = Bench()
    with world.agent(bench=bench, fingerprint=CHANGED) as agent:
        agent.tick()
        agent.tick()
    assert world.drives() == "r2"
    assert "r2" in bench.tested
    assert device_of(world, "r2") == CHANGED
    last = world.reports()[-1]
    assert (last["reason"], last["trials"]) == ("committed", 2)


@pytest.mark.parametrize("state", [*BEFORE, *DRIVING])
def test_row_46_killed_in_a_state_and_failing_on_the_changed_device_never_drives(
    world: World, state: AgentState
) -> None:
    assert in_child(lambda: world.tick(on_state=killed_in(state))) == KILLED
    with world.agent(bench=Bench(fails="r2"), fingerprint=CHANGED) as agent:
        agent.tick()
        agent.tick()
    assert world.drives() == "r1"
    assert device_of(world, "r1") == CHANGED
    said = " ".join(report["reason"] for report in world.reports())
    assert "too slow here" in said


@pytest.mark.parametrize("state", [*BEFORE, *DRIVING])
def test_row_46_killed_in_a_state_and_started_on_other_hardware_ends_in_the_safe_stop(
    world: World, state: AgentState
) -> None:
    assert in_child(lambda: world.tick(on_state=killed_in(state))) == KILLED
    with world.agent(fingerprint=OTHER) as agent:
        agent.tick()
        agent.tick()
    assert world.drives() is None
    assert any("this is jetson-orin-nx-16gb" in report["reason"] for report in world.reports())


def test_row_46_power_mode_that_changes_while_it_waits_is_tested_before_activation(world: World) -> None:
    (world.home("robot-1") / "moving").touch()
    bench, device = Bench(), Device()
    with world.agent(bench=bench, fingerprint=device) as agent:
        assert agent.tick() == "WAIT_SAFE"
        device.now = CHANGED
        assert agent.tick() == "WAIT_SAFE"
        assert bench.tested == ["r2", "r1", "r2"]
        assert agent.tick() == "WAIT_SAFE"
        (world.home("robot-1") / "moving").unlink()
        agent.tick()
    assert bench.tested == ["r2", "r1", "r2"]
    assert world.drives() == "r2"


def test_row_46_device_that_changes_during_the_self_test_or_the_trials_is_tested_again(world: World) -> None:
    device = Device()

    def change(entered: AgentState) -> None:
        device.now = device.now.model_copy(update={"power_mode": f"{device.now.power_mode}x"[:3]})

    bench = Bench()
    with world.agent(bench=bench, fingerprint=device, on_state=change) as agent:
        agent.tick()
    assert world.drives() == "r2"
    assert device_of(world, "r2") == device.now
    assert world.reports()[-1]["trials"] == 2


def test_row_46_self_test_on_the_changed_device_that_kills_the_agent_each_time_ends(world: World) -> None:
    crash: dict[str, Any] = {"bench": Bench(crash=True), "fingerprint": CHANGED, "store": DeadStore()}
    for _ in range(3):
        assert in_child(lambda: world.tick(**crash)) == KILLED
        assert world.drives() == "r1"
    assert world.tick(**crash) is None


@pytest.mark.parametrize("fails", ["", "r1"])
@pytest.mark.parametrize("state", ["TRIAL", "ROLLBACK", "QUARANTINE", "IDLE"])
def test_row_46_release_that_a_rollback_returns_to_is_tested_on_the_changed_device(
    world: World, state: AgentState, fails: str
) -> None:
    world.assign(world.release("bad", tag="three", fault="non-finite action"))
    assert in_child(lambda: world.tick(on_state=killed_in(state))) == KILLED
    bench = Bench(fails=fails)
    with world.agent(bench=bench, fingerprint=CHANGED) as agent:
        agent.tick()
        agent.tick()
    assert "r1" in bench.tested
    assert world.drives() == (None if fails else "r1")


@pytest.mark.parametrize("state", ["WAIT_SAFE", "ACTIVATE", "TRIAL", "COMMIT", "IDLE"])
def test_row_46_journal_and_slots_of_an_earlier_version_are_tested_again(world: World, state: AgentState) -> None:
    assert in_child(lambda: world.tick(on_state=killed_in(state))) == KILLED
    home = world.home("robot-1")
    for record in (home / "slots").glob("*.json"):
        document = json.loads(record.read_bytes())
        for name in ("fingerprint", "committed", "damaged"):
            document.pop(name)
        record.write_text(json.dumps(document))
    with sqlite3.connect(home / "journal.db") as db:
        job = json.loads(db.execute("SELECT value FROM facts WHERE name = 'job'").fetchone()[0])
        for name in ("fingerprint", "driving", "healing", "retests"):
            job.pop(name)
        db.execute("UPDATE facts SET value = ? WHERE name = 'job'", (json.dumps(job),))
        db.execute("DELETE FROM facts WHERE name = 'records'")
        db.execute("DROP TABLE slots")
    db.close()
    bench = Bench()
    with world.agent(bench=bench) as agent:
        agent.tick()
        agent.tick()
    assert world.drives() == "r2"
    assert "r2" in bench.tested
    assert device_of(world, "r2") == SIMULATED


def test_fingerprint_without_a_driver_keeps_its_name() -> None:
    import hashlib

    before = {"module": "simulated", "sm": "", "l4t": "", "tensorrt": "", "onnxruntime": "", "power_mode": ""}
    document = json.dumps(before, sort_keys=True, separators=(",", ":")).encode()
    assert SIMULATED.digest() == hashlib.sha256(document).hexdigest()
