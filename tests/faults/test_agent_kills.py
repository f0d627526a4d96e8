"""Rows 12 and 14: SIGKILL in the agent and the publisher. The old policy or the new, never neither."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from components.contracts import AgentState, ObjectRef
from components.storage import FolderStore
from tests.faults.fleet_world import World, in_child, kill_me, kill_me_at

KILLED = -9
STATES: tuple[AgentState, ...] = (
    "CHECK", "DOWNLOAD", "VERIFY", "STAGE", "BUILD", "SELFTEST", "WAIT_SAFE", "ACTIVATE", "TRIAL", "COMMIT", "IDLE",
)  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Robot-1 drives r1."""
    world = World(tmp_path)
    world.assign(world.release("r1", tag="one"))
    assert world.tick() == "r1"
    return world


def killed_in(state: AgentState) -> Callable[[AgentState], None]:
    return lambda entered: kill_me() if entered == state else None


def settle(world: World) -> str | None:
    """Start again and let it come to rest."""
    with world.agent() as agent:
        assert agent.tick() == "IDLE"
        assert agent.tick() == "IDLE"
    return world.drives()


@pytest.mark.parametrize("state", STATES)
def test_row_14_killed_in_a_state_drives_a_whole_policy_and_ends_on_the_new_one(
    world: World, state: AgentState
) -> None:
    world.assign(world.release("r2", tag="two"))
    assert in_child(lambda: world.tick(on_state=killed_in(state))) == KILLED
    assert world.drives() in {"r1", "r2"}
    assert settle(world) == "r2"
    assert world.reports()[-1]["reason"] == "committed"


@pytest.mark.parametrize("state", ["TRIAL", "ROLLBACK", "QUARANTINE", "IDLE"])
def test_row_14_killed_on_the_way_back_ends_on_the_old_one(world: World, state: AgentState) -> None:
    world.assign(world.release("bad", tag="two", fault="non-finite action"))
    assert in_child(lambda: world.tick(on_state=killed_in(state))) == KILLED
    assert world.drives() in {"r1", "bad"}
    assert settle(world) == "r1"
    assert world.reports()[-1]["state"] == "QUARANTINE"


@pytest.mark.parametrize("state", ["BUILD", "SELFTEST"])
def test_row_14_killed_in_build_or_self_test_again_and_again_is_quarantined(world: World, state: AgentState) -> None:
    world.assign(world.release("r2", tag="two"))
    for _ in range(3):
        assert in_child(lambda: world.tick(on_state=killed_in(state))) == KILLED
        assert world.drives() == "r1"
    assert settle(world) == "r1"
    assert world.reports()[-1]["state"] == "QUARANTINE"
    assert f"died in {state}" in world.reports()[-1]["reason"]


def sweep(tmp_path: Path, start: int, stride: int, **said: object) -> list[int]:
    """Kill the agent at its n-th touch of the disk, for growing n, until it gets through; the n that were tried."""
    first = World(tmp_path / "first")
    first.assign(first.release("r1", tag="one"))
    assert first.tick() == "r1"
    first.assign(first.release("r2", tag="two", **said))
    tried = []
    for number in range(start, 2000, stride):
        world = World(Path(shutil.copytree(first.root, tmp_path / f"at-{number}", symlinks=True)), clock=first.clock)
        tried.append(number)
        status = in_child(lambda: (kill_me_at(number), world.tick()))  # noqa: B023  # forked at once
        assert status in {KILLED, 0}
        assert world.drives() in {"r1", "r2"}, f"killed at {number}"
        assert settle(world) == ("r1" if said else "r2"), f"killed at {number}"
        shutil.rmtree(world.root)
        if status == 0:
            return tried
    raise AssertionError("never got through")


def test_row_14_killed_at_many_touches_of_the_disk_ends_on_the_new_policy(tmp_path: Path) -> None:
    assert len(sweep(tmp_path, 3, 29)) > 5


def test_row_14_killed_at_many_touches_of_the_disk_ends_on_the_old_policy(tmp_path: Path) -> None:
    assert len(sweep(tmp_path, 7, 29, fault="non-finite action")) > 5


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_row_14_killed_at_every_touch_of_the_disk_ends_defined(tmp_path: Path) -> None:
    assert len(sweep(tmp_path / "good", 1, 1)) > 100
    assert len(sweep(tmp_path / "bad", 1, 1, fault="non-finite action")) > 100


class DyingStore(FolderStore):
    """Kills its process before it writes a key that ends so."""

    def __init__(self, root: Path, ending: str) -> None:
        super().__init__(root)
        self._ending = ending

    def put_file(self, bucket: str, key: str, path: Path, *, if_absent: bool = False) -> ObjectRef:
        if re.search(f"{self._ending}$", key):
            kill_me()
        return super().put_file(bucket, key, path, if_absent=if_absent)


WRITES = (
    r"\.manifest\.json", r"\.encode\.onnx", r"\.golden\.safetensors", r"\.release\.json", r"claims/\d+\.json",
    r"metadata/\d+\.releases\.json", r"metadata/\d+\.snapshot\.json", r"metadata/timestamp\.json",
)  # fmt: skip


def test_row_12_publisher_killed_before_any_write_leaves_the_old_view_intact(world: World) -> None:
    package = world.package(tag="two")
    before = world.metadata("timestamp.json").read_bytes()
    for ending in WRITES:
        dying = world.publisher(store=DyingStore(world.store.root, ending))
        assert in_child(lambda: dying.publish_release(package, name="r2")) == KILLED  # noqa: B023  # forked at once
        assert world.metadata("timestamp.json").read_bytes() == before
        assert [release.name for release in world.repository.releases()] == ["r1"]
        assert world.tick() == "r1"
    world.assign(world.repository.publish_release(package, name="r2"))
    assert world.tick() == "r2"


def test_row_12_publisher_killed_while_making_the_repository_is_finished_by_the_next(tmp_path: Path) -> None:
    world = World(tmp_path / "made", robots=())
    shutil.rmtree(world.store.root / "releases")
    (world.root / "keys" / "root.json").unlink()
    for ending in (r"1\.root\.json", r"claims/1\.json", r"1\.targets\.json", r"2\.snapshot\.json", r"timestamp\.json"):
        dying = world.publisher(store=DyingStore(world.store.root, ending))
        assert in_child(dying.create) == KILLED
    world.repository.create()
    assert world.repository.releases() == []


def test_row_12_concurrent_publishers_lose_nothing(world: World) -> None:
    import threading

    names = [f"c{number}" for number in range(4)]
    packages = {name: world.package(tag=name) for name in names}
    failures: list[Exception] = []

    def publish(name: str) -> None:
        try:
            world.publisher(lease_s=60).publish_release(packages[name], name=name)
        except Exception as error:  # noqa: BLE001  # any is a failure of the test
            failures.append(error)

    threads = [threading.Thread(target=publish, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    found = world.repository.releases()
    assert sorted(release.name for release in found) == [*names, "r1"]
    assert sorted(release.number for release in found) == [1, 2, 3, 4, 5]
