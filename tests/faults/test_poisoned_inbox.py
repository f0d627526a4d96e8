"""Row 49: an object of the inbox cannot be read, named or judged: the others are ingested, its robot asked again."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import urllib3

from components import checks, ingest
from components.contracts import Receipt, Settings
from components.contracts.errors import StorageError
from components.ingest import Limits
from components.storage import FolderStore, ObjectStore, S3Store, connect, sha256_of_file
from components.storage._presign import presigned
from infra.local import store_alone
from tests.faults.bad_network import bad_network
from tests.faults.test_stored_copies import NAME, drain, flip, listed, recorded, upload
from tests.faults.upload_world import UploadWorld

UNREADABLE = Path("/proc/self/mem")
"""A file whose first byte nobody can read: an I/O error as of a broken disk."""


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def episode(tmp_path: Path) -> Path:
    return recorded(tmp_path / f"{NAME}.h5")


def poison(store: FolderStore, sha256: str, name: str = "bad") -> Path:
    path = store.root / "inbox" / "r2" / sha256 / f"{name}.h5"
    path.parent.mkdir(parents=True)
    path.symlink_to(UNREADABLE)
    return path


def test_unreadable_upload_is_set_aside_after_three_runs_and_taken_when_it_is_sent_again(
    store: FolderStore, tmp_path: Path, episode: Path, caplog: pytest.LogCaptureFixture
) -> None:
    again = recorded(tmp_path / "again.h5", seed=3)
    bad = poison(store, sha256_of_file(again), "again")
    upload(store, episode)

    assert [receipt.name for receipt in drain(store)] == [NAME]
    for reads in (1, 2):
        (known,) = ingest.unreadable(store)
        assert (known.failed_reads, known.set_aside, known.robot) == (reads, False, "r2")
        assert bad.is_symlink()
        assert drain(store) == []

    (known,) = ingest.unreadable(store)
    assert (known.failed_reads, known.set_aside, known.removed) == (3, True, True)
    assert listed(store, "inbox") == []
    assert any(r.levelno == logging.ERROR and r.message.startswith("ALARM inbox") for r in caplog.records)

    store.put_file("inbox", f"r2/{sha256_of_file(again)}/again.h5", again)
    assert [receipt.rule for receipt in drain(store)] == ["robot-mismatch"]  # it was read and judged
    assert ingest.unreadable(store) == []


def test_limit_of_failed_reads_is_a_setting(store: FolderStore) -> None:
    poison(store, "0" * 64)
    assert ingest.inspect_inbox(store, limits=Limits(failed_reads=1)) == []
    assert [item.set_aside for item in ingest.unreadable(store)] == [True]


ODD_NAMES = (
    b"new\nline.h5", b"control\x01\x1b[31m.h5", b"not-utf8-\xff\xfe.h5", b"[bold]markup[red].h5", b"a" * 255, b" ",
    "ü\u202e\u2028.h5".encode(), b"%00.h5", b"r9", b"r1.h5\n",
)  # fmt: skip


def test_odd_names_concern_nobody_else(store: FolderStore, episode: Path) -> None:
    upload(store, episode)
    folder = os.fsencode(store.root / "inbox" / "r1" / ("0" * 64))
    os.makedirs(folder)  # noqa: PTH103  # names that are no text
    for name in ODD_NAMES:
        with open(os.path.join(folder, name), "wb") as file:  # noqa: PTH118, PTH123
            file.write(b"odd " + name)
    (store.root / "inbox" / "empty-folder").mkdir()

    assert NAME in {receipt.name for receipt in drain(store) if receipt.status == "accepted"}

    rules = [entry.finding.rule for entry in ingest.quarantined(store)]
    assert set(rules) <= {"bad-key", "hash-mismatch"}
    assert len(rules) == len(ODD_NAMES) - 1  # what is no UTF-8 cannot be named: it stays, and the log says so
    assert len(list((store.root / "inbox" / "r1" / ("0" * 64)).iterdir())) == 1


def test_damaged_claim_of_a_name_stops_nobody(store: FolderStore, tmp_path: Path, episode: Path) -> None:
    other = recorded(tmp_path / "other.h5", seed=5)
    for path in (episode, other):
        upload(store, path)
        store.put("episodes", f"names/r1/{path.stem}.json", b"{")
    assert {receipt.status for receipt in drain(store)} == {"accepted"}

    (tmp_path / "again").mkdir()
    same_name = recorded(tmp_path / "again" / f"{NAME}.h5", seed=6)
    (store.root / "episodes" / "names" / "r1" / f"{NAME}.json.1").write_bytes(b"{")
    upload(store, same_name)
    assert [receipt.rule for receipt in drain(store)] == ["name-conflict"]


class Refusing:
    """A store that refuses one bucket's writes, as a full disk or a policy does; all else is the real one."""

    def __init__(self, store: FolderStore, refused: Callable[[str, str], bool]) -> None:
        self._store, self._refused = store, refused

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put_file(self, bucket: str, key: str, path: Path, *, if_absent: bool = False) -> object:
        if self._refused(bucket, key):
            raise StorageError("no space left on that volume")
        return self._store.put_file(bucket, key, path, if_absent=if_absent)


