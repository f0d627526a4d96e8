"""Row 47: somebody who can write on the robot's disk, or a bad sector, against the agent's slots and what it reads."""

import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.contracts.errors import PackageError
from components.robot import driving_package, verify_package
from components.storage import copy_durably, open_plain, read_plain, write_durably
from tests.faults.fleet_world import DeadStore, World

PATIENCE_S = 60.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Robot-1 drives r1, and drove r0 before."""
    world = World(tmp_path / "world")
    for name in ("r0", "r1"):
        world.assign(world.release(name, tag=name))
        assert world.tick() == name
    return world


def home(world: World) -> Path:
    return world.home("robot-1")


def driving(world: World) -> Path:
    return (home(world) / "current").resolve()


def other(path: Path) -> Path:
    return path.with_name("b" if path.name == "a" else "a")


def alarms(world: World, kind: str) -> list[dict[str, Any]]:
    return [report for report in world.reports() if report["reason"].startswith(f"alarm: {kind}")]


def ticks(world: World, **options: Any) -> str | None:
    """A tick that has to end."""
    ended: list[str | None] = []
    thread = threading.Thread(target=lambda: ended.append(world.tick(**options)), daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert ended, "the tick hangs, or failed"
    return ended[0]


def replace_slot(slot: Path, by: Path) -> None:
    """A whole package and its record, as whoever may write in `slots/` can."""
    shutil.rmtree(slot)
    shutil.copytree(by, slot)
    shutil.copy2(by.with_suffix(".json"), slot.with_suffix(".json"))


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A slot that holds a self-consistent package, signed by somebody else."""
    world = World(tmp_path / "evil")
    world.assign(world.release("r1", tag="EVIL"))
    assert world.tick() == "r1"
    return driving(world)


def test_row_47_unsigned_package_with_its_own_record_never_drives(world: World, evil: Path) -> None:
    replace_slot(driving(world), evil)
    found = driving_package(home(world))
    assert found is not None
    with pytest.raises(PackageError, match="expected SHA-256"):
        verify_package(found[0], sha256=found[1])
    assert world.tick(store=DeadStore()) == "r0"  # trusted here before, and still allowed
    assert b"EVIL" not in (home(world) / "current" / "step.onnx").read_bytes()
    assert world.tick() == "r1"
    assert b"EVIL" not in (home(world) / "current" / "step.onnx").read_bytes()
    assert len(alarms(world, "slot")) == 1
    assert world.reports()[-1]["reason"] == "fetched again and healed"


def test_row_47_unsigned_packages_in_both_slots_stop_the_robot_until_it_is_healed(world: World, evil: Path) -> None:
    for slot in (driving(world), other(driving(world))):
        replace_slot(slot, evil)
    assert world.tick(store=DeadStore()) is None
    assert world.tick() == "r1"
    assert b"EVIL" not in (home(world) / "current" / "step.onnx").read_bytes()


def test_row_47_unsigned_package_put_there_while_the_agent_runs_is_found_in_the_next_tick(
    world: World, evil: Path
) -> None:
    told: list[Path | None] = []
    with world.agent(activated=told.append) as agent:
        agent.tick()
        replace_slot(driving(world), evil)
        agent.tick()
    assert told[0] is None
    assert world.drives() == "r1"


@pytest.mark.parametrize("before", ["TRIAL", "COMMIT"])
def test_row_47_package_that_is_replaced_on_trial_is_neither_driven_nor_committed(
    world: World, evil: Path, before: str
) -> None:
    world.assign(world.release("r2", tag="two"))
    replaced: list[Path] = []

    def put(state: str) -> None:
        if state == before and not replaced:
            replaced.append(driving(world))
            replace_slot(replaced[0], evil)

    driven: list[bytes] = []

    def trials(package: Path, *, trials: int, seed: int, sha256: str) -> Any:
        from tests.faults.fleet_world import light_trials

        driven.append((package / "step.onnx").read_bytes())
        return light_trials(package, trials=trials, seed=seed, sha256=sha256)

    with world.agent(on_state=put, trials=trials) as agent:
        agent.tick()
        assert world.drives() is None
        assert "committed" not in {report["reason"] for report in world.reports() if report["release"] == "r2"}
        agent.tick()
    assert world.drives() == "r2"
    assert not any(b"EVIL" in found for found in driven)
    last = world.reports()[-1]
    assert (last["release"], last["reason"], last["trials"]) == ("r2", "committed", 2)
    assert len(alarms(world, "slot")) == 1


