"""The robot's end of the release repository: what is offered, and only what was signed for it.

What python-tuf's client leaves out is added here: a floor that outlives its local metadata, a clock that is doubted,
size limits against the object store, and targets that are resumed after a cut, verified whole, kept by content and
never refetched.
"""

import hashlib
import io
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Protocol, TypeVar

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Role, Root, Signed, Snapshot, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from components.contracts import MAX_NUMBER, Assignment, Frozen, Release, SecurityFloor, Sha256
from components.contracts.errors import (
    DroverError,
    InvalidDocumentError,
    ObjectNotFoundError,
    ReleaseRefusedError,
    StorageError,
)
from components.storage import ObjectStore, read_plain, remove_any, sha256_of_plain

from ._clock import EARLIEST, implausible
from ._journal import FileEntry
from ._package import FILE_NAME, MAX_FILES
from ._tuf_folder import MAX_METADATA_BYTES, LocalFetcher, tidy, why_not_signed

log = logging.getLogger(__name__)

BUCKET = "releases"
TIMESTAMP_LIFETIME = timedelta(days=3)
"""The publisher signs timestamps for at most this long, so `expires` tells when it was signed."""
DOCUMENT_LIMIT = 64 * 1024
_BASE = f"s3://{BUCKET}/"
T = TypeVar("T", bound=Frozen)
S = TypeVar("S", bound=Signed)


class Floors(Protocol):
    """Numbers that only rise, kept outside TUF's own metadata."""

    def floor(self, name: str) -> int: ...
    def raise_floors(self, floors: Mapping[str, int]) -> None: ...


@dataclass(frozen=True)
class Offer:
    """What the platform wants this robot to run, verified down to each file's hash."""

    assignment: Assignment
    release: Release | None
    """None: no policy."""
    files: dict[str, FileEntry]
    scope: str
    """Of the director's keys."""


