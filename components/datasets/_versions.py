"""Dataset versions as people see them: which there are, which models used them, and which are kept by name.

`kept/<version>.json` keeps a dataset that nothing else refers to (docs/retention.md).
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from components.contracts import DatasetVersion, Frozen, Incumbent, Sha256, TrainedMembers
from components.contracts.errors import InvalidDocumentError, ObjectNotFoundError
from components.storage import ObjectStore

from ._build import open_dataset
from ._catalogue import dataset_versions
from ._documents import BUCKET

_TRAINED = ("stages/train/", "stages/tune/")
_LIMIT = 64 * 2**20


class KeptDataset(Frozen):
    """Somebody wants this dataset to stay."""

    version: Sha256
    at: datetime


@dataclass(frozen=True)
class DatasetUse:
    """Who used a dataset."""

    models: tuple[str, ...] = ()
    """Policies that were trained on it, by name."""
    releases: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()
    """Digests of evaluation reports on it."""


@dataclass(frozen=True)
class DatasetEntry:
    """One version."""

    dataset: DatasetVersion
    built_at: datetime
    kept: bool
    use: DatasetUse = field(default_factory=DatasetUse)


def list_datasets(store: ObjectStore) -> list[DatasetEntry]:
    """Every dataset that was built, the newest first.

    Raises:
        DatasetError: a manifest is not the one that its version names.
    """
    times = {info.key: info.modified_at for info in store.list(BUCKET, "versions/")}
    kept = {info.key for info in store.list(BUCKET, "kept/")}
    uses = dataset_uses(store)
    return [
        DatasetEntry(
            open_dataset(store, version),
            times[f"versions/{version}.json"],
            _kept_key(version) in kept,
            uses.get(version, DatasetUse()),
        )
        for version in dataset_versions(store)
    ]


def dataset_uses(store: ObjectStore) -> dict[str, DatasetUse]:
    """Version -> who used it, by the stage cache, the releases and the reports; what cannot be read is left out."""
    models: dict[str, set[str]] = defaultdict(set)
    releases: dict[str, set[str]] = defaultdict(set)
    reports: dict[str, set[str]] = defaultdict(set)
    for document in _documents(store, "models", _TRAINED):
        try:
            trained = TrainedMembers.parse(document, source="a stage's result")
        except InvalidDocumentError:
            continue
        for policy in trained.members:
            models[policy.dataset].add(policy.name)
    for document in _documents(store, "models", ("releases/",)):
        try:
            found = Incumbent.parse(json.dumps(json.loads(document) | {"report": None}), source="a release")
        except (InvalidDocumentError, ValueError, TypeError):
            continue
        releases[found.ensemble.dataset].add(found.release.name)
        models[found.ensemble.dataset] |= {policy.name for policy in found.ensemble.members}
    for info in store.list("reports", "evaluations/"):
        if info.key.endswith("/report.json") and (version := _dataset_of(store, info.key)):
            reports[version].add(info.key.split("/")[1])
    return {
        version: DatasetUse(*(tuple(sorted(found[version])) for found in (models, releases, reports)))
        for version in (*models, *releases, *reports)
    }


def keep_dataset(store: ObjectStore, version: Sha256, *, keep: bool = True) -> None:
    """Let a dataset stay whatever refers to it, or take that back.

    Raises:
        DatasetError: there is no such dataset.
    """
    open_dataset(store, version)
    if keep:
        store.put(BUCKET, _kept_key(version), KeptDataset(version=version, at=datetime.now(UTC)).canonical_json())
    else:
        store.remove(BUCKET, _kept_key(version))


def _documents(store: ObjectStore, bucket: str, prefixes: tuple[str, ...]) -> Iterator[bytes]:
    for prefix in prefixes:
        for info in store.list(bucket, prefix):
            try:
                yield store.get(bucket, info.key, limit=_LIMIT)
            except ObjectNotFoundError:  # collected meanwhile
                continue


def _dataset_of(store: ObjectStore, key: str) -> str | None:
    """The dataset of a report, whatever version of Drover wrote it."""
    try:
        found = json.loads(store.get("reports", key, limit=_LIMIT))
    except (ObjectNotFoundError, ValueError):
        return None
    version = found.get("dataset") if isinstance(found, dict) else None
    return version if isinstance(version, str) else None


def _kept_key(version: str) -> str:
    return f"kept/{version}.json"