def test_episode_that_the_store_does_not_take_stays_and_the_others_are_settled(
    store: FolderStore, tmp_path: Path, episode: Path
) -> None:
    other = recorded(tmp_path / "other.h5", seed=5)
    kept = upload(store, episode)
    upload(store, other)
    refusing: ObjectStore = Refusing(store, lambda _bucket, key: sha256_of_file(episode) in key)  # type: ignore[assignment]
    key = ingest.ReceiptKey(tmp_path / "receipt-key.pem")

    receipts = ingest.settle(refusing, ingest.inspect_inbox(refusing), key=key)

    assert [receipt.name for receipt in receipts] == ["other"]
    assert listed(store, "inbox") == [kept]
    assert [receipt.status for receipt in drain(store)] == ["accepted"]


def test_damaged_record_of_another_episode_stops_no_batch(store: FolderStore, tmp_path: Path, episode: Path) -> None:
    store.put("episodes", f"{'1' * 64}.json", b"{")
    upload(store, episode)
    candidates, report = checks.judge(store, ingest.inspect_inbox(store), Settings(home=tmp_path))
    assert report
    assert report.episodes == 1
    assert [candidate.finding for candidate in candidates] == [None]


def test_episode_that_breaks_a_rules_computation_is_put_aside_and_the_others_are_judged(
    store: FolderStore, tmp_path: Path, episode: Path
) -> None:
    for seed in (1, 2):
        upload(store, recorded(tmp_path / f"{NAME}{seed}.h5", seed=seed))
    upload(store, episode)
    candidates = ingest.inspect_inbox(store)
    index = next(i for i, candidate in enumerate(candidates) if candidate.sha256 == sha256_of_file(episode))
    summary = candidates[index].summary
    assert summary
    broken = summary.model_copy(update={"perceptual_hash": "z" * 48, "collected_at": datetime(2025, 1, 1)})  # noqa: DTZ001
    candidates[index] = candidates[index].model_copy(update={"summary": broken})

    judged, report = checks.judge(store, candidates, Settings(home=tmp_path))
    receipts = ingest.settle(
        store, judged, report.findings if report else (), key=ingest.ReceiptKey(tmp_path / "receipt-key.pem")
    )

    rules = {receipt.name: receipt.rule for receipt in receipts}
    assert rules.pop(NAME) == "unjudged"
    assert set(rules) == {f"{NAME}1", f"{NAME}2"}
    assert "unjudged" not in rules.values()
    assert [info.key.split("/")[0] for info in store.list("reports", "checks/plain")] == []


def test_single_episode_that_breaks_the_computation_does_not_end_the_run(
    store: FolderStore, tmp_path: Path, episode: Path
) -> None:
    upload(store, episode)
    (candidate,) = ingest.inspect_inbox(store)
    assert candidate.summary
    broken = candidate.summary.model_copy(update={"perceptual_hash": "z" * 48})
    judged, report = checks.judge(store, [candidate.model_copy(update={"summary": broken})], Settings(home=tmp_path))
    assert report is None
    assert judged[0].finding
    assert judged[0].finding.rule == "unjudged"


# a real server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with store_alone(Settings(home=tmp_path_factory.mktemp("store"))) as settings:
        yield settings


def rot(served: Settings, content: bytes) -> None:
    """In the inbox's volume, on the disk: SeaweedFS then answers 500 for this object alone."""
    (volume,) = [
        path for path in (served.home / "store").rglob("inbox*.dat") if content[2000:2064] in path.read_bytes()
    ]
    flip(volume, volume.read_bytes().rfind(content[2000:2064]))


def ingested(store: S3Store, world: UploadWorld, robot: str) -> list[Receipt]:
    found = ingest.inspect_inbox(store, limits=Limits(failed_reads=1))
    return ingest.settle(store, [item for item in found if item.robot == robot], key=world.key)


