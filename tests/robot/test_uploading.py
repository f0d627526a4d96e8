import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from components.contracts import ObjectRef, Receipt, SignedReceipt
from components.contracts.errors import ConfigurationError, EpisodeError, SpoolFullError, StorageError
from components.episodes import KEYS, EpisodeAttributes
from components.robot import Recorder, Spool, Uploader, upload_folder
from components.storage import FolderStore, ObjectInfo, sha256_of_file


class UnreliableStore(FolderStore):
    """A store behind a bad network: the next `outages` requests fail, and puts may be done although they say no."""

    outages = 0
    done_but_unsaid = False
    requests = 0

    def _network(self) -> None:
        self.requests += 1
        if self.outages > 0:
            self.outages -= 1
            raise StorageError("the store cannot be reached")

    def put_file(self, bucket: str, key: str, path: Path, *, if_absent: bool = False) -> ObjectRef:
        if self.outages > 0 and self.done_but_unsaid:
            super().put_file(bucket, key, path, if_absent=if_absent)
        self._network()
        return super().put_file(bucket, key, path, if_absent=if_absent)

    def get(self, bucket: str, key: str, *, limit: int = 64 * 2**20) -> bytes:
        self._network()
        return super().get(bucket, key, limit=limit)


class BlindInbox(UnreliableStore):
    """A store that lets robots write the inbox, not look into it."""

    uploads = 0

    def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        if bucket == "inbox":
            raise StorageError("refused: robots may not look into the inbox")
        return super().stat(bucket, key)

    def put_file(self, bucket: str, key: str, path: Path, *, if_absent: bool = False) -> ObjectRef:
        self.uploads += 1
        return super().put_file(bucket, key, path, if_absent=if_absent)


@pytest.fixture
def store(tmp_path: Path) -> UnreliableStore:
    return UnreliableStore(tmp_path / "store")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def uploader(spool: Spool, store: UnreliableStore) -> Uploader:
    return Uploader(spool, store, "robot-1")


def _record(spool: Spool, name: str, seed: int = 0) -> Path:
    recorder = Recorder(spool, "robot-1")
    recorder.start(EpisodeAttributes(name=name), height=54, width=96)
    image = np.random.default_rng(seed).integers(0, 256, (54, 96, 3), dtype=np.uint8)
    recorder.append(image, KEYS["space"], "episode_start")
    return recorder.finish()


def _confirm(store: FolderStore, path: Path, **changes: object) -> None:
    sha256 = sha256_of_file(path)
    receipt = {
        "robot": "robot-1", "name": path.stem, "sha256": sha256, "size": path.stat().st_size, "status": "accepted",
        "issued_at": datetime.now(UTC),
    } | changes  # fmt: skip
    signed = SignedReceipt(receipt=Receipt.model_validate(receipt), key="0" * 64, signature="0" * 128)
    store.put("receipts", f"robot-1/{sha256}.json", signed.canonical_json())


def test_an_episode_goes_to_the_inbox_and_stays_until_its_receipt(
    spool: Spool, store: UnreliableStore, uploader: Uploader
) -> None:
    path = _record(spool, "one")
    data, key = path.read_bytes(), f"robot-1/{sha256_of_file(path)}/one.h5"
    assert uploader.sync().sent == ["one"]
    assert store.get("inbox", key) == data
    assert uploader.sync().waiting == ["one"]
    assert path.read_bytes() == data
    _confirm(store, path)
    assert uploader.sync().confirmed == ["one"]
    assert spool.pending() == []
    assert uploader.sync().confirmed == []


def test_a_receipt_is_enough_even_when_the_inbox_was_emptied(
    spool: Spool, store: UnreliableStore, uploader: Uploader
) -> None:
    _confirm(store, _record(spool, "one"), status="quarantined", rule="frame-zero")
    report = uploader.sync()
    assert (report.confirmed, report.quarantined, report.sent) == (["one"], {"one": "frame-zero"}, [])
    assert list(store.list("inbox")) == []


