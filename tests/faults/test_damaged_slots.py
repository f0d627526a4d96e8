"""Row 47: what drives is damaged on the disk. The robot stops, says so, and heals with the release that is assigned."""

import contextlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.fleet_world import DeadStore, LightBench, World, in_child, kill_me_at

KILLED = -9


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Robot-1 drives r1."""
    world = World(tmp_path)
    world.assign(world.release("r1", tag="one"))
    assert world.tick() == "r1"
    return world


def slot_of(world: World) -> Path:
    return (world.home("robot-1") / "current").resolve()


def other(path: Path) -> Path:
    return path.with_name("b" if path.name == "a" else "a")


def flip(path: Path) -> None:
    """One bit of the disk, at the same size and time."""
    facts = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def by_a_link(path: Path) -> None:
    away = path.parent.parent.parent / f"{path.name}.moved"
    path.rename(away)
    path.symlink_to(away)


def by_a_hard_link(path: Path) -> None:
    (path.parent.parent.parent / "second-name").hardlink_to(path)


def by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def by_a_socket(path: Path) -> None:
    path.unlink()
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def by_a_device(path: Path) -> None:
    path.unlink()
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("this user may not make devices")


def slot_by_a_link(path: Path) -> None:
    away = path.parent.parent.parent / "elsewhere"
    path.parent.rename(away)
    path.parent.symlink_to(away)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip,
    "cut short": lambda path: os.truncate(path, 10),
    "removed": lambda path: path.unlink(),
    "replaced by a link": by_a_link,
    "named twice": by_a_hard_link,
    "replaced by a folder": by_a_folder,
    "replaced by a pipe": by_a_pipe,
    "replaced by a socket": by_a_socket,
    "replaced by a device": by_a_device,
    "a stranger beside it": lambda path: path.with_name("stranger").touch(),
    "a folder beside it": lambda path: path.with_name("folder").mkdir(),
    "the slot replaced by a link": slot_by_a_link,
    "the slot removed": lambda path: shutil.rmtree(path.parent),
    "the record removed": lambda path: path.parent.with_suffix(".json").unlink(),
    "the record damaged": lambda path: path.parent.with_suffix(".json").write_bytes(b"{"),
    "the record of deep JSON": lambda path: path.parent.with_suffix(".json").write_bytes(b"[" * 100_000),
    "the record's bytes no text": lambda path: path.parent.with_suffix(".json").write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_row_47_damaged_slot_stops_alarms_and_is_healed_with_the_assigned_release(world: World, damage: str) -> None:
    stops: list[Path | None] = []
    with world.agent(activated=stops.append) as agent:
        agent.tick()
        assert stops == []
        DAMAGES[damage](slot_of(world) / "encode.onnx")
        agent.tick()
    assert stops[0] is None
    assert world.drives() == "r1"
    alarms = [report for report in world.reports() if report["reason"].startswith("alarm: slot")]
    assert len(alarms) == 1
    assert alarms[0]["release"] is None
    last = world.reports()[-1]
    assert (last["state"], last["release"], last["trials"], last["successes"]) == ("IDLE", "r1", 2, 2)
    before = len(world.reports())
    assert world.tick() == "r1"
    assert len(world.reports()) == before


@pytest.mark.parametrize("damage", ["a flipped bit", "replaced by a link", "the record damaged", "the slot removed"])
def test_row_47_damage_while_the_agent_was_off_is_found_at_its_start(world: World, damage: str) -> None:
    DAMAGES[damage](slot_of(world) / "encode.onnx")
    assert world.tick(store=DeadStore()) is None  # stopped without a network
    assert world.tick() == "r1"
    assert "alarm: slot" in " ".join(report["reason"] for report in world.reports())


def test_row_47_both_slots_damaged_are_healed_and_neither_drives_meanwhile(world: World) -> None:
    world.assign(world.release("r2", tag="two"))
    assert world.tick() == "r2"
    for slot in (slot_of(world), other(slot_of(world))):
        flip(slot / "encode.onnx")
    assert world.tick(store=DeadStore()) is None
    assert world.tick() == "r2"
    last = world.reports()[-1]
    assert (last["state"], last["release"], last["reason"]) == ("IDLE", "r2", "fetched again and healed")


def test_row_47_without_a_network_the_release_before_drives_until_the_assigned_one_is_healed(world: World) -> None:
    world.assign(world.release("r2", tag="two"))
    assert world.tick() == "r2"
    flip(slot_of(world) / "encode.onnx")
    assert world.tick(store=DeadStore()) == "r1"
    assert world.tick(store=DeadStore()) == "r1"
    assert world.tick() == "r2"


def test_row_47_release_below_the_floor_never_drives_instead(world: World) -> None:
    first = world.repository.releases()[0]
    world.assign(world.release("r2", tag="two"))
    world.repository.raise_floor(first.number + 1)
    assert world.tick() == "r2"
    flip(slot_of(world) / "encode.onnx")
    assert world.tick(store=DeadStore()) is None
    assert world.tick() == "r2"


def test_row_47_newer_release_that_was_withdrawn_never_drives_instead(world: World) -> None:
    first = world.repository.releases()[0]
    world.assign(world.release("r2", tag="two"))
    assert world.tick() == "r2"
    world.assign(first, trials=0)
    assert world.tick() == "r1"
    flip(slot_of(world) / "encode.onnx")
    assert world.tick(store=DeadStore()) is None
    assert world.tick() == "r1"


def test_row_47_moving_robot_stops_at_once_and_changes_its_policy_only_when_it_is_safe(world: World) -> None:
    world.assign(world.release("r2", tag="two"))
    assert world.tick() == "r2"
    (world.home("robot-1") / "moving").touch()
    flip(slot_of(world) / "encode.onnx")
    assert world.tick() is None
    assert world.tick() is None
    (world.home("robot-1") / "moving").unlink()
    assert world.tick() == "r2"


def test_row_47_damage_while_another_release_waits_stops_what_drives(world: World) -> None:
    (world.home("robot-1") / "moving").touch()
    world.assign(world.release("r2", tag="two"))
    with world.agent() as agent:
        assert agent.tick() == "WAIT_SAFE"
        flip(slot_of(world) / "encode.onnx")
        assert agent.tick() == "WAIT_SAFE"
        assert world.drives() is None
        (world.home("robot-1") / "moving").unlink()
        assert agent.tick() == "IDLE"
    assert world.drives() == "r2"
    assert world.reports()[-1]["trials"] == 2


class CountingBench(LightBench):
    verified = 0

    def verify(self, package: Path, sha256: str) -> None:
        self.verified += 1
        super().verify(package, sha256)


def test_row_47_unchanged_slot_is_hashed_at_the_start_and_after_its_time_and_not_in_every_tick(world: World) -> None:
    for verify_s, expected in ((3600.0, 1), (0.0, 3)):
        bench = CountingBench()
        with world.agent(bench=bench, verify_s=verify_s) as agent:
            for _ in range(3):
                agent.tick()
        assert bench.verified == expected


def link_to(target: str) -> Callable[[Path], None]:
    def replace(link: Path) -> None:
        link.unlink()
        link.symlink_to(target)

    return replace


def by_real_folder(link: Path) -> None:
    link.unlink()
    shutil.copytree(link.parent / "slots" / "a", link)


def by_real_file(link: Path) -> None:
    link.unlink()
    link.write_bytes(b"no link")


@pytest.mark.parametrize(
    "damage",
    [
        link_to("/etc"), link_to("slots/b"), link_to("nowhere"), link_to("../homes/robot-1/slots/a"), by_real_folder,
        by_real_file, lambda link: link.unlink(),
    ],
    ids=["elsewhere", "the other slot", "dangling", "the same by another way", "a folder", "a file", "removed"],
)  # fmt: skip
def test_row_47_current_that_leads_elsewhere_is_an_alarm_and_set_right(
    world: World, damage: Callable[[Path], None]
) -> None:
    damage(world.home("robot-1") / "current")
    told: list[Path | None] = []
    assert world.tick(store=DeadStore(), activated=told.append) == "r1"  # nothing was damaged, so nothing is fetched
    assert told == [None, world.home("robot-1") / "slots" / "a"]
    assert world.tick() == "r1"
    assert "alarm: slot" in world.reports()[-1]["reason"]


def test_row_47_link_where_nothing_is_to_drive_is_removed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.tick()
    (world.home("robot-1") / "current").symlink_to("/etc")
    world.tick()
    assert not os.path.lexists(world.home("robot-1") / "current")
    assert "alarm: slot" in world.reports()[-1]["reason"]


def test_row_47_killed_at_any_touch_of_the_disk_while_healing_it_ends_healed(tmp_path: Path) -> None:
    first = World(tmp_path / "first")
    first.assign(first.release("r1", tag="one"))
    assert first.tick() == "r1"
    flip(slot_of(first) / "encode.onnx")
    for number in range(2, 2000, 31):
        world = World(Path(shutil.copytree(first.root, tmp_path / f"at-{number}", symlinks=True)), clock=first.clock)
        status = in_child(lambda: (kill_me_at(number), world.tick()))  # noqa: B023  # forked at once
        assert status in {KILLED, 0}
        with world.agent() as agent:
            agent.tick()
            agent.tick()
        assert world.drives() == "r1", f"killed at {number}"
        shutil.rmtree(world.root)
        if status == 0:
            assert number > 100
            return
    raise AssertionError("never got through")


def test_row_47_unreadable_slot_is_damage(tmp_path: Path) -> None:
    """As another user than root, whom permissions do not stop."""
    world = World(tmp_path / "world")
    world.assign(world.release("r1", tag="one"))
    assert world.tick() == "r1"
    if os.geteuid() == 0:
        for folder in (*tmp_path.parents, tmp_path):
            with contextlib.suppress(OSError):
                folder.chmod(folder.stat().st_mode | 0o011)
        for path in (tmp_path, *tmp_path.rglob("*")):
            os.chown(path, 65_534, 65_534, follow_symlinks=False)
    slot_of(world).joinpath("encode.onnx").chmod(0)

    def as_nobody() -> None:
        if os.geteuid() == 0:
            os.setgid(65_534)
            os.setuid(65_534)
        assert world.tick(store=DeadStore()) is None
        assert world.tick() == "r1"

    assert in_child(as_nobody) == 0
    assert "alarm: slot" in " ".join(report["reason"] for report in world.reports())
