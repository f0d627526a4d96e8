"""Collections: versions that never change, merges without doubles, splits without leaks, datasets of them."""

import threading
from collections import Counter
from pathlib import Path

import pytest

from components.contracts import DatasetSpec, DatasetVersion, EpisodeRecord
from components.contracts.errors import DatasetError
from components.datasets import (
    build_dataset,
    catalogue,
    choose,
    collections,
    edit_episode,
    keep_collection,
    merge_collections,
    open_collection,
    places_of,
    select,
    split_collection,
)
from components.datasets._catalogue import EpisodeFilter
from components.datasets._split import group
from components.storage import FolderStore, memory_key
from tests.datasets.records import made
from tests.datasets.test_build import SPEC, admitted

KIM = {"origin": "by hand", "by": "kim"}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def names(records: list[EpisodeRecord]) -> list[str]:
    return [record.file.sha256 for record in records]


def test_a_collection_gets_versions_and_each_stays_as_it_was(store: FolderStore) -> None:
    listed = names([made(number) for number in range(6)])
    keep_collection(store, "day-1", listed[:3], **KIM)
    keep_collection(store, "day-1", listed, **KIM)
    again = keep_collection(store, "day-1", listed[::-1] + listed, **KIM)

    assert again.ref == "day-1@2"
    assert open_collection(store, "day-1@1").episodes == tuple(sorted(listed[:3]))
    assert open_collection(store, "day-1").episodes == tuple(sorted(listed))
    assert [item.ref for item in collections(store)] == ["day-1@2"]


def test_a_collection_with_more_than_nine_versions_opens_its_latest(store: FolderStore) -> None:
    listed = names([made(number) for number in range(12)])
    for count in range(1, 13):
        keep_collection(store, "day-1", listed[:count], **KIM)

    assert open_collection(store, "day-1").number == 12
    assert len(open_collection(store, "day-1@9").episodes) == 9


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Day 1", "expected a collection's name"),
        ("../edits", "expected a collection's name"),
        ("all", "stands for every episode"),
        ("", "expected a collection's name"),
    ],
)
def test_a_name_that_is_none_is_refused(store: FolderStore, name: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        keep_collection(store, name, ["0" * 64], **KIM)
    assert list(store.list("datasets")) == []


def test_an_unknown_collection_names_those_there_are(store: FolderStore) -> None:
    with pytest.raises(DatasetError, match="there is none yet"):
        open_collection(store, "day-1")
    keep_collection(store, "day-1", ["0" * 64], **KIM)
    for ref, message in (
        ("day-2", "there are: day-1"),
        ("day-1@2", "the latest version is day-1@1"),
        ("day-1@0", "expected a collection as name or name@version"),
        ("day-1/1", "expected a collection as name or name@version"),
    ):
        with pytest.raises(DatasetError, match=message):
            open_collection(store, ref)
    with pytest.raises(DatasetError, match="at least one episode"):
        keep_collection(store, "day-3", [], **KIM)


def test_of_writers_at_once_one_makes_each_version_and_the_others_are_told(store: FolderStore) -> None:
    listed = names([made(number) for number in range(8)])
    together, made_refs, told = threading.Barrier(8), [], []

    def write(number: int) -> None:
        together.wait()
        try:
            made_refs.append(keep_collection(store, "day-1", [listed[number]], **KIM).ref)
        except DatasetError as error:
            told.append(str(error))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made_refs) + len(told) == 8
    assert sorted(made_refs) == sorted({f"day-1@{number + 1}" for number in range(len(made_refs))})
    assert all("somebody else made day-1@" in text for text in told)


def test_a_merge_holds_every_episode_once(store: FolderStore) -> None:
    listed = names([made(number) for number in range(6)])
    keep_collection(store, "a", listed[:4], **KIM)
    keep_collection(store, "b", listed[2:], **KIM)

    merged = merge_collections(store, ["a", "b@1"], "c", by="kim")

    assert merged.episodes == tuple(sorted(listed))
    assert merged.origin == "merge of a@1, b@1"
    with pytest.raises(DatasetError, match="no collection 'nobody'"):
        merge_collections(store, ["a", "nobody"], "c", by="kim")


def test_a_split_leaks_nothing_and_balances_scenarios(store: FolderStore) -> None:
    records = [made(number) for number in range(96)]
    records.append(made(200, session="far-away", perceptual_hash=records[0].summary.perceptual_hash))
    records.append(made(201, session="elsewhere", content_sha256=records[10].summary.content_sha256))

    parts = split_collection(store, "all", records, {"train": 0.75, "held": 0.25}, by="kim")

    part_of = {sha256: part.name for part in parts for sha256 in part.episodes}
    assert sorted(part_of) == sorted(names(records))
    assert sum(len(part.episodes) for part in parts) == len(records)
    for members in group(records):
        assert len({part_of[record.file.sha256] for record in members}) == 1
    assert part_of[records[0].file.sha256] == part_of[records[-2].file.sha256]
    counted = Counter((part_of[item.file.sha256], item.summary.scenario) for item in records)
    for scenario in {item.summary.scenario for item in records}:
        assert 2 <= counted["held", scenario] <= 4


