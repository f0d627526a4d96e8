"""Garbage collection by mark and sweep: what nothing refers to, and what is older than a grace period.

Roots are all documents beside the ones that may be swept (docs/retention.md lists both), and whatever is younger than
the grace period. A document refers to every object whose key holds a SHA-256 that the document names. Marking errs
towards keeping: a number that only looks like a name keeps an object, too.

Others may write meanwhile. Whoever finds an old object again writes it again (`refresh`), so that it is young; stage
results and builds, by which old objects are found, go first; and each object is looked at again before it goes.

What is not covered: versions that a bucket keeps; a run that holds what it found in memory alone for longer than the
grace period.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from components.contracts.errors import ConfigurationError, ObjectNotFoundError, StorageError

from ._content import COLLECTED
from ._parts import OpenUpload
from ._protocol import BUCKETS, ObjectInfo, ObjectStore, uri_of
from ._s3 import S3Store

GRACE = timedelta(days=14)
LEAST_GRACE = timedelta(days=2)
"""Longer than any stage of a flow takes."""
QUARANTINE_RETENTION = timedelta(days=90)

_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_LIMIT = 256 * 2**20
_TRIES = 3
_DATA = {
    ("datasets", "versions/"): "datasets",
    ("datasets", "shards/"): "datasets",
    ("models", "policies/"): "models",
    ("models", "packages/"): "packages",
    ("models", "blobs/"): "packages",
}
"""Kept as long as something refers to it."""
_CACHES = {("models", "stages/"): "stage cache", ("datasets", "builds/"): "stage cache"}
"""Entries that find results again. Nothing refers to it; an old one is kept while all that it names is kept."""
_PROBES = (("datasets", "probe/"), ("quarantine", "probe/"))
_NAME_NOTHING = ("fleet/", "invitations/", "receipt-keys/", "pages/")
"""In `models`: documents that name no data, and are not read."""


@dataclass(frozen=True)
class Garbage:
    """One thing that may go."""

    kind: str
    uri: str
    size: int
    info: ObjectInfo | None = None
    """None: an upload in parts that nobody completed."""
    upload: OpenUpload | None = None


class _ChangedError(Exception):
    """The marked object is not the one that is there any more."""


def find_garbage(
    store: ObjectStore,
    *,
    grace: timedelta = GRACE,
    quarantine: timedelta = QUARANTINE_RETENTION,
    now: datetime | None = None,
) -> list[Garbage]:
    """Mark, and list what may go; nothing is changed.

    Args:
        store: with the platform's identity.
        grace: what was written since then stays, whatever refers to it.
        quarantine: episodes in quarantine stay for so long.
        now: the store's clock, about.

    Raises:
        ConfigurationError: a grace period in which a running flow would lose what it made.
        StorageError: a document cannot be read: what it refers to is not known, so nothing is garbage.
    """
    if min(grace, quarantine) < LEAST_GRACE:
        raise ConfigurationError(
            f"expected periods of at least {LEAST_GRACE.days} days, got {grace} and {quarantine}: a flow that runs may "
            "need what is younger"
        )
    now = now or datetime.now(UTC)
    before = now - grace
    marked = _Marked(store, before)
    found = [*marked.caches(), *marked.data()]
    for bucket, prefix in _PROBES:
        found += [_garbage("probes", info) for info in store.list(bucket, prefix) if info.modified_at < before]
    return [*found, *_quarantined(store, now - quarantine), *_uploads(store, before)]


def sweep(
    store: ObjectStore,
    *,
    grace: timedelta = GRACE,
    quarantine: timedelta = QUARANTINE_RETENTION,
    now: datetime | None = None,
) -> list[Garbage]:
    """Delete what `find_garbage` lists, and return what was deleted.

    Raises:
        ConfigurationError, StorageError: as `find_garbage`; also while flows keep finding what was about to go.
    """
    deleted: list[Garbage] = []
    for _ in range(_TRIES):
        found = find_garbage(store, grace=grace, quarantine=quarantine, now=now)
        try:
            deleted += [item for item in found if _delete(store, item, (now or datetime.now(UTC)) - grace)]
        except _ChangedError:
            continue
        return deleted
    raise StorageError("flows were finding old results all the while: run `drover gc` again once they are done")


class _Marked:
    """The objects that may be swept, and which of them are referred to."""

    def __init__(self, store: ObjectStore, before: datetime) -> None:
        self._store, self._before = store, before
        self._kinds: dict[ObjectInfo, str] = {}
        self._by_name: dict[bytes, list[ObjectInfo]] = defaultdict(list)
        self._old_caches: list[ObjectInfo] = []
        self._live: set[ObjectInfo] = set()
        self._unread: list[ObjectInfo] = []
        for bucket in COLLECTED:
            for info in store.list(bucket):
                self._note(info)
        self._unread += [info for info in store.list("reports", "evaluations/") if info.key.endswith(".json")]
        self._mark()

    def caches(self) -> Iterator[Garbage]:
        """Old results of which something is dead, or that name nothing."""
        for info in self._old_caches:
            named = [item for name in self._names_in(info) for item in self._by_name.get(name, ())]
            if not named or any(item not in self._live for item in named):
                yield _garbage("stage cache", info)

    def data(self) -> Iterator[Garbage]:
        for info, kind in self._kinds.items():
            if info not in self._live:
                yield _garbage(kind, info)

    def _note(self, info: ObjectInfo) -> None:
        young = info.modified_at >= self._before
        if any(info.bucket == bucket and info.key.startswith(prefix) for bucket, prefix in _PROBES):
            return
        if _kind(info, _CACHES):
            (self._unread if young else self._old_caches).append(info)
            return
        if kind := _kind(info, _DATA):
            self._kinds[info] = kind
            for name in _DIGEST.findall(info.key.encode()):
                self._by_name[name].append(info)
            if young:
                self._keep(info)
        elif info.key.endswith(".json") and not info.key.startswith(_NAME_NOTHING):
            self._unread.append(info)

    def _keep(self, info: ObjectInfo) -> None:
        if info not in self._live:
            self._live.add(info)
            if info.key.endswith(".json"):
                self._unread.append(info)

    def _mark(self) -> None:
        while self._unread:
            for name in self._names_in(self._unread.pop()):
                for info in self._by_name.get(name, ()):
                    self._keep(info)

    def _names_in(self, info: ObjectInfo) -> set[bytes]:
        try:
            return set(_DIGEST.findall(self._store.get(info.bucket, info.key, limit=_LIMIT)))
        except ObjectNotFoundError:
            return set()  # another run removed it


def _delete(store: ObjectStore, item: Garbage, before: datetime) -> bool:
    """Delete one thing if it is still what was marked.

    Raises:
        _ChangedError: a result was found by somebody; what it names may be needed now.
    """
    if item.info is None:
        assert isinstance(store, S3Store)
        assert item.upload is not None
        return store.abandon_if_idle(item.uri.split("/")[2], item.upload, before)
    there = store.stat(item.info.bucket, item.info.key)
    if there is None:
        return False
    if there.modified_at > item.info.modified_at:
        if item.kind == "stage cache":
            raise _ChangedError
        return False
    store.remove(item.info.bucket, item.info.key)
    return True


def _kind(info: ObjectInfo, kinds: dict[tuple[str, str], str]) -> str | None:
    matches = (
        kind for (bucket, prefix), kind in kinds.items() if info.bucket == bucket and info.key.startswith(prefix)
    )
    return next(matches, None)


def _garbage(kind: str, info: ObjectInfo) -> Garbage:
    return Garbage(kind, uri_of(info.bucket, info.key), info.size, info)


def _quarantined(store: ObjectStore, before: datetime) -> Iterator[Garbage]:
    """Each with its finding last, so that what is interrupted is seen again."""
    groups: dict[str, list[ObjectInfo]] = defaultdict(list)
    for info in store.list("quarantine"):
        folder = info.key.partition("/")[0]
        if _DIGEST.fullmatch(folder.encode()):
            groups[folder].append(info)
    for infos in groups.values():
        if all(info.modified_at < before for info in infos):
            yield from (_garbage("quarantine", info) for info in _finding_last(infos))


def _finding_last(infos: Iterable[ObjectInfo]) -> list[ObjectInfo]:
    return sorted(infos, key=lambda info: info.key.endswith("/finding.json"))


def _uploads(store: ObjectStore, before: datetime) -> Iterator[Garbage]:
    if not isinstance(store, S3Store):
        return
    for bucket in BUCKETS:
        for upload in store.idle_uploads(bucket, before):
            with suppress(ObjectNotFoundError):  # completed meanwhile
                size = sum(part.size for part in store.list_parts(bucket, upload.key, upload.upload_id))
                yield Garbage("unfinished uploads", uri_of(bucket, upload.key), size, upload=upload)
