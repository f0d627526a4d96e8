"""The records of admitted episodes, one by one and all together.

A record is an object of its own, written once. All of them would be a request each, so whoever reads many leaves a page
of them: `episodes/pages/<sha256 of the page>.jsonl`. A page saves requests and decides nothing: an episode is what the
bucket lists; losing the pages, or writing one twice, changes no answer.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from components.contracts import EpisodeRecord, Frozen
from components.contracts.errors import AlreadyExistsError, InvalidDocumentError, ObjectNotFoundError, StorageError
from components.storage import ObjectStore, expect_answers

_LOG = logging.getLogger(__name__)
_RECORD = re.compile(r"([0-9a-f]{64})\.json")
_PAGES = "pages/"
PAGE_RECORDS = 200
"""As many records without a page make one: so at most as many are read one by one."""
_SIDE_BY_SIDE = 8

T = TypeVar("T", bound=Frozen)
R = TypeVar("R")


def find_record(store: ObjectStore, sha256: str) -> EpisodeRecord | None:
    """The record of an admitted episode, by its file's SHA-256. A damaged one is none: it is written anew."""
    try:
        document = store.get("episodes", f"{sha256}.json")
        return EpisodeRecord.parse(document, source=f"s3://episodes/{sha256}.json")
    except ObjectNotFoundError:
        return None
    except InvalidDocumentError as error:
        _LOG.error("ALARM store: %s; the next upload of this episode replaces it", error)
        return None


def records(store: ObjectStore, *, leave_out_damaged: bool = False) -> list[EpisodeRecord]:
    """All admitted episodes, by SHA-256.

    Args:
        store: with the episodes.
        leave_out_damaged: a record that cannot be read is left out, with an alarm in the log. For what must go on
            without it, as ingest does; a data set must not become smaller in silence.

    Raises:
        InvalidDocumentError: a record is damaged.
        StorageError: the store failed; with `leave_out_damaged`, as a whole.
    """
    listed, pages = set(), []
    for info in store.list("episodes"):
        if match := _RECORD.fullmatch(info.key):
            listed.add(match[1])
        elif info.key.startswith(_PAGES):
            pages.append(info.key)
    found = {record.file.sha256: record for record in _paged(store, pages) if record.file.sha256 in listed}
    single = read_documents(
        store, "episodes", EpisodeRecord, (f"{sha256}.json" for sha256 in sorted(listed - set(found))),
        leave_out_damaged=leave_out_damaged,
    )  # fmt: skip
    for start in range(0, len(single) - PAGE_RECORDS + 1, PAGE_RECORDS):
        _leave_page(store, single[start : start + PAGE_RECORDS])
    found |= {record.file.sha256: record for record in single}
    return [found[sha256] for sha256 in sorted(found)]


def read_documents(
    store: ObjectStore, bucket: str, kind: type[T], keys: Iterable[str], *, leave_out_damaged: bool = False
) -> list[T]:
    """Documents of a kind, read side by side; one that vanished meanwhile is left out."""

    def read(key: str) -> T | None:
        try:
            return kind.parse(store.get(bucket, key), source=f"s3://{bucket}/{key}")
        except ObjectNotFoundError:
            return None
        except (InvalidDocumentError, StorageError) as error:
            if not leave_out_damaged:
                raise
            expect_answers(store)
            _LOG.error("ALARM store: s3://%s/%a is left out, it cannot be read: %a", bucket, key, str(error)[:500])
            return None

    return [document for document in _side_by_side(read, keys) if document is not None]


def _paged(store: ObjectStore, pages: list[str]) -> Iterable[EpisodeRecord]:
    def read(key: str) -> list[EpisodeRecord]:
        try:
            lines = store.get("episodes", key).splitlines()
            return [EpisodeRecord.parse(line, source=f"s3://episodes/{key}") for line in lines]
        except (StorageError, InvalidDocumentError) as error:  # of an older shape: the records themselves tell
            _LOG.warning("a page of records is left out, its records are read one by one: %s", error)
            return []

    return (record for page in _side_by_side(read, pages) for record in page)


def _leave_page(store: ObjectStore, some: list[EpisodeRecord]) -> None:
    page = b"\n".join(record.canonical_json() for record in some)
    with suppress(AlreadyExistsError):
        store.put("episodes", f"{_PAGES}{hashlib.sha256(page).hexdigest()}.jsonl", page, if_absent=True)


def _side_by_side(read: Callable[[str], R], keys: Iterable[str]) -> list[R]:
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        return list(pool.map(read, keys))
