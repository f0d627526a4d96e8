"""Rows 1 to 11, 29, 30 and 37: what is served is old, false, broken or not meant for this robot."""

import pickle
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from components.contracts import Assignment, ObjectRef, PolicyPackage, Release
from components.contracts.errors import PromotionError
from components.promotion import ReleaseRepository, rotate_keys
from components.promotion._metadata import View
from components.storage import FolderStore, fetch
from tests.faults.fleet_world import NOW, Clock, DeadStore, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Robot-1 drives r1."""
    world = World(tmp_path, robots=("robot-1", "robot-2"))
    world.assign(world.release("r1", tag="one"))
    assert world.tick() == "r1"
    return world


def alarms(world: World, robot: str = "robot-1") -> list[str]:
    return [report["reason"] for report in world.reports(robot) if report["reason"].startswith("alarm")]


def forge(thief: ReleaseRepository, role: str, path: str, data: bytes) -> None:
    """Publish a target as someone with the thief's keys can."""

    def change(view: View) -> set[str]:
        thief._put_target(view.roles[role], path, data)
        return {role}

    thief.metadata.commit(change)


def forge_release(thief: ReleaseRepository, package: PolicyPackage) -> None:
    """Publish and assign a release as someone with the thief's keys can, in one go: his own code checks signatures."""
    release = Release(name="evil", number=9, package=package.sha256, hardware=("simulated",), created_at=NOW)
    wanted = Assignment(robot="robot-1", deployment="d1", release="evil", number=9, seq=99, floor=0)

    def change(view: View) -> set[str]:
        for name, ref in ({"manifest.json": package.manifest} | package.files).items():
            thief._put_target(view.roles["releases"], f"releases/evil/{name}", fetch(thief.store, ref))
        thief._put_target(view.roles["releases"], "releases/evil/release.json", release.canonical_json())
        thief._put_target(view.roles["director"], "assign/robot-1.json", wanted.canonical_json())
        return {"releases", "director"}

    thief.metadata.commit(change)


def test_row_1_old_timestamp_is_refused_with_an_alarm(world: World) -> None:
    old = world.metadata("timestamp.json").read_bytes()
    world.assign(world.release("r2", tag="two"))
    assert world.tick() == "r2"
    world.metadata("timestamp.json").write_bytes(old)
    assert world.tick() == "r2"
    assert alarms(world)[-1].startswith("alarm: rollback")


def test_row_1_old_timestamp_is_refused_even_after_local_metadata_was_wiped(world: World) -> None:
    old = world.metadata("timestamp.json").read_bytes()
    world.assign(world.release("r2", tag="two"))
    assert world.tick() == "r2"
    world.metadata("timestamp.json").write_bytes(old)
    shutil.rmtree(world.home("robot-1") / "tuf")
    assert world.tick() == "r2"
    assert "was seen before" in alarms(world)[-1]


def test_row_2_expired_timestamp_installs_nothing_and_the_robot_drives_on(world: World) -> None:
    world.assign(world.release("r2", tag="two"))
    world.clock.pass_by(days=4)
    assert world.tick() == "r1"
    assert alarms(world)[-1].startswith("alarm: expired")
    assert world.repository.refresh()
    assert world.tick() == "r2"


def test_row_3_tampered_weights_are_refused_and_the_slot_is_untouched(world: World) -> None:
    world.assign(world.release("r2", tag="two"))
    target = world.target("releases/r2/encode.onnx")
    good = target.read_bytes()
    target.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    before = (world.home("robot-1") / "current").readlink()
    assert world.tick() == "r1"
    assert alarms(world)[-1].startswith("alarm: content")
    assert (world.home("robot-1") / "current").readlink() == before
    assert not (world.home("robot-1") / "slots" / "b").exists()


def test_row_4_truncated_target_is_fetched_again(world: World) -> None:
    class CutOnce(FolderStore):
        cuts = 0

        def get_file(self, bucket: str, key: str, path: Path, **options: Any) -> ObjectRef:
            found = super().get_file(bucket, key, path, **options)
            if key.endswith("encode.onnx") and self.cuts == 0:
                self.cuts += 1
                path.write_bytes(path.read_bytes()[:100])
            return found

    world.assign(world.release("r2", tag="two"))
    store = CutOnce(world.store.root)
    assert world.tick(store=store) == "r2"
    assert store.cuts == 1