def test_a_split_again_gives_the_same_parts_and_no_new_versions(store: FolderStore) -> None:
    records = [made(number) for number in range(48)]
    shares = {"train": 0.5, "held": 0.5}
    first = split_collection(store, "all", records, shares, seed=3, by="kim")
    again = split_collection(store, "all", records[::-1], shares, seed=3, by="kim")
    other = split_collection(store, "all", records, shares, seed=4, by="kim")

    assert first == again
    assert [part.number for part in other] == [2, 2]


def test_a_split_leaves_deleted_episodes_out(store: FolderStore) -> None:
    records = [made(number) for number in range(32)]
    keep_collection(store, "mine", names(records), **KIM)
    edit_episode(store, records[7], excluded=True, reason="dark", by="kim")

    parts = split_collection(store, "mine", records, {"a": 0.5, "b": 0.5}, balance="session", by="kim")

    listed = {sha256 for part in parts for sha256 in part.episodes}
    assert listed == set(names(records)) - {records[7].file.sha256}


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"a": 1.0}, "at least two parts"),
        ({"a": 0.5, "b": 0.4}, "sum to 1"),
        ({"a": 1.5, "b": -0.5}, "above 0"),
        ({"a": 0.5, "B!": 0.5}, "expected a collection's name"),
        ({"a": 0.5, "mine": 0.5}, "cannot be called mine"),
        ({"a": 0.2, "b": 0.2, "c": 0.2, "d": 0.2, "e": 0.2}, "at least 5 groups"),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(store: FolderStore, shares: dict[str, float], message: str) -> None:
    records = [made(number) for number in range(16)]
    keep_collection(store, "mine", names(records), **KIM)
    with pytest.raises(DatasetError, match=message):
        split_collection(store, "mine", records, shares, by="kim")
    assert [item.name for item in collections(store)] == ["mine"]


def test_specs_and_versions_without_a_collection_keep_their_digests() -> None:
    spec = DatasetSpec()
    assert spec.digest() == "65c027c43509a263301490b91f18c3d468f50cae101a0e653abf65cc699fbbd2"
    version = DatasetVersion(spec=spec, episodes=(), shards=(), statistics=(), key_counts={}, vocabulary=())
    assert b"collection" not in version.canonical_json()
    assert DatasetSpec.parse(version.spec.canonical_json(), source="a test") == spec
    assert DatasetSpec(collection="a@1").digest() != spec.digest()


def test_a_dataset_is_of_its_collection_and_names_the_version(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    records = [admitted(store, tmp_path, number) for number in range(16)]
    keep_collection(store, "mine", names(records[:12]), **KIM)
    spec, chosen = select(store, SPEC.model_copy(update={"collection": "mine"}), records)

    dataset = build_dataset(store, spec, chosen)

    assert spec.collection == dataset.spec.collection == "mine@1"
    assert {item.sha256 for item in dataset.episodes} == set(names(records[:12]))
    assert build_dataset(store, SPEC.model_copy(update={"collection": "mine"}), records) == dataset
    with pytest.raises(DatasetError, match="4 episodes that are not admitted here"):
        select(store, spec, records[:8])
    with pytest.raises(DatasetError, match="in collection mine@1, got none among 4"):
        build_dataset(store, spec, records[12:])


def test_an_edit_gives_another_dataset_and_taking_it_back_the_old_one(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    records = [admitted(store, tmp_path, number) for number in range(12)]

    def built() -> tuple[str, DatasetVersion]:
        """What the flow's stage is remembered by, and what it makes."""
        spec, chosen = select(store, SPEC, records)
        inputs = {"inputs": [spec.digest(), [record.digest() for record in chosen]]}
        return memory_key("dataset", inputs), build_dataset(store, spec, chosen)

    key, before = built()
    told = records[0].summary.instruction
    edit_episode(store, records[0], instruction="Pass the yellow box on its left", reason="it is yellow", by="kim")
    edited_key, edited = built()
    edit_episode(store, records[1], excluded=True, reason="blurred", by="kim")
    smaller_key, smaller = built()
    edit_episode(store, records[0], instruction=told, reason="it was not", by="kim")
    edit_episode(store, records[1], excluded=False, reason="it is not", by="kim")

    assert len({key, edited_key, smaller_key}) == 3
    assert len({before.version, edited.version, smaller.version}) == 3
    assert "Pass the yellow box on its left" in {item.instruction for item in edited.episodes}
    assert len(smaller.episodes) == 11
    assert built() == (key, before)
    kept = {info.key for info in store.list("episodes")}
    assert kept == {record.file.key for record in records}


def test_an_episode_knows_its_datasets_collections_and_receipt(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    records = [admitted(store, tmp_path, number) for number in range(12)]
    dataset = build_dataset(store, SPEC, records)
    keep_collection(store, "mine", names(records[:1]), **KIM)
    entries = catalogue(store, records)
    entry = next(item for item in entries if item.record == records[0])

    places = places_of(store, entry)

    assert [place.version for place in places.datasets] == [dataset.version]
    assert records[0].file.sha256 in {item.sha256 for item in dataset.of(places.datasets[0].split)}
    assert places.collections == ("mine@1",)
    assert places.receipt is None
    wanted = EpisodeFilter(dataset=dataset.version[:8], split="test")
    assert {item.sha256 for item in choose(store, entries, wanted)} == {item.sha256 for item in dataset.of("test")}
