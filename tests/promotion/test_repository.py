"""The signed repository and its keys."""

from datetime import timedelta
from pathlib import Path

import pytest

from components.contracts.errors import ConfigurationError, PromotionError
from components.promotion import WARNING_FILE, ReleaseRepository, make_demo_keys
from components.storage import FolderStore
from tests.faults.fleet_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_demo_keys_say_loudly_that_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ring = make_demo_keys(tmp_path / "keys")
    assert "DEMO KEYS" in caplog.text
    assert "DEMO KEYS" in (ring.folder / WARNING_FILE).read_text()
    assert {path.stat().st_mode & 0o777 for path in ring.folder.glob("*.pem")} == {0o600}
    before = {path: path.read_bytes() for path in ring.folder.glob("*.pem")}
    make_demo_keys(tmp_path / "keys")
    assert {path: path.read_bytes() for path in ring.folder.glob("*.pem")} == before


def test_release_says_that_it_was_signed_with_demo_keys(world: World) -> None:
    assert world.release().demo_keys


def test_key_that_others_can_read_is_refused(world: World) -> None:
    (world.keys.folder / "director-1.pem").chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        world.assign(world.release())


def test_same_package_again_is_the_same_release(world: World) -> None:
    package = world.package(tag="one")
    first = world.repository.publish_release(package)
    assert world.repository.publish_release(package) == first
    assert world.repository.releases() == [first]


def test_release_name_of_another_package_is_taken(world: World) -> None:
    world.release("r1", tag="one")
    with pytest.raises(PromotionError, match="another package"):
        world.release("r1", tag="two")


def test_assignments_rise_in_seq_and_repeated_ones_keep_it(world: World) -> None:
    first, second = world.release(tag="one"), world.release(tag="two")
    assert [world.assign(release) for release in (first, first, second, first)] == [1, 1, 2, 3]


def test_floor_only_rises_and_bars_older_releases(world: World) -> None:
    first, second = world.release(tag="one"), world.release(tag="two")
    world.repository.raise_floor(2)
    with pytest.raises(PromotionError, match="security floor is 2"):
        world.assign(first)
    world.assign(second)
    with pytest.raises(PromotionError, match="only rises"):
        world.repository.raise_floor(1)


def test_online_server_without_release_keys_assigns_but_cannot_release(world: World) -> None:
    release = world.release(tag="one")
    for path in world.keys.folder.glob("*.pem"):
        if path.name.startswith(("root", "targets", "releases")):
            path.unlink()
    world.assign(release)
    world.repository.refresh(within=1.1)
    with pytest.raises(PromotionError, match="keys of the role releases"):
        world.release(tag="two")
    assert world.tick() == release.name


def test_refresh_signs_only_what_grows_old(world: World) -> None:
    assert world.repository.refresh() == set()
    world.clock.pass_by(days=2)
    assert world.repository.refresh() == {"timestamp"}
    world.clock.pass_by(days=60)
    assert world.repository.refresh() >= {"releases", "director", "snapshot", "timestamp"}


def test_repository_of_other_keys_is_not_touched(world: World, tmp_path: Path) -> None:
    make_demo_keys(tmp_path / "other")
    with pytest.raises(PromotionError, match="other keys"):
        ReleaseRepository(world.store, tmp_path / "other").create()


def test_altered_metadata_is_not_signed_again(world: World) -> None:
    world.release(tag="one")
    version = max(int(path.name.partition(".")[0]) for path in world.metadata("").glob("*.releases.json"))
    path = world.metadata(f"{version}.releases.json")
    path.write_bytes(path.read_bytes().replace(b"r0001", b"r0666"))
    with pytest.raises(PromotionError, match="not what our keys signed"):
        world.release(tag="two")


def test_expiries_are_those_of_the_fault_matrix(world: World) -> None:
    view = world.repository.metadata.load()
    lifetimes = {"root": 365, "snapshot": 7, "timestamp": 3}
    for role, days in lifetimes.items():
        assert getattr(view, role).expires - world.clock.now == timedelta(days=days)
    for role, days in {"targets": 180, "releases": 90, "director": 7}.items():
        assert view.roles[role].expires - world.clock.now == timedelta(days=days)


def test_role_signs_its_own_paths_alone(world: World) -> None:
    view = world.repository.metadata.load()
    assert view.delegation("releases").is_delegated_path("releases/r1/encode.onnx")
    for path in ("releases/r1", "releases/r1/a/b", "assign/robot-1.json", "floor.json"):
        assert not view.delegation("releases").is_delegated_path(path)
    assert not view.delegation("director").is_delegated_path("releases/r1/encode.onnx")
    assert view.delegation("releases").threshold == 2


def test_empty_bucket_has_no_repository(tmp_path: Path) -> None:
    make_demo_keys(tmp_path / "keys")
    repository = ReleaseRepository(FolderStore(tmp_path / "store"), tmp_path / "keys")
    with pytest.raises(Exception, match=r"1\.root\.json is not there"):
        repository.releases()