class StoreFetcher(FetcherInterface):
    """Metadata over the object store, never more bytes than allowed."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise NotImplementedError  # unused: download_file knows the length, which this call does not

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        yield io.BytesIO(self.read(url.removeprefix(_BASE), max_length))

    def read(self, key: str, limit: int) -> bytes:
        try:
            found = self._store.stat(BUCKET, key)
            if found is None:
                raise exceptions.DownloadHTTPError(f"{key} is not there", 404)
            if found.size > limit:
                raise exceptions.DownloadLengthMismatchError(f"{key}: {found.size} bytes, at most {limit} are allowed")
            return self._store.get(BUCKET, key, limit=limit)
        except ObjectNotFoundError:
            raise exceptions.DownloadHTTPError(f"{key} is not there", 404) from None
        except StorageError as error:
            raise exceptions.DownloadError(str(error)) from error


class ReleaseClient:
    """Checks for an assignment, and fetches the files of a release."""

    def __init__(
        self,
        store: ObjectStore,
        home: Path,
        *,
        robot: str,
        bootstrap: bytes,
        floors: Floors,
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._robot, self._bootstrap = store, robot, bootstrap
        self._floors, self._clock = floors, clock
        self._metadata = home / "tuf"
        tidy(self._metadata, log.error)

    def check(self) -> Offer | None:
        """The assignment of this robot; None: there is none.

        Raises:
            StorageError: the store cannot be reached; try again later.
            ReleaseRefusedError: what is served cannot be trusted; `reason` is one of `clock`, `expired`, `rollback`,
                `signature`, `metadata`, `size`, `robot`, `floor`.
        """
        now = self._clock()
        if fault := implausible(now, None):
            raise ReleaseRefusedError("clock", fault)
        try:
            tidy(self._metadata, log.error)
            updater = self._updater(now, StoreFetcher(self._store))
            updater.refresh()
            return self._offer(updater, now)
        except exceptions.DownloadLengthMismatchError as error:
            raise ReleaseRefusedError("size", str(error)) from error
        except exceptions.DownloadError as error:
            raise StorageError(f"release metadata cannot be fetched: {error}") from error
        except exceptions.ExpiredMetadataError as error:
            raise ReleaseRefusedError("expired", f"{error}: nothing installs until it is signed anew") from error
        except exceptions.BadVersionNumberError as error:
            raise ReleaseRefusedError("rollback", f"older metadata than was seen before: {error}") from error
        except exceptions.UnsignedMetadataError as error:
            raise ReleaseRefusedError("signature", str(error)) from error
        except InvalidDocumentError as error:
            raise ReleaseRefusedError("metadata", str(error)) from error
        except (DroverError, sqlite3.Error, OSError, MemoryError):
            raise
        except Exception as error:  # served by others: dates, numbers and nesting that no library foresaw
            raise ReleaseRefusedError("metadata", f"{type(error).__name__}: {error}") from error

    def fetch(self, release: Release, name: str, entry: FileEntry, folder: Path) -> Path:
        """One file of a release, into `folder/<sha256>`; there already: not fetched.

        Raises:
            StorageError: the store cannot be reached.
            ReleaseRefusedError: twice in a row other bytes than were signed (`content`), or more of them (`size`).
        """
        path = folder / entry.sha256
        if _is(path, entry):
            return path
        remove_any(path)
        key = f"targets/releases/{release.name}/{entry.sha256}.{name}"
        for _ in range(2):
            found = self._store.stat(BUCKET, key)
            if found is not None and found.size > entry.size:
                raise ReleaseRefusedError("size", f"{key}: {found.size} bytes, {entry.size} were signed")
            self._store.get_file(BUCKET, key, path, limit=entry.size, resume=True)
            if _is(path, entry):
                return path
            path.unlink(missing_ok=True)
            log.warning("%s is not what was signed; fetched again", key)
        raise ReleaseRefusedError("content", f"{key}: other bytes than were signed, SHA-256 {entry.sha256}")

    def vouch(self, release: Release, files: Mapping[str, Sha256]) -> str | None:
        """Why the metadata that was verified here last does not name this release with these files; None: it does.
        Asks nobody."""
        try:
            tidy(self._metadata, log.error)
            updater = self._updater(EARLIEST, LocalFetcher(self._metadata))
        except (exceptions.RepositoryError, OSError) as error:
            return f"{self._metadata} cannot be used: {error}"
        return why_not_signed(updater, release, files)

    def _updater(self, now: datetime, fetcher: FetcherInterface) -> Updater:
        updater = Updater(
            str(self._metadata),
            f"{_BASE}metadata/",
            target_base_url=f"{_BASE}targets/",
            fetcher=fetcher,
            config=UpdaterConfig(targets_max_length=MAX_METADATA_BYTES, max_delegations=4),
            bootstrap=self._bootstrap,
        )
        # One clock for plausibility and expiry; python-tuf offers no door for it, and a silent miss would be unsafe.
        trusted = updater._trusted_set  # noqa: SLF001
        if not isinstance(trusted.reference_time, datetime):
            raise TypeError("python-tuf changed: expected TrustedMetadataSet.reference_time")
        trusted.reference_time = now
        return updater

    def _offer(self, updater: Updater, now: datetime) -> Offer | None:
        root, targets = self._local(Root, "root"), self._local(Targets, "targets")
        timestamp, snapshot = self._local(Timestamp, "timestamp"), self._local(Snapshot, "snapshot")
        scopes = _scopes(root, targets)
        lower_bound = timestamp.expires - TIMESTAMP_LIFETIME
        if fault := implausible(now, lower_bound):
            raise ReleaseRefusedError("clock", fault)
        versions = {"timestamp": timestamp.version, "snapshot": snapshot.version}
        versions |= {name.removesuffix(".json"): meta.version for name, meta in snapshot.meta.items()}
        if any(version > MAX_NUMBER for version in (*versions.values(), root.version)):
            raise ReleaseRefusedError("metadata", f"a version is above {MAX_NUMBER}")
        floors = {f"{role}@{scopes[role]}": version for role, version in versions.items()} | {"root": root.version}
        for name, version in floors.items():
            if version < self._floors.floor(name):
                role = name.partition("@")[0]
                seen = self._floors.floor(name)
                raise ReleaseRefusedError("rollback", f"{role} version {version} is served, {seen} was seen before")
        security = self._document(updater, "floor.json", SecurityFloor)
        self._floors.raise_floors(floors | {"release": security.floor if security else 0})
        assignment = self._document(updater, f"assign/{self._robot}.json", Assignment)
        return self._accept(updater, assignment, scopes["director"]) if assignment else None

    def _accept(self, updater: Updater, assignment: Assignment, scope: str) -> Offer:
        if assignment.robot != self._robot:
            raise ReleaseRefusedError("robot", f"the assignment is for {assignment.robot}, this is {self._robot}")
        seen = self._floors.floor(f"seq@{scope}")
        if assignment.seq < seen:
            raise ReleaseRefusedError("rollback", f"assignment {assignment.seq} is served, {seen} was seen before")
        if assignment.release is None:
            self._floors.raise_floors({f"seq@{scope}": assignment.seq})
            return Offer(assignment, None, {}, scope)
        prefix = f"releases/{assignment.release}/"
        release = self._document(updater, f"{prefix}release.json", Release)
        if release is None or (release.name, release.number) != (assignment.release, assignment.number):
            raise ReleaseRefusedError("metadata", f"{assignment.release} is assigned, but no such release is signed")
        floor = max(assignment.floor, self._floors.floor("release"))
        if release.number < floor:
            raise ReleaseRefusedError("floor", f"{release.name} is number {release.number}, the floor is {floor}")
        files = {
            path.removeprefix(prefix): FileEntry(sha256=target.hashes["sha256"], size=target.length)
            for path, target in self._local(Targets, "releases").targets.items()
            if path.startswith(prefix) and path != f"{prefix}release.json"
        }
        if odd := next((name for name in files if not FILE_NAME.fullmatch(name)), None):
            raise ReleaseRefusedError("metadata", f"{prefix}: {odd[:80]!r} is no name of a package's file")
        if len(files) > MAX_FILES + 1:
            raise ReleaseRefusedError("metadata", f"{prefix}: {len(files)} files, a package has at most {MAX_FILES}")
        self._floors.raise_floors({f"seq@{scope}": assignment.seq})
        return Offer(assignment, release, files, scope)

    def _document(self, updater: Updater, path: str, kind: type[T]) -> T | None:
        target = updater.get_targetinfo(path)
        if target is None:
            return None
        folder, slash, name = path.rpartition("/")
        key = f"targets/{folder}{slash}{target.hashes['sha256']}.{name}"
        data = StoreFetcher(self._store).read(key, min(target.length, DOCUMENT_LIMIT))
        target.verify_length_and_hashes(data)
        return kind.parse(data, source=path)

    def _local(self, kind: type[S], role: str) -> S:
        """Metadata that the updater has just verified and persisted."""
        path = self._metadata / f"{role}.json"
        if role == Root.type and path.is_symlink():  # python-tuf's own, to a file of `root_history`
            path = self._metadata / path.readlink()
        signed = Metadata.from_bytes(read_plain(path, MAX_METADATA_BYTES)).signed
        if not isinstance(signed, kind):
            raise ReleaseRefusedError("metadata", f"{role}.json holds a {type(signed).__name__}")
        return signed


def _scope(keyids: Iterable[str]) -> str:
    """Names a set of keys. Floors and seqs hold under the keys that signed them: a thief's do not outlive him."""
    return hashlib.sha256(",".join(sorted(keyids)).encode()).hexdigest()[:16]


def _scopes(root: Root, targets: Targets) -> dict[str, str]:
    roles: dict[str, Role] = dict(root.roles)
    roles |= (targets.delegations.roles or {}) if targets.delegations else {}
    return {name: _scope(role.keyids) for name, role in roles.items()}


def _is(path: Path, entry: FileEntry) -> bool:
    try:
        return path.lstat().st_size == entry.size and sha256_of_plain(path) == entry.sha256
    except OSError:
        return False