def test_row_4_target_that_stays_truncated_waits_until_it_is_whole(world: World) -> None:
    world.assign(world.release("r2", tag="two"))
    target = world.target("releases/r2/encode.onnx")
    good = target.read_bytes()
    target.write_bytes(good[:100])
    assert world.tick() == "r1"
    target.write_bytes(good)
    assert world.tick() == "r2"


def test_row_5_target_larger_than_signed_is_not_read(world: World) -> None:
    world.assign(world.release("r2", tag="two"))
    target = world.target("releases/r2/encode.onnx")
    target.write_bytes(target.read_bytes() + b"x" * 10_000_000)
    assert world.tick() == "r1"
    assert alarms(world)[-1].startswith("alarm: size")
    assert not any(path.stat().st_size > 1_000_000 for path in world.home("robot-1").rglob("*") if path.is_file())


def test_row_5_metadata_larger_than_allowed_is_not_read(world: World) -> None:
    path = world.metadata("timestamp.json")
    path.write_bytes(path.read_bytes() + b" " * 1_000_000)
    assert world.tick() == "r1"
    assert alarms(world)[-1].startswith("alarm: size")


def test_row_6_stolen_online_keys_cannot_sign_a_release(world: World) -> None:
    thief = world.thief("director", "snapshot", "timestamp")
    forge_release(thief, world.package(tag="evil"))
    assert world.tick() == "r1"
    assert alarms(world)[-1].startswith("alarm: signature")


def test_row_6_stolen_online_keys_cannot_assign_below_the_offline_floor(world: World) -> None:
    world.assign(world.release("r2", tag="two"))
    assert world.tick() == "r2"
    world.repository.raise_floor(2)
    thief = world.thief("director", "snapshot", "timestamp")
    vulnerable = Assignment(robot="robot-1", deployment="d", release="r1", number=1, seq=99, floor=0)
    forge(thief, "director", "assign/robot-1.json", vulnerable.canonical_json())
    assert world.tick() == "r2"
    assert alarms(world)[-1].startswith("alarm: floor")


def test_row_6_after_new_online_keys_a_thiefs_high_numbers_bar_nothing(world: World) -> None:
    thief = world.thief("director", "snapshot", "timestamp")
    far = Assignment(robot="robot-1", deployment="d", release="r1", number=1, seq=10**6, floor=0)
    forge(thief, "director", "assign/robot-1.json", far.canonical_json())
    assert world.tick() == "r1"
    for role in ("timestamp", "snapshot", "director"):
        rotate_keys(world.repository, role)
    clean = Assignment(robot="robot-1", deployment="d1", release="r1", number=1, seq=1, floor=0)
    forge(world.repository, "director", "assign/robot-1.json", clean.canonical_json())
    world.assign(world.release("r2", tag="two"))
    assert world.tick() == "r2"


def test_row_7_one_stolen_release_key_is_not_enough(world: World) -> None:
    thief = world.thief("releases-1", "director", "snapshot", "timestamp")
    forge_release(thief, world.package(tag="evil"))
    assert world.tick() == "r1"
    assert alarms(world)[-1].startswith("alarm: signature")


def test_row_8_every_key_rotated_while_offline_is_walked(world: World) -> None:
    for role in ("root", "timestamp", "root", "snapshot", "targets", "releases", "director"):
        rotate_keys(world.repository, role)
    world.assign(world.release("r2", tag="two"))
    assert world.metadata("6.root.json").exists()
    assert world.tick() == "r2"


def test_row_8_root_signed_by_its_own_new_keys_alone_is_refused(world: World) -> None:
    thief = world.thief("director", "snapshot", "timestamp")
    thief.keys.add("root", 3)
    with pytest.raises(PromotionError, match="not signed by root 1"):
        rotate_keys(thief, "timestamp")
    assert world.metadata("2.root.json").exists()
    assert world.tick() == "r1"
    assert alarms(world)[-1].startswith("alarm: signature")


