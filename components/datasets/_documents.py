"""Many small documents, read side by side."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from components.contracts import Frozen
from components.contracts.errors import ObjectNotFoundError
from components.storage import ObjectStore

BUCKET = "datasets"
_SIDE_BY_SIDE = 16

T = TypeVar("T", bound=Frozen)


def read_documents(store: ObjectStore, keys: Iterable[str], kind: type[T]) -> list[T]:
    """Documents of the bucket `datasets`, in the keys' order; one that is gone is left out.

    Raises:
        InvalidDocumentError: one is not of this kind.
    """

    def read(key: str) -> T | None:
        try:
            return kind.parse(store.get(BUCKET, key), source=f"s3://{BUCKET}/{key}")
        except ObjectNotFoundError:
            return None

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        return [document for document in pool.map(read, keys) if document is not None]
