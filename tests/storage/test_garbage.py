"""Garbage collection: what is referred to stays, what is young stays, what is neither goes, also while others write."""

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components.contracts import ObjectRef, PolicyPackage, Settings, TrainedMembers, TrainingPlan, canonical_json
from components.contracts.errors import ConfigurationError, StorageError
from components.promotion import advance_with, release
from components.storage import (
    FolderStore,
    ObjectInfo,
    S3Store,
    find_garbage,
    memory_key,
    put_once,
    recall,
    remember,
    sweep,
)
from tests.faults.fleet_world import World, sha
from tests.reports import make_ensemble, make_report

OLD = timedelta(days=100)


def age(store: FolderStore, by: timedelta = OLD) -> None:
    """Everything that is there was written so long ago."""
    at = (datetime.now(UTC) - by).timestamp()
    for path in store.root.rglob("*"):
        os.utime(path, (at, at))


def keys(store: FolderStore) -> set[str]:
    return {path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()}


def garbage(store: FolderStore) -> set[str]:
    return {item.uri.removeprefix("s3://") for item in find_garbage(store)}


def weights(store: FolderStore, text: str) -> ObjectRef:
    data = text.encode()
    return put_once(store, "models", f"policies/{hashlib.sha256(data).hexdigest()}.safetensors", data)


@dataclass(frozen=True)
class Dataset:
    """As `datasets` keeps one: the version names its shards, a build names the version."""

    version: str
    shard: str
    build: str


def dataset(store: FolderStore, text: str) -> Dataset:
    shard = put_once(store, "datasets", f"shards/{sha(text.encode())}.safetensors", text.encode())
    document = canonical_json({"shards": [shard.model_dump(mode="json")]})
    version = sha(document)
    put_once(store, "datasets", f"versions/{version}.json", document)
    build = f"builds/{sha(document + b'inputs')}.json"
    store.put("datasets", build, canonical_json({"version": version}))
    return Dataset(version, shard.key, build)


def members(store: FolderStore, version: Dataset, text: str) -> TrainedMembers:
    (made, *_) = make_ensemble().members
    policy = made.model_copy(update={"weights": weights(store, text), "dataset": version.version})
    return TrainedMembers(members=(policy,))


def test_a_release_keeps_all_that_it_stands_on_and_the_rest_goes(tmp_path: Path) -> None:
    world, settings = World(tmp_path, robots=("robot-1",)), Settings(home=tmp_path)
    store = world.store
    kept, lost = dataset(store, "kept"), dataset(store, "lost")
    good, bad = members(store, kept, "good"), members(store, lost, "bad")
    ensemble = make_ensemble().model_copy(update={"members": good.members, "dataset": kept.version})
    for name, found in (("good", good), ("bad", bad)):
        remember(store, memory_key("tune", {"name": name}), found)
    package, orphan = world.package(tag="one"), world.package(tag="never released")
    release(store, settings, package, ensemble, make_report(), TrainingPlan(soak_trials=2))
    store.put("receipts", "robot-1/a.json", b"{}")
    store.put("inbox", "robot-1/a/e.h5", b"waits")
    store.put("quarantine", f"{sha(b'bad')}/e.h5", b"bad")
    store.put("quarantine", f"{sha(b'bad')}/finding.json", b"{}")
    store.put("datasets", "probe/left", b"")
    age(store)
    before = keys(store)

    found = garbage(store)
    dead = {item.key for item in (orphan.manifest, *orphan.files.values())} - _keys_of(package)
    expected = {f"models/{key}" for key in dead} | {
        f"models/{memory_key('tune', {'name': 'bad'})}", f"models/{bad.members[0].weights.key}",
        f"datasets/versions/{lost.version}.json", f"datasets/{lost.shard}", f"datasets/{lost.build}",
        "datasets/probe/left", f"quarantine/{sha(b'bad')}/e.h5", f"quarantine/{sha(b'bad')}/finding.json",
    }  # fmt: skip
    assert found == expected
    assert keys(store) == before
    order = [item.uri.rpartition("/")[2] for item in find_garbage(store) if item.kind == "quarantine"]
    assert order == ["e.h5", "finding.json"]

    assert {item.uri.removeprefix("s3://") for item in sweep(store)} == found
    assert keys(store) == before - found
    assert garbage(store) == set()
    assert store.get("datasets", kept.shard) == b"kept"
    assert world.tick() is not None
    while advance_with(store, world.repository)[0].status == "running":
        world.tick()