@pytest.mark.parametrize(
    "changes", [{"robot": "robot-2"}, {"sha256": "0" * 64}, {"size": 3}], ids=["robot", "sha256", "size"]
)
def test_a_receipt_for_anything_else_deletes_nothing(
    spool: Spool, store: UnreliableStore, uploader: Uploader, changes: dict[str, object]
) -> None:
    path = _record(spool, "one")
    _confirm(store, path, **changes)
    assert uploader.sync().confirmed == []
    assert spool.pending() == [path]


@pytest.mark.parametrize("document", [b"", b"{}", b"not json", b'{"status": "accepted"}'])
def test_a_receipt_that_is_none_deletes_nothing(
    spool: Spool, store: UnreliableStore, uploader: Uploader, document: bytes
) -> None:
    path = _record(spool, "one")
    store.put("receipts", f"robot-1/{sha256_of_file(path)}.json", document)
    assert uploader.sync().sent == ["one"]
    assert spool.pending() == [path]


def test_ten_passes_upload_one_object(spool: Spool, store: UnreliableStore, uploader: Uploader) -> None:
    _record(spool, "one")
    reports = [uploader.sync() for _ in range(10)]
    assert [len(report.sent) for report in reports] == [1] + [0] * 9
    assert len(list(store.list("inbox"))) == 1


def test_an_upload_whose_answer_was_lost_is_one_upload(
    spool: Spool, store: UnreliableStore, uploader: Uploader
) -> None:
    path = _record(spool, "one")
    store.done_but_unsaid = True
    uploader.receipt_for = lambda sha256, size: None  # type: ignore[method-assign]  # so that the put meets the outage
    store.outages = 1
    assert list(uploader.sync().failed) == ["one"]
    del uploader.receipt_for
    assert uploader.sync().waiting == ["one"]
    assert [info.size for info in store.list("inbox")] == [path.stat().st_size]


def test_a_long_outage_keeps_everything_and_ends_the_pass_early(
    spool: Spool, store: UnreliableStore, uploader: Uploader
) -> None:
    paths = [_record(spool, f"episode-{index}", index) for index in range(8)]
    store.outages = 10**6
    report = uploader.sync()
    assert sorted(report.failed) == [path.stem for path in paths]
    assert store.requests == 3  # then it is the network
    assert spool.pending() == paths
    store.outages = 0
    assert len(uploader.sync().sent) == 8


def test_a_cut_off_object_in_the_inbox_is_replaced(spool: Spool, store: UnreliableStore, uploader: Uploader) -> None:
    path = _record(spool, "one")
    key = f"robot-1/{sha256_of_file(path)}/one.h5"
    store.put("inbox", key, path.read_bytes()[:100])
    assert uploader.sync().sent == ["one"]
    assert store.get("inbox", key) == path.read_bytes()


def test_a_recording_in_progress_is_not_uploaded(spool: Spool, uploader: Uploader) -> None:
    recorder = Recorder(spool, "robot-1")
    recorder.start(EpisodeAttributes(name="live"), height=54, width=96)
    recorder.append(np.zeros((54, 96, 3), np.uint8), KEYS["space"], "episode_start")
    assert uploader.sync().sent == []
    recorder.finish()
    assert uploader.sync().sent == ["live"]


