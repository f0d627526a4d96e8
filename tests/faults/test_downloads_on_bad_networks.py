"""Row 13: the update agent's download over connections that are reset, again and again."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.contracts import Settings
from components.contracts.errors import StorageError
from components.storage import S3Store, connect, prepare
from infra.local import store_alone
from tests.faults.bad_network import BadNetwork, bad_network
from tests.faults.fleet_world import StoreReports, World

MB = 10**6
SIZE = 20 * 2**20


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with store_alone(Settings(home=tmp_path_factory.mktemp("store"))) as settings:
        prepare(connect(settings))
        yield settings


def _over(network: BadNetwork, settings: Settings, patience: float = 2.0) -> S3Store:
    assert settings.s3_key
    assert settings.s3_secret
    return S3Store(network.address, settings.s3_key, settings.s3_secret.get_secret_value(), patience=patience)


def test_row_13_wifi_that_drops_every_megabyte_still_brings_the_release(settings: Settings, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.assign(world.release("r1", size=SIZE))
    platform = connect(settings)
    for info in world.store.list("releases"):
        platform.put("releases", info.key, world.store.get("releases", info.key))
    with bad_network(str(settings.s3_endpoint), cut_after=MB, way="down") as network:
        assert world.tick(store=_over(network, settings), reports=StoreReports(world.store)) == "r1"
    package = sum(path.stat().st_size for path in (world.home("robot-1") / "current").iterdir())
    assert package > SIZE
    assert network.cuts >= package // MB
    assert network.bytes["down"] <= 1.1 * package


def test_row_13_download_goes_on_after_the_network_was_away_for_longer_than_patience(
    settings: Settings, tmp_path: Path
) -> None:
    data = hashlib.sha256(b"seed").digest() * (SIZE // 32)
    connect(settings).put("releases", "large", data)
    path = tmp_path / "large"
    with bad_network(str(settings.s3_endpoint), cut_after=3 * MB, way="down") as network:
        store = _over(network, settings, patience=0.3)
        network.down_after_cuts = 2
        with pytest.raises(StorageError, match="did not do it within"):
            store.get_file("releases", "large", path, resume=True)
        part = path.with_name("large.part")
        assert 5 * MB < part.stat().st_size < len(data)
        assert not path.exists()
        network.down_after_cuts, network.down = None, False
        found = _over(network, settings).get_file("releases", "large", path, resume=True)
    assert path.read_bytes() == data
    assert (found.sha256, found.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert network.bytes["down"] <= 1.1 * len(data)
    assert not part.exists()


@pytest.mark.parametrize("left", [b"", b"x" * 100, b"x" * (SIZE + 5)])
def test_row_13_what_an_earlier_download_left_never_makes_a_wrong_file_pass(
    settings: Settings, tmp_path: Path, left: bytes
) -> None:
    data = hashlib.sha256(b"other").digest() * (SIZE // 32)
    connect(settings).put("releases", "other", data)
    (tmp_path / "other.part").write_bytes(left)
    found = connect(settings).get_file("releases", "other", tmp_path / "other", resume=True)
    whole = (tmp_path / "other").read_bytes()
    assert found.sha256 == hashlib.sha256(whole).hexdigest()  # of what is there, so that the caller can refuse it
    assert (whole == data) is (len(left) != 100)
    again = connect(settings).get_file("releases", "other", tmp_path / "other")
    assert again.sha256 == hashlib.sha256(data).hexdigest()


def test_row_13_finished_part_of_a_killed_download_is_not_fetched_again(settings: Settings, tmp_path: Path) -> None:
    data = hashlib.sha256(b"third").digest() * (SIZE // 32)
    connect(settings).put("releases", "third", data)
    (tmp_path / "third.part").write_bytes(data)
    with bad_network(str(settings.s3_endpoint)) as network:
        _over(network, settings).get_file("releases", "third", tmp_path / "third", resume=True)
    assert (tmp_path / "third").read_bytes() == data
    assert network.bytes["down"] < MB
