"""Datasets from real episode files: decoded, versioned, read back."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from components.contracts import SPLITS, DatasetSpec, EpisodeRecord, FrameSpec
from components.contracts.errors import DatasetError, IntegrityError
from components.datasets import build_dataset, load_split, open_dataset
from components.episodes import (
    KEYS,
    SCENARIOS,
    EpisodeAttributes,
    EpisodeWriter,
    instruction_for,
    make_name,
    measure,
    read_episode,
    resize_frame,
)
from components.storage import FolderStore, sha256_of_file

FRAME = FrameSpec(width=16, height=9)
SPEC = DatasetSpec(frame=FRAME)
PRESSES = ("W", "W", "Q", "E", "space")


def admitted(store: FolderStore, folder: Path, number: int, presses: tuple[str, ...] = PRESSES) -> EpisodeRecord:
    """An episode written as a robot writes it."""
    scenario, robot = SCENARIOS[number % 8], f"robot-{number // 2 % 2}"
    name = make_name(datetime(2025, 8, 15, 10, tzinfo=UTC) + timedelta(minutes=number), scenario)
    attributes = EpisodeAttributes(
        name=name, robot=robot, session=f"s{number // 2}", instruction=instruction_for(scenario), source="simulated"
    )
    path = folder / f"{name}.h5"
    random = np.random.default_rng(number)
    with EpisodeWriter(path, attributes, 72, 128, sync=False) as writer:
        writer.append(random.integers(0, 256, (72, 128, 3), dtype=np.uint8), KEYS["space"], "episode_start")
        for key in presses:
            writer.append(random.integers(0, 256, (72, 128, 3), dtype=np.uint8), KEYS[key], "start_action")
    sha256 = sha256_of_file(path)
    file = store.put_file("episodes", f"{sha256}.h5", path)
    return EpisodeRecord(file=file, summary=measure(read_episode(path), sha256=sha256, robot=robot))


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> tuple[FolderStore, list[EpisodeRecord]]:
    folder = tmp_path_factory.mktemp("datasets")
    store = FolderStore(folder / "store")
    return store, [admitted(store, folder, number) for number in range(16)]


def test_frames_come_back_as_read_and_resized(stocked: tuple[FolderStore, list[EpisodeRecord]]) -> None:
    store, records = stocked
    dataset = build_dataset(store, SPEC, records)
    by_sha = {record.file.sha256: record for record in records}
    loaded = [episode for split in SPLITS for episode in load_split(store, dataset, split)]
    assert {episode.sha256 for episode in loaded} == set(by_sha)
    for episode in loaded:
        file = by_sha[episode.sha256].file
        original = read_episode(store.root / file.bucket / file.key)
        assert np.array_equal(episode.frames, [resize_frame(image, FRAME) for image in original.images])
        assert np.array_equal(episode.actions, original.actions)
        assert episode.instruction == original.attributes.instruction


def test_equal_inputs_give_one_version_in_any_order_and_any_store(
    stocked: tuple[FolderStore, list[EpisodeRecord]], tmp_path: Path
) -> None:
    store, records = stocked
    first = build_dataset(store, SPEC, records)
    other = FolderStore(tmp_path / "other")
    for record in records:
        other.put_file("episodes", record.file.key, store.root / "episodes" / record.file.key)
    again = build_dataset(other, SPEC, records[::-1], workers=1)
    assert again == first
    assert again.version == first.version
    assert open_dataset(other, first.version) == first
    assert build_dataset(store, SPEC.model_copy(update={"seed": 1}), records).version != first.version


def test_a_dataset_that_was_built_is_found_without_decoding(
    stocked: tuple[FolderStore, list[EpisodeRecord]],
) -> None:
    store, records = stocked
    built = build_dataset(store, SPEC, records)
    calls: list[tuple[int, int]] = []
    assert build_dataset(store, SPEC, records, progress=lambda *done: calls.append(done)) == built
    assert calls == []


def test_statistics_are_of_the_training_split_without_frame_zero(
    stocked: tuple[FolderStore, list[EpisodeRecord]],
) -> None:
    store, records = stocked
    dataset = build_dataset(store, SPEC, records)
    episodes = len(dataset.of("train"))
    assert dataset.key_counts == {"E": episodes, "Q": episodes, "W": 2 * episodes, "space": episodes}
    actions = np.concatenate([episode.actions[1:] for episode in load_split(store, dataset, "train")])
    for index, axis in enumerate(dataset.statistics):
        assert axis.mean == pytest.approx(actions[:, index].mean(), abs=1e-6)
        assert axis.std == pytest.approx(actions[:, index].std(), abs=1e-6)
    assert dataset.axes == ("linear_x", "linear_y")


def test_the_vocabulary_holds_both_sides_whatever_was_trained(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    left = [number for number in range(40) if SCENARIOS[number % 8].endswith("left")][:8]
    records = [admitted(store, tmp_path, number) for number in left]
    vocabulary = build_dataset(store, SPEC, records).vocabulary
    assert {"left", "right"} <= set(vocabulary)
    assert list(vocabulary) == sorted(vocabulary)


def test_progress_counts_every_episode(stocked: tuple[FolderStore, list[EpisodeRecord]]) -> None:
    store, records = stocked
    calls: list[tuple[int, int]] = []
    build_dataset(store, SPEC.model_copy(update={"seed": 9}), records, progress=lambda *done: calls.append(done))
    assert calls == [(done, 16) for done in range(1, 17)]


def test_an_altered_episode_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    records = [admitted(store, tmp_path, number) for number in range(6)]
    path = store.root / "episodes" / records[3].file.key
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError):
        build_dataset(store, SPEC, records)
    assert list(store.list("datasets", "versions/")) == []


def test_an_episode_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    records = [admitted(store, tmp_path, number) for number in range(6)]
    file = store.put("episodes", "broken.h5", b"no HDF5")
    broken = records[0].model_copy(update={"file": file})
    with pytest.raises(
        DatasetError,
        match=f"{broken.summary.name}.*cannot be decoded: .*broken|{broken.summary.name}.*cannot be decoded: .*HDF5",
    ):
        build_dataset(store, SPEC, [broken, *records[1:]])


def test_robots_that_always_do_the_same_teach_nothing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    records = [admitted(store, tmp_path, number, ("W", "W")) for number in range(6)]
    with pytest.raises(DatasetError, match="expected actions that vary"):
        build_dataset(store, SPEC, records)


def test_a_source_without_episodes_is_refused(stocked: tuple[FolderStore, list[EpisodeRecord]]) -> None:
    store, records = stocked
    with pytest.raises(DatasetError, match="source donkey, got none among 16"):
        build_dataset(store, SPEC.model_copy(update={"source": "donkey"}), records)


def test_an_unknown_or_altered_version_is_refused(stocked: tuple[FolderStore, list[EpisodeRecord]]) -> None:
    store, records = stocked
    with pytest.raises(DatasetError, match="build it first"):
        open_dataset(store, "0" * 64)
    dataset = build_dataset(store, SPEC, records)
    other = dataset.model_copy(update={"vocabulary": ("other",)})
    store.put("datasets", f"versions/{'1' * 64}.json", other.canonical_json())
    with pytest.raises(DatasetError, match="it was altered"):
        open_dataset(store, "1" * 64)


def test_a_shard_of_other_bytes_is_refused(stocked: tuple[FolderStore, list[EpisodeRecord]], tmp_path: Path) -> None:
    store, records = stocked
    dataset = build_dataset(store, SPEC, records)
    other = FolderStore(tmp_path / "other")
    for ref in dataset.shards:
        data = bytearray(store.get(ref.bucket, ref.key))
        data[-1] ^= 1
        other.put(ref.bucket, ref.key, bytes(data))
    with pytest.raises(IntegrityError):
        load_split(other, dataset, "train")
