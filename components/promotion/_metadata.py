"""TUF metadata in the `releases` bucket: read back only what our own root trusts, written so that a reader sees the old
state or the new one.

One number names one publication: whoever creates `metadata/claims/<n>.json` may write `<n>.<role>.json` and
`timestamp.json` with version n. A number whose owner died is skipped; its files are never referred to.
"""

import copy
import json
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    Targets,
    Timestamp,
)

from components.contracts.errors import AlreadyExistsError, ObjectNotFoundError, PromotionError
from components.storage import ObjectStore, put_once, write_durably

from ._keys import KeyRing

log = logging.getLogger(__name__)

BUCKET = "releases"
LIFETIMES = {
    "root": timedelta(days=365),
    "targets": timedelta(days=180),
    "releases": timedelta(days=90),
    "director": timedelta(days=7),
    "snapshot": timedelta(days=7),
    "timestamp": timedelta(days=3),
}
TARGET_ROLES = ("targets", "releases", "director")
_LIMIT = 8_000_000
_OUTAGE_S = 120.0
"""Time that a commit may lose to a store that is away: then its lease runs out, and it begins again."""


@dataclass
class View:
    """One consistent state of the repository, every signature checked."""

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    roles: dict[str, Targets]
    """targets, releases, director."""

    @property
    def targets(self) -> Targets:
        return self.roles["targets"]

    def delegation(self, role: str) -> DelegatedRole:
        delegations = self.targets.delegations
        assert delegations is not None
        assert delegations.roles is not None
        return delegations.roles[role]


class _Claim(NamedTuple):
    number: int
    started: float
    """Our own monotonic clock, before the claim was written."""


