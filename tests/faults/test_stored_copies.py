"""Row 48: bytes that rot or are miswritten between the PUT and the receipt. No intact copy, no receipt."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from components import ingest
from components.contracts import EpisodeRecord, Finding, ObjectRef, Receipt, Settings, SignedReceipt
from components.contracts.errors import StorageError
from components.episodes import KEYS, EpisodeAttributes, EpisodeWriter
from components.ingest import Quarantined
from components.storage import FolderStore, S3Store, connect, fetch, sha256_of_file
from infra.local import store_alone
from tests.faults.bad_network import BadNetwork
from tests.faults.upload_world import UploadWorld

NAME = "episode_20250815_103000_1box_vert_left_core_medium"


class RottingStore(FolderStore):
    """A folder whose disk changes a byte of what was just written, as often as `rots` says."""

    def __init__(self, root: Path, hits: Callable[[str, str], bool], rots: int) -> None:
        super().__init__(root)
        self._hits, self.rots = hits, rots

    def put_file(self, bucket: str, key: str, path: Path, *, if_absent: bool = False) -> ObjectRef:
        ref = super().put_file(bucket, key, path, if_absent=if_absent)
        if self.rots and self._hits(bucket, key):
            self.rots -= 1
            flip(self._path(bucket, key))
        return ref


def flip(path: Path, position: int | None = None) -> None:
    """One byte, on the disk."""
    with path.open("r+b") as file:
        place = path.stat().st_size // 2 if position is None else position
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 1]))
        os.fsync(file.fileno())


def recorded(path: Path, seed: int = 0, robot: str = "r1") -> Path:
    generator = np.random.default_rng(seed)
    with EpisodeWriter(path, EpisodeAttributes(name=path.stem, robot=robot), 36, 64) as writer:
        for index in range(4):
            image = generator.integers(0, 256, (36, 64, 3), dtype=np.uint8)
            event = "start_action" if index else "episode_start"
            writer.append(image, KEYS["W"] if index else KEYS["space"], event, elapsed_s=index * 1.5)
    return path


@pytest.fixture
def episode(tmp_path: Path) -> Path:
    return recorded(tmp_path / f"{NAME}.h5")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.h5"
    with h5py.File(path, "w") as file:
        file["nothing"] = np.arange(1000)
    return path


def upload(store: FolderStore, path: Path) -> str:
    key = f"r1/{sha256_of_file(path)}/{path.stem}.h5"
    FolderStore(store.root).put_file("inbox", key, path)
    return key


def drain(store: FolderStore) -> list[Receipt]:
    key = ingest.ReceiptKey(store.root.parent / "receipt-key.pem")
    return ingest.settle(store, ingest.inspect_inbox(store), key=key)


def listed(store: FolderStore, bucket: str) -> list[str]:
    return [info.key for info in store.list(bucket)]


@pytest.mark.parametrize("rots", [1, 2])
def test_copy_that_was_miswritten_is_written_again_before_the_receipt(tmp_path: Path, episode: Path, rots: int) -> None:
    store = RottingStore(tmp_path / "store", lambda _bucket, key: key.endswith(".h5"), rots)
    upload(store, episode)

    (receipt,) = drain(store)

    (record,) = ingest.records(store)
    assert receipt.status == "accepted"
    assert fetch(store, record.file) == episode.read_bytes()
    assert listed(store, "inbox") == []


def test_copy_that_rots_each_time_gets_no_receipt_and_the_upload_stays(
    tmp_path: Path, episode: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RottingStore(tmp_path / "store", lambda bucket, _key: bucket == "episodes", 10**6)
    key = upload(store, episode)

    assert drain(store) == []

    assert listed(store, "receipts") == []
    assert listed(store, "inbox") == [key]
    assert f"{sha256_of_file(episode)}.h5" not in listed(store, "episodes")
    assert "ALARM" in caplog.text

    mended = FolderStore(store.root)
    assert [receipt.status for receipt in drain(mended)] == ["accepted"]
    assert fetch(mended, ingest.records(mended)[0].file) == episode.read_bytes()


def test_quarantined_copy_that_rots_gets_no_receipt_either(tmp_path: Path, broken: Path, episode: Path) -> None:
    store = RottingStore(tmp_path / "store", lambda bucket, key: bucket == "quarantine" and key.endswith(".h5"), 10**6)
    key = upload(store, broken)
    upload(store, episode)

    assert [receipt.name for receipt in drain(store)] == [NAME]  # the other one is none of its business

    assert listed(store, "inbox") == [key]
    mended = FolderStore(store.root)
    assert [receipt.status for receipt in drain(mended)] == ["quarantined"]
    assert fetch(mended, ingest.quarantined(mended)[0].file) == broken.read_bytes()


@pytest.mark.parametrize("bucket", ["episodes", "quarantine", "receipts"])
def test_documents_are_read_back_too(tmp_path: Path, episode: Path, broken: Path, bucket: str) -> None:
    store = RottingStore(tmp_path / "store", lambda found, key: found == bucket and key.endswith(".json"), 1)
    for path in (episode, broken):
        upload(store, path)

    drain(store)
    drain(store)  # what failed for a rotten claim of its name is done now

    sound = FolderStore(store.root)
    key = ingest.ReceiptKey(tmp_path / "receipt-key.pem")
    for path, bucket_of, kind, document in (
        (episode, "episodes", EpisodeRecord, f"{sha256_of_file(episode)}.json"),
        (broken, "quarantine", Quarantined, f"{sha256_of_file(broken)}/finding.json"),
    ):
        found = kind.parse(sound.get(bucket_of, document), source="test")
        assert found.file.sha256 == sha256_of_file(path)  # type: ignore[attr-defined]
        signed = SignedReceipt.parse(sound.get("receipts", f"r1/{sha256_of_file(path)}.json"), source="test")
        assert signed == key.sign(signed.receipt)


@pytest.mark.parametrize("loss", ["rotten", "gone", "cut"])
def test_admitted_episode_that_rotted_is_mended_by_the_next_upload_of_it(
    tmp_path: Path, episode: Path, loss: str
) -> None:
    store = FolderStore(tmp_path / "store")
    upload(store, episode)
    drain(store)
    kept = store.root / "episodes" / f"{sha256_of_file(episode)}.h5"
    if loss == "rotten":
        flip(kept)
    elif loss == "cut":
        os.truncate(kept, 100)
    else:
        kept.unlink()
    upload(store, episode)

    (receipt,) = drain(store)

    assert receipt.status == "accepted"
    assert kept.read_bytes() == episode.read_bytes()


def test_damaged_record_is_written_anew_by_the_next_upload(tmp_path: Path, episode: Path) -> None:
    store = FolderStore(tmp_path / "store")
    upload(store, episode)
    drain(store)
    (record,) = ingest.records(store)
    document = store.root / "episodes" / f"{sha256_of_file(episode)}.json"
    document.write_bytes(b"{" + document.read_bytes())
    upload(store, episode)

    assert [receipt.status for receipt in drain(store)] == ["accepted"]
    assert [found.file for found in ingest.records(store)] == [record.file]


def test_other_bytes_under_an_episodes_name_are_not_taken_for_it(tmp_path: Path, episode: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.put("episodes", f"{sha256_of_file(episode)}.h5", b"x" * episode.stat().st_size)
    upload(store, episode)

    assert [receipt.status for receipt in drain(store)] == ["accepted"]
    assert fetch(store, ingest.records(store)[0].file) == episode.read_bytes()


def test_quarantined_bytes_stay_when_their_admission_was_miswritten(tmp_path: Path, episode: Path) -> None:
    store = FolderStore(tmp_path / "store")
    upload(store, episode)
    candidates = ingest.inspect_inbox(store)
    refused = Finding(sha256=candidates[0].sha256, rule="blank", severity="error", expected="x", observed="y")
    receipt_key = ingest.ReceiptKey(tmp_path / "receipt-key.pem")
    ingest.settle(store, candidates, [refused], key=receipt_key)
    rotting = RottingStore(store.root, lambda bucket, name: bucket == "episodes" and name.endswith(".h5"), 10**6)

    with pytest.raises(StorageError, match="was not released"):
        ingest.release(rotting, candidates[0].sha256, by="me", reason="it is good", key=receipt_key)

    (entry,) = ingest.quarantined(store)
    assert fetch(store, entry.file) == episode.read_bytes()
    released = ingest.release(store, candidates[0].sha256, by="me", reason="it is good", key=receipt_key)
    assert released.status == "accepted"


# a real server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with store_alone(Settings(home=tmp_path_factory.mktemp("store"))) as settings:
        yield settings


class FlippingNetwork(BadNetwork):
    """Changes a byte of the bodies that hold `marker`, on one way, as often as `flips` says."""

    marker, flips, flipped_way = b"", 0, "up"

    def changed(self, way: str, data: bytes) -> bytes:
        place = data.find(self.marker) if self.marker and self.flips and way == self.flipped_way else -1
        if place < 0:
            return data
        self.flips -= 1
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@contextmanager
def flipping(settings: Settings) -> Iterator[tuple[S3Store, FlippingNetwork]]:
    network = FlippingNetwork(str(settings.s3_endpoint))
    try:
        yield connect(settings.model_copy(update={"s3_endpoint": network.address}), patience=1.0), network
    finally:
        network.close()


@pytest.mark.parametrize("way", ["up", "down"])
def test_byte_that_flips_on_its_way_costs_no_episode(served: Settings, tmp_path: Path, way: str) -> None:
    world = UploadWorld(served, tmp_path)
    robot = f"flip-{way}"
    path = recorded(tmp_path / f"{NAME}.h5", seed=len(way))
    world.store.put_file("inbox", f"{robot}/{sha256_of_file(path)}/one.h5", path)
    with flipping(served) as (store, network):
        candidates = [item for item in ingest.inspect_inbox(store) if item.robot == robot]
        network.marker, network.flips, network.flipped_way = path.read_bytes()[2000:2032], 1, way
        first = ingest.settle(store, candidates, key=world.key)
        assert network.flips == 0
    again = [item for item in ingest.inspect_inbox(world.store) if item.robot == robot]
    receipts = first or ingest.settle(world.store, again, key=world.key)

    assert [receipt.rule for receipt in receipts] == ["robot-mismatch"]
    (entry,) = [item for item in ingest.quarantined(world.store) if item.robot == robot]
    assert fetch(world.store, entry.file) == path.read_bytes()


class RottingDisk(S3Store):
    """A real SeaweedFS on a disk that changes a byte of the first episode that it is given."""

    flipped: int = 0
    data: Path

    def put_file(self, bucket: str, key: str, path: Path, *, if_absent: bool = False) -> ObjectRef:
        ref = super().put_file(bucket, key, path, if_absent=if_absent)
        if bucket == "episodes" and not self.flipped:
            marker = path.read_bytes()[2000:2064]
            for volume in self.data.rglob("episodes*.dat"):
                if (place := volume.read_bytes().rfind(marker)) >= 0:
                    flip(volume, place)
                    self.flipped += 1
        return ref


def test_robot_keeps_its_copy_until_a_rotting_disk_holds_an_intact_one(served: Settings, tmp_path: Path) -> None:
    world = UploadWorld(served, tmp_path)
    assert served.s3_key
    assert served.s3_secret
    with world.gateway() as url:
        world.enrol("r1", url)
        path = recorded(world.spool("r1").path_of(NAME), seed=7)
        content, sha256 = path.read_bytes(), sha256_of_file(path)
        uploader = world.uploader("r1")
        assert uploader.sync().sent == [NAME]
        disk = RottingDisk(str(served.s3_endpoint), served.s3_key, served.s3_secret.get_secret_value(), patience=1.0)
        disk.data = served.home / "store"
        candidates = [item for item in ingest.inspect_inbox(disk) if item.robot == "r1"]
        (receipt,) = ingest.settle(disk, candidates, key=world.key)

        assert disk.flipped == 1
        assert receipt.status == "accepted"
        assert world.store.get("episodes", f"{sha256}.h5") == content
        assert uploader.sync().confirmed == [NAME]