def swap(world: World) -> None:
    a, b = driving(world), other(driving(world))
    for one, two in ((a, b), (a.with_suffix(".json"), b.with_suffix(".json"))):
        one.rename(one.with_name("away"))
        two.rename(one)
        one.with_name("away").rename(two)


def test_row_47_swapped_slots_do_not_drive_the_older_release(world: World) -> None:
    swap(world)
    assert world.tick(store=DeadStore()) is None
    assert world.tick() == "r1"
    last = world.reports()[-1]
    assert (last["release"], last["reason"]) == ("r1", "fetched again and healed")
    assert len(alarms(world, "slot")) == 1


def test_row_47_swapped_slots_do_not_drive_below_the_floor(world: World) -> None:
    world.repository.raise_floor(2)
    assert world.tick() == "r1"
    swap(world)
    assert world.tick(store=DeadStore()) is None
    assert world.tick() == "r1"


def test_row_47_floor_that_rises_above_what_drives_stops_it(world: World) -> None:
    world.repository.raise_floor(3)
    assert world.tick() == "r1"  # it has not looked at what drives since it saw the floor
    assert world.tick() is None
    assert len(alarms(world, "floor")) >= 1
    assert world.tick(store=DeadStore()) is None
    world.assign(world.release("r2", tag="two"))
    assert world.tick() == "r2"


# what is no file


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def listener(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": pipe, "link to a device": endless, "socket": listener, "folder": lambda path: path.mkdir(),
}  # fmt: skip


def put(path: Path, kind: str) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    KINDS[kind](path)


@pytest.mark.parametrize("kind", KINDS)
def test_row_47_record_that_is_no_file_is_damage_and_hangs_nothing(world: World, evil: Path, kind: str) -> None:
    slot = driving(world)
    replace_slot(slot, evil)
    put(slot.with_suffix(".json"), kind)
    assert ticks(world, store=DeadStore()) == "r0"
    assert ticks(world) == "r1"
    assert len(alarms(world, "slot")) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "releases.json", "root_history", "root.json"])
def test_row_47_release_metadata_that_is_no_file_is_fetched_again(world: World, name: str, kind: str) -> None:
    put(home(world) / "tuf" / name, kind)
    world.assign(world.release("r2", tag="two"))
    assert ticks(world) == "r2"


@pytest.mark.parametrize("kind", KINDS)
def test_row_47_lock_that_is_no_file_keeps_no_agent_from_starting(world: World, kind: str) -> None:
    put(home(world) / "agent.lock", kind)
    assert ticks(world) == "r1"


@pytest.mark.parametrize("kind", KINDS)
def test_row_47_downloads_that_are_no_files_hang_nothing(world: World, kind: str) -> None:
    release = world.release("r2", tag="two")
    parts = home(world) / "downloads" / "parts"
    parts.mkdir(parents=True)
    for target in (world.root / "store/releases/targets/releases/r2").iterdir():
        put(parts / target.name.partition(".")[0], kind)
        put(parts / f"{target.name.partition('.')[0]}.part", kind)
    world.assign(release)
    assert ticks(world) == "r2"


# the journal


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage\n" * 1000)