class MetadataStore:
    """Loads and publishes. `lease_s`: how long a publisher may take between its claim and its timestamp."""

    def __init__(self, store: ObjectStore, keys: KeyRing, clock: Callable[[], datetime], *, lease_s: float) -> None:
        self.store, self.keys, self.clock, self.lease_s = store, keys, clock, lease_s

    def load(self, root: Root | None = None) -> View:
        """The published state.

        Args:
            root: judge it by this one; None: the newest.

        Raises:
            PromotionError: what is in the store is not signed by the keys that our root names.
            ObjectNotFoundError: no repository there.
        """
        root = root or self.load_roots()[-1]
        try:
            timestamp = self._read("timestamp.json", Timestamp)
            root.verify_delegate("timestamp", timestamp.signed_bytes, timestamp.signatures)
            meta = timestamp.signed.snapshot_meta
            snapshot = self._read(f"{meta.version}.snapshot.json", Snapshot)
            root.verify_delegate("snapshot", snapshot.signed_bytes, snapshot.signatures)
            signed: dict[str, Metadata[Any]] = {}
            for role in TARGET_ROLES:
                version = snapshot.signed.meta[f"{role}.json"].version
                found = self._read(f"{version}.{role}.json", Targets)
                delegator = root if role == "targets" else signed["targets"].signed
                delegator.verify_delegate(role, found.signed_bytes, found.signatures)
                signed[role] = found
        except (RepositoryError, KeyError, ValueError) as error:
            raise PromotionError(f"the repository in {BUCKET} is not what our keys signed: {error}") from error
        roles = {role: copy.deepcopy(found.signed) for role, found in signed.items()}
        return View(root, timestamp.signed, snapshot.signed, roles)

    def load_roots(self) -> list[Root]:
        """Every root, each signed by the one before; the first has to be made of our own root keys, or the pinned one.

        Raises:
            PromotionError: it is not, or the chain is broken.
        """
        first = self._read("1.root.json", Root)
        ours = {signer.public_key.keyid for signer in self.keys.all("root")}
        pinned = self.keys.folder / "root.json"
        if pinned.exists():
            if pinned.read_bytes() != self.store.get(BUCKET, "metadata/1.root.json", limit=_LIMIT):
                raise PromotionError(f"the bucket {BUCKET} holds another repository than {pinned} is the root of")
        elif not set(first.signed.roles["root"].keyids) <= ours:
            raise PromotionError(
                f"the bucket {BUCKET} holds a repository of other keys than {self.keys.folder}; use theirs"
            )
        else:
            write_durably(pinned, self.store.get(BUCKET, "metadata/1.root.json", limit=_LIMIT))
        roots: list[Root] = [first.signed]
        try:
            roots[0].verify_delegate("root", first.signed_bytes, first.signatures)
            while self.store.stat(BUCKET, f"metadata/{len(roots) + 1}.root.json"):
                following = self._read(f"{len(roots) + 1}.root.json", Root)
                for judge in (roots[-1], following.signed):
                    judge.verify_delegate("root", following.signed_bytes, following.signatures)
                roots.append(following.signed)
        except (RepositoryError, ValueError) as error:
            raise PromotionError(f"root {len(roots) + 1} is not signed by root {len(roots)}: {error}") from error
        return roots

    def commit(self, change: Callable[[View], set[str]]) -> View:
        """Apply `change` to the published state and publish the result; again on top of a concurrent publisher's.

        Args:
            change: alters `view.roles` in place and returns the names of those that it altered; called again if another
                publisher was first. An empty set publishes nothing.

        Raises:
            PromotionError: keys are missing, or other publishers kept us out too long.
        """
        deadline = time.monotonic() + 4 * self.lease_s + _OUTAGE_S
        while time.monotonic() < deadline:
            view = self.load()
            dirty = change(view)
            if not dirty:
                return view
            self._signers(view, dirty)  # before anything is claimed
            claim = self._claim(view.timestamp.version)
            if claim is not None and self._write(view, dirty, claim):
                return view
        raise PromotionError("the repository was held by others, or the store too slow, all the time; try again")

    def publish_first(self, view: View) -> None:
        """The first state of a new repository; nothing if someone else publishes it meanwhile."""
        self._insist(view, set(TARGET_ROLES), 0)

    def publish_over(self, view: View, dirty: set[str]) -> None:
        """Publish over a state that the newest root does not vouch for any more, because it names other keys.

        Raises:
            PromotionError: another publisher is at work.
        """
        if not self._insist(view, dirty, view.timestamp.version):
            raise PromotionError("another publisher was at work while the keys changed; rotate again")

    def put_root(self, root: Root, signers: list[Any]) -> None:
        """Raises AlreadyExistsError: another root of that version is there."""
        self.store.put(BUCKET, f"metadata/{root.version}.root.json", sign(root, signers).to_bytes(), if_absent=True)

    def _put_once(self, name: str, metadata: Metadata[Any]) -> bytes:
        data: bytes = metadata.to_bytes()
        put_once(self.store, BUCKET, f"metadata/{name}", data)
        return data

    def _claim(self, version: int) -> _Claim | None:
        """A number of our own above `version`; None: someone else published meanwhile."""
        number = version + 1
        while True:
            started = time.monotonic()
            owner = json.dumps({"owner": uuid.uuid4().hex}).encode()  # after a lost answer it tells ours from another's
            try:
                self.store.put(BUCKET, f"metadata/claims/{number}.json", owner, if_absent=True)
            except AlreadyExistsError:
                if not self._dead(number, version):
                    return None
                number += 1
            else:
                return _Claim(number, started)

    def _dead(self, number: int, version: int) -> bool:
        """Whether the owner of a claim let its lease run out without publishing. Waits; uses no clock but our own."""
        deadline = time.monotonic() + self.lease_s
        while time.monotonic() < deadline:
            if self._published() != version:
                return False
            if self.store.stat(BUCKET, f"metadata/claims/{number + 1}.json"):
                return True  # someone waited before us
            time.sleep(min(0.1, self.lease_s / 5))
        return self._published() == version

    def _published(self) -> int:
        try:
            return int(self._read("timestamp.json", Timestamp).signed.version)
        except ObjectNotFoundError:
            return 0

    def _insist(self, view: View, dirty: set[str], version: int) -> bool:
        """Publish over `version`, a few times if the store is slow; False: someone else published."""
        for _ in range(3):
            claim = self._claim(version)
            if claim is None:
                return False
            if self._write(view, dirty, claim):
                return True
        raise PromotionError("the store was too slow for a publication, three times; try again")

    def _write(self, view: View, dirty: set[str], claim: _Claim) -> bool:
        """Roles, then the snapshot, and the timestamp last: until then every reader sees the old state.

        False: it took longer than the lease allows, so another publisher may have taken over; nothing changed.
        """
        now, number = self.clock(), claim.number
        signers = self._signers(view, dirty)
        for role in sorted(dirty, key=TARGET_ROLES.index):
            signed = view.roles[role]
            signed.version, signed.expires = number, expiry(now, role)
            data = self._put_once(f"{number}.{role}.json", sign(signed, signers[role]))
            view.snapshot.meta[f"{role}.json"] = MetaFile.from_data(number, data, ["sha256"])
        view.snapshot.version, view.snapshot.expires = number, expiry(now, "snapshot")
        data = self._put_once(f"{number}.snapshot.json", sign(view.snapshot, signers["snapshot"]))
        view.timestamp.snapshot_meta = MetaFile.from_data(number, data, ["sha256"])
        view.timestamp.version, view.timestamp.expires = number, expiry(now, "timestamp")
        if time.monotonic() - claim.started > self.lease_s / 2:
            log.warning("publication %d took longer than its lease of %g s allows; tried again", number, self.lease_s)
            return False
        self.store.put(BUCKET, "metadata/timestamp.json", sign(view.timestamp, signers["timestamp"]).to_bytes())
        return True

    def _signers(self, view: View, dirty: set[str]) -> dict[str, list[Any]]:
        roles = {name: view.root.roles[name] for name in ("snapshot", "timestamp")}
        for name in dirty:
            roles[name] = view.root.roles[name] if name == "targets" else view.delegation(name)
        return {name: self.keys.signers(name, role.keyids, role.threshold) for name, role in roles.items()}

    def _read(self, name: str, kind: type[Any]) -> Metadata[Any]:
        try:
            found: Metadata[Any] = Metadata.from_bytes(self.store.get(BUCKET, f"metadata/{name}", limit=_LIMIT))
        except ObjectNotFoundError:
            raise
        except RepositoryError as error:
            raise PromotionError(f"metadata/{name} cannot be read: {error}") from error
        if not isinstance(found.signed, kind):
            raise PromotionError(f"metadata/{name}: expected a {kind.__name__}, found a {type(found.signed).__name__}")
        return found


def expiry(now: datetime, role: str) -> datetime:
    return (now + LIFETIMES[role]).replace(microsecond=0)


def sign(signed: Any, signers: list[Any]) -> Metadata[Any]:
    metadata: Metadata[Any] = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata
