"""Where an episode is: datasets, collections, and what its robot was told."""

from datetime import datetime

from components.contracts import Collection, DatasetVersion, Frozen, Receipt, Sha256, SignedReceipt, Split
from components.contracts.errors import InvalidDocumentError, ObjectNotFoundError
from components.storage import ObjectStore

from ._catalogue import Entry
from ._collections import collections
from ._documents import BUCKET, read_documents


class DatasetPlace(Frozen):
    """An episode in a dataset."""

    version: Sha256
    split: Split
    built_at: datetime


class EpisodePlaces(Frozen):
    """Where one episode is."""

    datasets: tuple[DatasetPlace, ...]
    """The newest first."""
    collections: tuple[str, ...]
    """`name@version` of the latest versions that list it."""
    receipt: Receipt | None
    """What its robot was told; None if there is no receipt that can be read."""
    signed: bool
    """The receipt bears the platform's signature (which is the robot's to verify)."""


def places_of(store: ObjectStore, entry: Entry) -> EpisodePlaces:
    """Where an episode is. Reads the manifest of every dataset."""
    infos = sorted(store.list(BUCKET, "versions/"), key=lambda info: info.modified_at, reverse=True)
    built = {info.key: info.modified_at for info in infos}
    datasets = []
    for version in read_documents(store, built, DatasetVersion):
        name = version.version
        datasets += [
            DatasetPlace(version=name, split=item.split, built_at=built[f"versions/{name}.json"])
            for item in version.episodes
            if item.sha256 == entry.sha256
        ]
    listing: list[Collection] = [item for item in collections(store) if entry.sha256 in item.episodes]
    receipt, signed = _receipt(store, entry)
    return EpisodePlaces(
        datasets=tuple(datasets),
        collections=tuple(item.ref for item in listing),
        receipt=receipt,
        signed=signed,
    )


def _receipt(store: ObjectStore, entry: Entry) -> tuple[Receipt | None, bool]:
    key = f"{entry.summary.robot}/{entry.sha256}.json"
    try:
        document = store.get("receipts", key)
    except ObjectNotFoundError:
        return None, False
    source = f"s3://receipts/{key}"
    try:
        return SignedReceipt.parse(document, source=source).receipt, True
    except InvalidDocumentError:
        pass
    try:
        return Receipt.parse(document, source=source), False
    except InvalidDocumentError:
        return None, False