def test_a_senseless_robot_is_refused(spool: Spool, store: UnreliableStore) -> None:
    with pytest.raises(ConfigurationError, match="expected a robot id"):
        Uploader(spool, store, "../other-robot")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with three episodes."""
    source = Spool(tmp_path / "source")
    for index in range(3):
        _record(source, f"episode-{index}", index)
    return source.folder


def test_a_users_folder_is_sent_and_never_touched(
    folder: Path, spool: Spool, store: UnreliableStore, uploader: Uploader
) -> None:
    before = {path: path.read_bytes() for path in folder.glob("*.h5")}
    assert upload_folder(folder, uploader).sent == ["episode-0", "episode-1", "episode-2"]
    for path in before:
        _confirm(store, path)
    assert len(upload_folder(folder, uploader).confirmed) == 3
    assert spool.pending() == []
    again = upload_folder(folder, uploader)
    assert (len(again.confirmed), again.sent, again.failed) == (3, [], {})
    assert {path: path.read_bytes() for path in folder.glob("*.h5")} == before


def test_a_folder_that_is_none_or_empty_is_named(tmp_path: Path, uploader: Uploader) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no episode")
    with pytest.raises(ConfigurationError, match=r"empty: expected episode files \(\*\.h5\), found none"):
        upload_folder(empty, uploader)
    with pytest.raises(ConfigurationError, match="expected a folder of episode files, found nothing"):
        upload_folder(tmp_path / "nowhere", uploader)
    with pytest.raises(ConfigurationError, match="found a file"):
        upload_folder(empty / "notes.txt", uploader)


def test_a_file_with_an_impossible_name_is_reported_and_the_others_go(folder: Path, uploader: Uploader) -> None:
    (folder / "bad name!.h5").write_bytes(b"x")
    report = upload_folder(folder, uploader)
    assert len(report.sent) == 3
    assert "rename the file" in report.failed["bad name!"]


def test_a_folder_that_does_not_fit_says_what_was_left(folder: Path, tmp_path: Path, store: UnreliableStore) -> None:
    size = (folder / "episode-0.h5").stat().st_size
    small = Uploader(Spool(tmp_path / "small", capacity_bytes=int(size * 2.5)), store, "robot-1")
    report = upload_folder(folder, small)
    assert report.sent == ["episode-0", "episode-1"]
    assert "nothing was deleted" in report.failed["episode-2"]
    tiny = Uploader(Spool(tmp_path / "tiny", capacity_bytes=size // 2), store, "robot-1")
    with pytest.raises(SpoolFullError):
        upload_folder(folder, tiny)


def test_a_folder_goes_into_the_spool_while_the_store_is_away(
    folder: Path, spool: Spool, store: UnreliableStore, uploader: Uploader
) -> None:
    store.outages = 10**6
    report = upload_folder(folder, uploader)
    assert len(report.failed) == 3
    store.outages = 0
    assert len(uploader.sync().sent) == 3


def test_the_same_name_with_other_bytes_does_not_replace_what_waits(folder: Path, spool: Spool) -> None:
    kept = _record(spool, "episode-0", seed=99)
    before = kept.read_bytes()
    with pytest.raises(EpisodeError) as caught:
        spool.add(folder / "episode-0.h5")
    assert caught.value.rule == "exists"
    assert kept.read_bytes() == before
    assert spool.add(folder / "episode-1.h5") == spool.add(folder / "episode-1.h5")


def test_a_copy_that_was_cut_off_is_cleared_and_made_again(folder: Path, spool: Spool) -> None:
    (spool.folder / "episode-0.h5.copy").write_bytes(b"half")
    spool.recover()
    assert spool.used_bytes == 0
    assert spool.add(folder / "episode-0.h5").read_bytes() == (folder / "episode-0.h5").read_bytes()


def test_an_inbox_that_robots_cannot_look_into_gets_each_episode_once(spool: Spool, tmp_path: Path) -> None:
    store = BlindInbox(tmp_path / "store")
    path = _record(spool, "one")
    reports = [Uploader(spool, store, "robot-1").sync() for _ in range(3)]
    assert ([report.sent for report in reports], store.uploads) == ([["one"], [], []], 1)
    os.utime(path.with_name("one.h5.sent"), (0, 0))  # long ago: ask again, by a conditional write
    assert Uploader(spool, store, "robot-1").sync().waiting == ["one"]
    assert store.uploads == 2
    _confirm(store, path)
    assert Uploader(spool, store, "robot-1").sync().confirmed == ["one"]
    assert spool.used_bytes == 0
