"""What every object store must do, asked of each."""

import hashlib
import os
import tracemalloc
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from components.contracts.errors import AlreadyExistsError, IntegrityError, ObjectNotFoundError, StorageError
from components.storage import ObjectStore, S3Store, fetch_file, prepare, put_once

pytestmark = [pytest.mark.long, pytest.mark.s3]
LARGE = 20 * 2**20 + 7


@pytest.fixture
def prefix() -> str:
    return f"t-{uuid.uuid4().hex}"


@pytest.mark.parametrize(
    "name", ["plain", "deep/er/file.json", "with space", "ünïcode", "plus+and%20", "dots..x", "a=b&c?d#e"]
)
@pytest.mark.parametrize("data", [b"", b"\x00\xff" * 500], ids=["empty", "binary"])
def test_object_written_is_read_back_exactly(store: ObjectStore, prefix: str, name: str, data: bytes) -> None:
    key = f"{prefix}/{name}"

    ref = store.put("models", key, data)

    assert store.get("models", key) == data
    assert (ref.uri, ref.size) == (f"s3://models/{key}", len(data))
    assert ref.sha256 == hashlib.sha256(data).hexdigest()
    info = store.stat("models", key)
    assert info is not None
    assert info.size == len(data)
    assert [found.key for found in store.list("models", prefix)] == [key]


def test_object_overwritten_without_condition_is_the_later_one(store: ObjectStore, prefix: str) -> None:
    store.put("models", prefix, b"first")
    store.put("models", prefix, b"second, longer")

    assert store.get("models", prefix) == b"second, longer"


def test_conditional_write_onto_object_is_refused_and_leaves_it(store: ObjectStore, prefix: str) -> None:
    store.put("models", prefix, b"first", if_absent=True)

    with pytest.raises(AlreadyExistsError, match="not touched"):
        store.put("models", prefix, b"second", if_absent=True)

    assert store.get("models", prefix) == b"first"


def test_conditional_write_after_removal_succeeds(store: ObjectStore, prefix: str) -> None:
    store.put("models", prefix, b"first", if_absent=True)
    store.remove("models", prefix)
    store.put("models", prefix, b"second", if_absent=True)

    assert store.get("models", prefix) == b"second"


@pytest.mark.parametrize("attempt", range(5))
def test_sixteen_conditional_writers_have_one_winner(store: ObjectStore, prefix: str, attempt: int) -> None:
    def write(number: int) -> int | None:
        try:
            store.put("models", prefix, b"writer %d" % number, if_absent=True)
        except AlreadyExistsError:
            return None
        return number

    with ThreadPoolExecutor(16) as pool:
        winners = [number for number in pool.map(write, range(16)) if number is not None]

    assert len(winners) == 1
    assert store.get("models", prefix) == b"writer %d" % winners[0]


def test_four_conditional_writers_of_large_files_have_one_winner(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    def write(number: int) -> str | None:
        path = tmp_path / f"large-{number}"
        path.write_bytes(bytes([number]) * LARGE)
        try:
            return store.put_file("models", prefix, path, if_absent=True).sha256
        except AlreadyExistsError:
            return None

    with ThreadPoolExecutor(4) as pool:
        winners = [digest for digest in pool.map(write, range(4)) if digest is not None]

    assert len(winners) == 1
    assert store.get_file("models", prefix, tmp_path / "back").sha256 == winners[0]
    store.remove("models", prefix)


@pytest.mark.parametrize("size", [0, 1, 8 * 2**20, 8 * 2**20 + 1, LARGE])
def test_file_of_any_size_comes_back_exactly(store: ObjectStore, prefix: str, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))

    ref = store.put_file("models", prefix, source)
    back = store.get_file("models", prefix, tmp_path / "back")

    assert back == ref
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert list(tmp_path.glob("*.part")) == []
    store.remove("models", prefix)