@pytest.mark.parametrize("year", [1970, 2045])
def test_row_9_impossible_clock_installs_nothing_and_is_reported(world: World, year: int) -> None:
    world.assign(world.release("r2", tag="two"))
    assert world.tick(clock=Clock(datetime(year, 1, 1, tzinfo=UTC))) == "r1"
    assert alarms(world)[-1].startswith(f"alarm: clock: the clock says {year}")
    assert world.tick() == "r2"


def test_row_9_clock_before_the_signing_of_what_is_served_installs_nothing(world: World) -> None:
    world.assign(world.release("r2", tag="two"))
    behind = Clock(world.clock.now)
    behind.pass_by(days=-200)
    assert world.tick(clock=behind) == "r1"
    assert "release metadata was signed at" in alarms(world)[-1]


def test_row_10_another_robots_assignment_is_refused(world: World) -> None:
    world.assign(world.release("r2", tag="two"), "robot-2")
    foreign = world.target("assign/robot-2.json").read_bytes()
    forge(world.repository, "director", "assign/robot-1.json", foreign)
    assert world.tick() == "r1"
    assert alarms(world)[-1].startswith("alarm: robot")


@pytest.mark.parametrize("terms", [{"hardware": ("jetson-orin-nx-16gb",)}, {"l4t": ("36.4",)}])
def test_row_11_wrong_hardware_or_jetpack_is_rejected_before_download(
    world: World, terms: dict[str, tuple[str, ...]]
) -> None:
    class Counting(FolderStore):
        fetched = 0

        def get_file(self, bucket: str, key: str, path: Path, **options: Any) -> ObjectRef:
            self.fetched += 1
            return super().get_file(bucket, key, path, **options)

    release = world.repository.publish_release(world.package(tag="two"), name="r2", **terms)
    world.assign(release)
    store = Counting(world.store.root)
    assert world.tick(store=store) == "r1"
    assert store.fetched == 0
    assert world.reports()[-1]["state"] == "REJECTED"


def test_row_29_robot_back_after_90_days_goes_straight_to_the_latest(world: World) -> None:
    for name in ("r2", "r3", "r4"):
        world.clock.pass_by(days=30)
        world.repository.refresh()
        world.assign(world.release(name, tag=name))
    assert world.tick() == "r4"
    assert "r2" not in {report["attempted"] for report in world.reports()}


def test_row_30_control_plane_down_for_a_week_leaves_robots_unaffected(world: World) -> None:
    world.assign(world.release("r2", tag="two"))
    dead = DeadStore()
    for _ in range(7):
        assert world.tick(store=dead) == "r1"
        world.clock.pass_by(days=1)
    assert not alarms(world)
    world.repository.refresh()
    assert world.tick() == "r2"


def test_row_30_commit_needs_no_network(world: World) -> None:
    world.assign(world.release("r2", tag="two"))
    dead = DeadStore()
    with world.agent(is_safe=lambda: False) as agent:
        assert agent.tick() == "WAIT_SAFE"
    assert world.tick(store=dead) == "r2"
    assert world.reports()[-1]["state"] == "WAIT_SAFE"
    world.tick()
    assert world.reports()[-1]["reason"] == "committed"


def test_row_37_pickle_where_weights_belong_is_refused(world: World) -> None:
    evil = world.package(tag="evil", extra={"encode.onnx": pickle.dumps({"weights": [1.0] * 100})})
    world.assign(world.repository.publish_release(evil, name="evil"))
    assert world.tick() == "r1"
    assert world.reports()[-1]["state"] == "QUARANTINE"
    assert "encode.onnx" in world.reports()[-1]["reason"]


def test_row_37_file_of_a_format_that_carries_code_is_refused(world: World) -> None:
    evil = world.package(tag="evil", extra={"weights.pt": b"PK\x03\x04"})
    world.assign(world.repository.publish_release(evil, name="evil"))
    assert world.tick() == "r1"
    assert world.reports()[-1]["state"] == "QUARANTINE"
