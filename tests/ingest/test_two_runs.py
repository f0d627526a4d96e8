"""Several runs settle at once: each episode once, one episode a name, nothing lost. And the pages of records."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from components import ingest
from components.contracts import EpisodeRecord, ObjectRef
from components.ingest import ReceiptKey
from components.ingest._records import PAGE_RECORDS
from components.storage import FolderStore, sha256_of_file

Make = Callable[..., Path]
Upload = Callable[..., str]


class CountingStore(FolderStore):
    """A folder store that knows how many objects were read."""

    reads = 0

    def get(self, bucket: str, key: str, *, limit: int = 64 * 2**20) -> bytes:
        self.reads += 1
        return super().get(bucket, key, limit=limit)


def bytes_in(store: FolderStore) -> set[str]:
    return {sha256_of_file(path) for path in store.root.rglob("*.h5")}


def test_runs_that_each_settle_another_file_of_one_name_admit_one(
    store: FolderStore, key: ReceiptKey, record: Make, upload: Upload
) -> None:
    for trial in range(8):
        paths = [record(f"same-{trial}", seed=10 * trial + seed) for seed in range(4)]
        for path in paths:
            upload(path)
        wanted = {sha256_of_file(path) for path in paths}
        candidates = [item for item in ingest.inspect_inbox(store, workers=1) if item.sha256 in wanted]
        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(ingest.settle, store, [candidate], key=key) for candidate in candidates]
        receipts = [receipt for run in runs for receipt in run.result()]
        assert sorted(item.rule or "accepted" for item in receipts) == ["accepted", *["name-conflict"] * 3]
        assert wanted <= bytes_in(store)
    assert len(ingest.records(store)) == 8


def test_claims_that_are_taken_over_while_their_holder_settles_admit_one(
    store: FolderStore, key: ReceiptKey, record: Make, upload: Upload
) -> None:
    """The holders' uploads are in no inbox, as in a replay: each run takes the other for dead."""
    for trial in range(8):
        paths = [record(f"same-{trial}", seed=10 * trial + seed) for seed in range(3)]
        keys = [upload(path) for path in paths]
        wanted = {sha256_of_file(path) for path in paths}
        candidates = [item for item in ingest.inspect_inbox(store, workers=1) if item.sha256 in wanted]
        for path, upload_key in zip(paths, keys, strict=True):
            store.put_file("quarantine", f"{sha256_of_file(path)}/{path.stem}.h5", path)
            store.remove("inbox", upload_key)
        with ThreadPoolExecutor(3) as pool:
            runs = [pool.submit(ingest.settle, store, [candidate], key=key) for candidate in candidates]
        statuses = [receipt.status for run in runs for receipt in run.result()]
        assert statuses.count("accepted") == 1
        assert wanted <= bytes_in(store)
    assert len(ingest.records(store)) == 8


def test_two_whole_runs_at_once_admit_each_episode_once(
    store: FolderStore, key: ReceiptKey, record: Make, upload: Upload
) -> None:
    for index in range(6):
        upload(record(f"e{index}", seed=index))

    def run(_: int) -> int:
        return len(ingest.settle(store, ingest.inspect_inbox(store, workers=1), key=key))

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(run, range(2))) >= 6
    assert len(ingest.records(store)) == len(list(store.list("receipts"))) == 6
    assert ingest.quarantined(store) == []
    assert list(store.list("inbox")) == []


def many_records(store: FolderStore, one: EpisodeRecord, count: int) -> Iterator[str]:
    for number in range(count):
        sha256 = f"{number:064x}"
        file = ObjectRef(uri=f"s3://episodes/{sha256}.h5", sha256=sha256, size=1)
        entry = EpisodeRecord(file=file, summary=one.summary.model_copy(update={"sha256": sha256}))
        store.put("episodes", f"{sha256}.json", entry.canonical_json())
        yield sha256


def test_records_are_read_by_the_page_and_the_bucket_decides_what_is_one(
    tmp_path: Path, key: ReceiptKey, record: Make, upload: Upload, store: FolderStore
) -> None:
    upload(record("one"))
    ingest.settle(store, ingest.inspect_inbox(store), key=key)
    (one,) = ingest.records(store)
    counting = CountingStore(tmp_path / "many")
    wanted = list(many_records(counting, one, 2 * PAGE_RECORDS + 7))

    assert [item.file.sha256 for item in ingest.records(counting)] == wanted
    assert counting.reads == 2 * PAGE_RECORDS + 7
    counting.reads = 0
    assert [item.file.sha256 for item in ingest.records(counting)] == wanted
    assert counting.reads == 2 + 7

    pages = [info.key for info in counting.list("episodes", "pages/")]
    counting.put("episodes", pages[0], b"a page of an older shape")
    counting.remove("episodes", f"{wanted[-1]}.json")
    counting.remove("episodes", f"{wanted[0]}.json")
    assert [item.file.sha256 for item in ingest.records(counting)] == wanted[1:-1]
    counting.reads = 0
    assert [item.file.sha256 for item in ingest.records(counting)] == wanted[1:-1]
    assert counting.reads <= 3 + PAGE_RECORDS