def test_large_file_moves_in_bounded_memory(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        for _ in range(96):
            file.write(os.urandom(2**20))
    tracemalloc.start()

    store.put_file("models", prefix, source)
    store.get_file("models", prefix, tmp_path / "back")

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    store.remove("models", prefix)
    assert peak < 32 * 2**20


def test_missing_object_is_reported_as_such(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFoundError, match=prefix):
        store.get("models", prefix)
    with pytest.raises(ObjectNotFoundError, match=prefix):
        store.get_file("models", prefix, tmp_path / "back")

    assert store.stat("models", prefix) is None
    assert list(store.list("models", prefix)) == []
    assert list(tmp_path.glob("back*")) == []
    store.remove("models", prefix)


def test_object_over_the_limit_is_refused_and_no_file_is_left(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    store.put("models", prefix, b"x" * 1001)

    with pytest.raises(StorageError, match="at most 1000 bytes"):
        store.get("models", prefix, limit=1000)
    with pytest.raises(StorageError, match="at most 1000 bytes"):
        store.get_file("models", prefix, tmp_path / "back", limit=1000)

    assert not (tmp_path / "back").exists()
    assert store.get("models", prefix, limit=1001) == b"x" * 1001


def test_listing_is_complete_and_by_key_over_many_pages(store: ObjectStore, prefix: str) -> None:
    names = [f"{prefix}/{name}" for name in ("a/x", "a-1/x", "a.b", "ab", "B", "a b/ü", "a/b/c", "a0", "a/x.json")]
    names += [f"{prefix}/many/{number:05d}" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put("datasets", key, b"1"), names))

    assert [info.key for info in store.list("datasets", f"{prefix}/")] == sorted(names)
    assert [info.key for info in store.list("datasets", f"{prefix}/a/")] == sorted(
        name for name in names if name.startswith(f"{prefix}/a/")
    )
    assert [info.key for info in store.list("datasets", f"{prefix}/many/0001")] == [
        f"{prefix}/many/{number:05d}" for number in range(10, 20)
    ]


def test_removed_object_is_gone(store: ObjectStore, prefix: str) -> None:
    store.put("models", f"{prefix}/x/y", b"1")
    store.remove("models", f"{prefix}/x/y")

    assert store.stat("models", f"{prefix}/x/y") is None
    assert list(store.list("models", prefix)) == []


def test_object_that_comes_and_goes_while_it_is_read_is_whole_or_not_there(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    key, data = f"{prefix}/x", b"whole" * 200

    def come_and_go() -> None:
        for _ in range(600):
            store.put("models", key, data)
            store.remove("models", key)

    seen = set()
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(come_and_go)
        while not writer.done():
            seen.update(info.size for info in store.list("models", prefix))
            with suppress(ObjectNotFoundError):
                seen.add(len(store.get("models", key)))
            with suppress(ObjectNotFoundError):
                seen.add(store.get_file("models", key, tmp_path / "x").size)
            if info := store.stat("models", key):
                seen.add(info.size)
        writer.result()
    assert seen == {len(data)}
    assert not list(store.list("models", prefix))


def test_put_once_accepts_equal_bytes_and_refuses_others(store: ObjectStore, prefix: str) -> None:
    ref = put_once(store, "models", prefix, b"content")
    assert put_once(store, "models", prefix, b"content") == ref

    with pytest.raises(IntegrityError, match="other bytes"):
        put_once(store, "models", prefix, b"different")


def test_fetched_file_with_other_bytes_is_refused_and_removed(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    ref = store.put("models", prefix, b"content")
    store.put("models", prefix, b"tampere")

    with pytest.raises(IntegrityError, match="SHA-256"):
        fetch_file(store, ref, tmp_path / "back")

    assert list(tmp_path.glob("back*")) == []


def test_unsafe_key_is_refused(store: ObjectStore) -> None:
    for key in ("", "../x", "a/../b", "a//b", "./a", "/a"):
        with pytest.raises(StorageError, match=r"expected|name"):
            store.put("models", key, b"1")


def test_preparing_twice_is_harmless(store: ObjectStore) -> None:
    prepare(store)
    prepare(store)

    if isinstance(store, S3Store):
        assert list(store.list("datasets", "probe/")) == []
