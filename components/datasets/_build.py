"""Records to a versioned dataset."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from components.contracts import (
    AXES,
    SPLITS,
    AxisStatistics,
    DatasetEpisode,
    DatasetSpec,
    DatasetVersion,
    EpisodeRecord,
    ObjectRef,
    Sha256,
    Split,
    canonical_json,
)
from components.contracts.errors import DatasetError, ObjectNotFoundError
from components.episodes import key_of, mirror_instruction, words
from components.storage import ObjectStore, put_document, put_once, refresh

from ._collections import restrict
from ._decode import Decoded, decode
from ._split import assign, recording_order

_BUCKET = "datasets"
_SHARD_BYTES = 32 * 2**20
_BUILD = 1
"""Counts up when equal specs over equal episodes would give other bytes than before."""

Progress = Callable[[int, int], None]
"""Called with (episodes done, episodes in all)."""


def build_dataset(
    store: ObjectStore,
    spec: DatasetSpec,
    records: Sequence[EpisodeRecord],
    *,
    progress: Progress = lambda done, total: None,
    workers: int = 2,
) -> DatasetVersion:
    """Split, decode once, measure, and keep as `datasets/versions/<digest>.json`.

    Equal specs over equal records give the same version; what was built before is found, not built again.

    Args:
        store: Holds the episodes; shards and manifest are written to it.
        spec: What to build.
        records: Admitted episodes as `select` gives them (edited, without the deleted ones), in any order.
        progress: Told after each decoded episode.
        workers: Decoding processes.

    Raises:
        DatasetError: no episodes of the wanted source and collection, too few groups to fill every split, an episode
            that cannot be decoded, or actions that never vary.
        IntegrityError: an episode's bytes are not those that its record names.
    """
    spec, taken = restrict(store, spec, records)
    chosen = {record.file.sha256: record for record in taken}
    if not chosen:
        among = f" in collection {spec.collection}" if spec.collection else ""
        raise DatasetError(
            f"expected episodes of source {spec.source or 'any'}{among}, got none among {len(records)} records; "
            "upload and ingest some first"
        )
    splits = assign(list(chosen.values()), spec)
    ordered = sorted(recording_order(list(chosen.values())), key=lambda item: SPLITS.index(splits[item.file.sha256]))
    inputs = hashlib.sha256(
        canonical_json([_BUILD, spec.model_dump(mode="json"), [record.model_dump(mode="json") for record in ordered]])
    ).hexdigest()
    if built := _built(store, inputs):
        return built
    shards, tally = _Shards(store), _Tally()
    episodes = []
    for done, (record, decoded) in enumerate(_decoded(store, ordered, spec, workers), 1):
        split = splits[record.file.sha256]
        tally.add(split, record, decoded)
        episodes.append(_episode(record, split, shards.add(split, decoded), len(decoded.frames)))
        progress(done, len(ordered))
    version = DatasetVersion(
        spec=spec,
        episodes=tuple(episodes),
        shards=shards.close(),
        statistics=tally.statistics(),
        key_counts=tally.key_counts(),
        vocabulary=tally.vocabulary(),
    )
    put_document(store, _BUCKET, "versions", version)
    store.put(_BUCKET, f"builds/{inputs}.json", canonical_json({"version": version.version}))
    return version


def open_dataset(store: ObjectStore, version: Sha256) -> DatasetVersion:
    """A dataset's manifest by its version.

    Raises:
        DatasetError: no such version, or a manifest that is not the one that the version names.
    """
    key = f"versions/{version}.json"
    try:
        dataset = DatasetVersion.parse(store.get(_BUCKET, key), source=f"s3://{_BUCKET}/{key}")
    except ObjectNotFoundError as error:
        raise DatasetError(f"there is no dataset {version}: {error}; build it first") from None
    if dataset.version != version:
        raise DatasetError(f"s3://{_BUCKET}/{key} holds dataset {dataset.version}, expected {version}: it was altered")
    return dataset


def _built(store: ObjectStore, inputs: str) -> DatasetVersion | None:
    key = f"builds/{inputs}.json"
    try:
        document = store.get(_BUCKET, key)
    except ObjectNotFoundError:
        return None
    refresh(store, _BUCKET, key, document)
    return open_dataset(store, json.loads(document)["version"])


def _decoded(
    store: ObjectStore, ordered: Sequence[EpisodeRecord], spec: DatasetSpec, workers: int
) -> Iterator[tuple[EpisodeRecord, Decoded]]:
    return zip(ordered, decode(store, ordered, spec.frame, workers=workers), strict=True)


def _episode(record: EpisodeRecord, split: Split, shard: int, frames: int) -> DatasetEpisode:
    summary = record.summary
    return DatasetEpisode(
        sha256=record.file.sha256,
        name=summary.name,
        robot=summary.robot,
        session=summary.session,
        scenario=summary.scenario,
        instruction=summary.instruction,
        split=split,
        shard=shard,
        frames=frames,
    )


class _Shards:
    """Episodes end to end, one split a shard, written when 32 MiB are full."""

    def __init__(self, store: ObjectStore) -> None:
        self._store, self._refs = store, list[ObjectRef]()
        self._split: Split | None = None
        self._open: list[Decoded] = []

    def add(self, split: Split, decoded: Decoded) -> int:
        """Returns the shard that the episode goes into."""
        full = sum(item.frames.nbytes for item in self._open) + decoded.frames.nbytes > _SHARD_BYTES
        if self._open and (full or split != self._split):
            self._write()
        self._split = split
        self._open.append(decoded)
        return len(self._refs)

    def close(self) -> tuple[ObjectRef, ...]:
        self._write()
        return tuple(self._refs)

    def _write(self) -> None:
        data = save({
            "frames": np.concatenate([item.frames for item in self._open]),
            "actions": np.concatenate([item.actions for item in self._open]),
        })  # fmt: skip
        digest = hashlib.sha256(data).hexdigest()
        self._refs.append(put_once(self._store, _BUCKET, f"shards/{digest}.safetensors", data))
        self._open = []


class _Tally:
    """What the training split says."""

    def __init__(self) -> None:
        self._actions: list[NDArray[np.float32]] = []
        self._words: set[str] = set()

    def add(self, split: Split, record: EpisodeRecord, decoded: Decoded) -> None:
        if split == "train":
            self._actions.append(decoded.actions[1:])
            told = record.summary.instruction
            self._words |= {*words(told), *words(mirror_instruction(told))}

    def statistics(self) -> tuple[AxisStatistics, ...]:
        actions = np.concatenate(self._actions).astype(np.float64)
        low, high = actions.min(axis=0), actions.max(axis=0)
        if (low == high).all():
            raise DatasetError(
                f"expected actions that vary in the training split, got {low.tolist()} in all {len(actions)} frames; "
                "there is nothing to learn from robots that always do the same"
            )
        return tuple(
            AxisStatistics(
                axis=axis,
                mean=float(actions[:, index].mean()),
                std=float(actions[:, index].std()),
                minimum=float(low[index]),
                maximum=float(high[index]),
                constant=bool(low[index] == high[index]),
            )
            for index, axis in enumerate(AXES)
        )

    def key_counts(self) -> dict[str, int]:
        return dict(sorted(Counter(key_of(row) or "other" for part in self._actions for row in part).items()))

    def vocabulary(self) -> tuple[str, ...]:
        return tuple(sorted(self._words))