def unparsable(name: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with sqlite3.connect(path) as db:
            db.execute("UPDATE facts SET value = '{no json' WHERE name = ?", (name,))
        db.close()

    return damage


def page_lost(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(bytes(data))


JOURNALS: dict[str, Callable[[Path], None]] = {
    "garbage": garbage, "cut": lambda path: os.truncate(path, 5000), "pages lost": page_lost,
    "job unparsable": unparsable("job"), "count unparsable": unparsable("count"), "removed": lambda path: path.unlink(),
    "pipe": lambda path: put(path, "pipe"), "link to a device": lambda path: put(path, "link to a device"),
    "folder": lambda path: put(path, "folder"),
}  # fmt: skip


@pytest.mark.parametrize("damage", JOURNALS)
def test_row_47_damaged_journal_is_set_aside_and_what_was_trusted_drives_on(world: World, damage: str) -> None:
    path = home(world) / "journal.db"
    JOURNALS[damage](path)
    assert ticks(world, store=DeadStore()) == "r1"
    assert (damage == "removed") != path.with_name("journal.db.damaged-1").exists() or damage == "link to a device"
    assert ticks(world) == "r1"
    assert len(alarms(world, "journal")) == 1


@pytest.mark.parametrize("damage", ["garbage", "removed", "job unparsable"])
def test_row_47_damaged_journal_and_damaged_slot_stop_the_robot_until_it_is_healed(world: World, damage: str) -> None:
    JOURNALS[damage](home(world) / "journal.db")
    for slot in (driving(world), other(driving(world))):
        data = bytearray((slot / "encode.onnx").read_bytes())
        data[-1] ^= 1
        (slot / "encode.onnx").write_bytes(bytes(data))
    assert ticks(world, store=DeadStore()) is None
    assert ticks(world) == "r1"


@pytest.mark.parametrize("damage", ["garbage", "removed"])
def test_row_47_without_a_journal_an_unsigned_package_never_drives(world: World, evil: Path, damage: str) -> None:
    JOURNALS[damage](home(world) / "journal.db")
    replace_slot(driving(world), evil)
    assert ticks(world, store=DeadStore()) is None
    assert ticks(world) == "r1"
    assert b"EVIL" not in (home(world) / "current" / "step.onnx").read_bytes()


def test_row_47_without_a_journal_nothing_drives_below_the_floor(world: World) -> None:
    world.repository.raise_floor(2)
    assert world.tick() == "r1"
    swap(world)
    garbage(home(world) / "journal.db")
    assert ticks(world, store=DeadStore()) is None
    assert ticks(world) == "r1"


@pytest.mark.parametrize("also", ["floors.json", "tuf"])
def test_row_47_without_a_journal_and_without_floors_or_metadata_nothing_drives_until_contact(
    world: World, also: str
) -> None:
    garbage(home(world) / "journal.db")
    lost = home(world) / also
    if lost.is_dir():
        shutil.rmtree(lost)
    else:
        lost.unlink()
    assert ticks(world, store=DeadStore()) is None
    assert ticks(world) == "r1"


def test_row_47_journals_that_are_set_aside_are_at_most_three(world: World) -> None:
    for _ in range(5):
        garbage(home(world) / "journal.db")
        assert world.tick() == "r1"
    assert len(list(home(world).glob("journal.db.damaged-*"))) == 3


# links at temporary names


def test_row_47_no_link_at_a_name_that_the_agent_writes_is_followed(world: World) -> None:
    victim = world.root / "victim"
    victim.write_text("mine")
    slot = driving(world)
    for name in ("slots/a.json.part", "slots/b.json.part", "agent.lock", "floors.json.part", "current.new"):
        (home(world) / name).unlink(missing_ok=True)
        (home(world) / name).symlink_to(victim)
    slot.joinpath("stranger").touch()
    assert world.tick() == "r1"
    other(slot).with_suffix(".json").unlink()
    other(slot).with_suffix(".json").symlink_to(victim)
    world.assign(world.release("r2", tag="two"))
    assert world.tick() == "r2"
    assert victim.read_text() == "mine"


def test_row_47_no_link_among_the_downloads_is_followed(world: World) -> None:
    victim = world.root / "victim"
    victim.write_text("mine")
    release = world.release("r2", tag="two")
    parts = home(world) / "downloads" / "parts"
    parts.mkdir(parents=True)
    for target in (world.root / "store/releases/targets/releases/r2").iterdir():
        for name in (target.name.partition(".")[0], f"{target.name.partition('.')[0]}.part"):
            (parts / name).symlink_to(victim)
    world.assign(release)
    assert world.tick() == "r2"
    assert victim.read_text() == "mine"


def test_durable_write_replaces_a_link_and_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    victim, target, old = tmp_path / "victim", tmp_path / "file", tmp_path / ".file.abcdefgh.part"
    victim.write_text("mine")
    target.symlink_to(victim)
    old.touch()
    os.utime(old, (0, 0))
    write_durably(target, b"new")
    assert (target.read_bytes(), target.is_symlink(), victim.read_text()) == (b"new", False, "mine")
    assert target.stat().st_mode & 0o777 == 0o600
    copy_durably(target, tmp_path / "copy")
    assert read_plain(tmp_path / "copy", 3) == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "file", "victim"]
    with pytest.raises(OSError, match="at most 2 bytes"):
        read_plain(target, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_reading_what_is_no_plain_file_is_an_error_at_once(tmp_path: Path, kind: str) -> None:
    put(tmp_path / "odd", kind)
    for flags in (os.O_RDONLY, os.O_RDWR | os.O_CREAT):
        with pytest.raises(OSError):  # noqa: PT011  # the kernel's own words
            open_plain(tmp_path / "odd", flags)