def test_robot_whose_upload_rots_in_the_inbox_is_asked_again_and_its_second_sending_is_taken(
    served: Settings, tmp_path: Path
) -> None:
    world = UploadWorld(served, tmp_path)
    store = connect(served, patience=0.1)
    with world.gateway() as url:
        world.enrol("r1", url)
        path = recorded(world.spool("r1").path_of(NAME), seed=11)
        uploader = world.uploader("r1")
        assert uploader.sync().sent == [NAME]
        rot(served, path.read_bytes())

        assert ingested(store, world, "r1") == []
        assert [item.robot for item in ingest.unreadable(store)] == ["r1"]

        assert uploader.sync().sent == [NAME]
        assert [receipt.status for receipt in ingested(store, world, "r1")] == ["accepted"]
        assert uploader.sync().confirmed == [NAME]
        assert ingest.unreadable(store) == []


class KeepsWhatItCannotRead(S3Store):
    """A store that neither gives one object nor removes it, such as one with another owner."""

    bad = ""

    def get_file(self, bucket: str, key: str, path: Path, **options: object):  # type: ignore[no-untyped-def, override]
        if key == self.bad:
            raise StorageError("403: it belongs to somebody else")
        return super().get_file(bucket, key, path, **options)  # type: ignore[arg-type]

    def remove(self, bucket: str, key: str) -> None:
        if key == self.bad:
            raise StorageError("403: it belongs to somebody else")
        super().remove(bucket, key)


def test_upload_that_can_neither_be_read_nor_removed_is_replaced_by_the_second_sending(
    served: Settings, tmp_path: Path
) -> None:
    world = UploadWorld(served, tmp_path)
    assert served.s3_key
    assert served.s3_secret
    store = KeepsWhatItCannotRead(str(served.s3_endpoint), served.s3_key, served.s3_secret.get_secret_value())
    with world.gateway() as url:
        world.enrol("r3", url)
        path = recorded(world.spool("r3").path_of(NAME), seed=13, robot="r3")
        sha256 = sha256_of_file(path)
        store.bad = f"r3/{sha256}/{NAME}.h5"
        uploader = world.uploader("r3")
        uploader.sync()
        before = next(info.modified_at for info in world.store.list("inbox", "r3/"))

        assert ingested(store, world, "r3") == []
        assert [item.removed for item in ingest.unreadable(store)] == [False]
        while next(world.store.list("inbox", "r3/")).modified_at == before:
            uploader.sync()  # SeaweedFS tells times by the second: a sending within the same one counts as the first

        store.bad = ""
        assert uploader.sync().waiting == [NAME]
        assert [receipt.status for receipt in ingested(store, world, "r3")] == ["accepted"]
        assert uploader.sync().confirmed == [NAME]
        assert [item for item in ingest.unreadable(store) if item.robot == "r3"] == []


def test_store_that_is_away_is_nobodys_failed_read(served: Settings, tmp_path: Path) -> None:
    world = UploadWorld(served, tmp_path)
    path = recorded(tmp_path / "away.h5", seed=17)
    world.store.put_file("inbox", f"r4/{sha256_of_file(path)}/away.h5", path)
    with bad_network(str(served.s3_endpoint)) as network:
        store = connect(served.model_copy(update={"s3_endpoint": network.address}), patience=0.5)
        ingest.inspect_inbox(store)
        network.cut_after, network.way = 20_000, "down"
        network.down_after_cuts = 1
        with pytest.raises(StorageError):
            ingest.inspect_inbox(store)
    assert [item for item in ingest.unreadable(world.store) if item.robot == "r4"] == []
    assert [item.status for item in ingested(world.store, world, "r4")] == ["quarantined"]


def test_odd_keys_on_a_real_server_concern_nobody_else(served: Settings, tmp_path: Path) -> None:
    world = UploadWorld(served, tmp_path)
    for key in ("nl\nkey", "ctl\x01key", "a//b", "trailing/", "sp ace+%25.h5", "ü\u202e", "<b>&amp;", "k" * 250):
        url = _link(world.store, key)
        urllib3.request("PUT", url, body=json.dumps(key).encode(), retries=False)
    path = recorded(tmp_path / "among.h5", seed=19)
    world.store.put_file("inbox", f"r1/{sha256_of_file(path)}/among.h5", path)

    receipts = ingest.settle(world.store, ingest.inspect_inbox(world.store), key=world.key)

    assert "among" in {receipt.name for receipt in receipts if receipt.status == "accepted"}
    assert [info.key for info in world.store.list("inbox") if info.key[:2] not in {"r1", "r3", "r4"}] == []


def _link(store: S3Store, key: str) -> str:
    """A PUT to a key that our own client would not make."""
    plain = store._requests.url("PUT", "inbox", "placeholder")
    parts = urlsplit(plain)._replace(path="/inbox/" + quote(key, safe="/-_.~"), query="")
    secrets = store._requests._credentials
    return presigned(
        "PUT", parts, key=secrets.access_key, secret=secrets.secret_key, region="us-east-1",
        expires=timedelta(minutes=1), headers={},
    )  # fmt: skip