def _keys_of(package: PolicyPackage) -> set[str]:
    return {ref.key for ref in (package.manifest, *package.files.values())}


def test_nothing_younger_than_the_grace_period_is_touched(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    version = dataset(store, "shard")
    weights(store, "alone")
    age(store, timedelta(days=13))
    assert (garbage(store), sweep(store)) == (set(), [])
    assert store.get("datasets", version.shard) == b"shard"
    with pytest.raises(ConfigurationError, match="at least 2 days"):
        find_garbage(store, grace=timedelta(hours=1))
    with pytest.raises(ConfigurationError, match="at least 2 days"):
        sweep(store, quarantine=timedelta(0))


def test_young_result_keeps_what_is_old(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    version = dataset(store, "shard")
    found = members(store, version, "weights")
    age(store)
    remember(store, memory_key("tune", {}), found)
    assert garbage(store) == set()


def test_what_is_found_again_is_young_again(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    version = dataset(store, "shard")
    found = members(store, version, "weights")
    key = memory_key("tune", {})
    remember(store, key, found)
    age(store)
    assert f"models/{key}" in garbage(store)
    assert recall(store, key, TrainedMembers) == found
    assert garbage(store) == set()
    age(store)
    assert weights(store, "weights") == found.members[0].weights
    assert f"models/{found.members[0].weights.key}" not in garbage(store)


class FoundMeanwhile(FolderStore):
    """A store in which another run finds an old result at the moment at which it is about to go."""

    def __init__(self, root: Path, key: str) -> None:
        super().__init__(root)
        self._key, self._done = key, False

    def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        if key == self._key and not self._done:
            self._done = True
            assert recall(FolderStore(self.root), key, TrainedMembers) is not None
        return super().stat(bucket, key)


def test_result_that_a_run_finds_while_it_is_swept_keeps_its_data(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    version = dataset(store, "shard")
    key = memory_key("tune", {})
    remember(store, key, members(store, version, "weights"))
    age(store)
    sweep(FoundMeanwhile(store.root, key))
    found = recall(store, key, TrainedMembers)
    assert found is not None
    assert store.get("models", found.members[0].weights.key) == b"weights"
    assert store.get("datasets", version.shard) == b"shard"


def test_root_that_cannot_be_read_ends_it_with_nothing_deleted(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    weights(store, "alone")
    store.put("models", "releases/r1.json", b"{}")
    age(store)
    with (store.root / "models" / "releases" / "r1.json").open("r+b") as file:
        file.truncate(300 * 2**20)
    before = keys(store)
    with pytest.raises(StorageError, match="at most"):
        sweep(store)
    assert keys(store) == before


@pytest.mark.s3
def test_unfinished_upload_goes_when_no_part_came_for_the_grace_period(platform: S3Store) -> None:
    upload = platform.begin_parts("inbox", "robot-1/a/e.h5")
    now = datetime.now(UTC)
    assert [item for item in find_garbage(platform, now=now) if item.kind == "unfinished uploads"] == []
    later = now + timedelta(days=15)
    found = [item for item in find_garbage(platform, now=later) if item.kind == "unfinished uploads"]
    assert [(item.uri, item.size) for item in found] == [("s3://inbox/robot-1/a/e.h5", 0)]
    sweep(platform, now=later)
    assert upload not in platform.open_uploads("inbox", "robot-1/a/e.h5")
