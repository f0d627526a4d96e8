"""The release repository: signed packages, and who is to run which.

    releases/metadata/<n>.<role>.json, timestamp.json      TUF metadata; the timestamp is written last
    releases/targets/releases/<name>/<sha256>.<file>       a package's files and release.json, signed offline (2 of n)
    releases/targets/assign/<sha256>.<robot>.json          one robot's assignment, signed online by the director
    releases/targets/<sha256>.floor.json                   the security floor, signed offline

In TUF's path patterns `*` does not cross `/`: `releases/*/*` is any file of any release and nothing below.
What is not covered: hardware tokens and passphrases for keys; removing old metadata and old assignments.
"""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from components.contracts import Assignment, Frozen, PolicyPackage, Release, SecurityFloor, hardware_id
from components.contracts.errors import AlreadyExistsError, PromotionError
from components.storage import ObjectStore, fetch, put_once

from ._keys import KEYS_AND_THRESHOLDS, KeyRing
from ._metadata import BUCKET, LIFETIMES, TARGET_ROLES, MetadataStore, View, expiry

T = TypeVar("T", bound=Frozen)
PATHS = {"releases": ["releases/*/*"], "director": ["assign/*"]}


class ReleaseRepository:
    """Publishes releases and assigns them. Several publishers at once: each takes its turn, nothing is lost.

    Args:
        store: with the platform's identity.
        keys: folder of the signing keys; the roles that are needed depend on the call.
        clock: now, in UTC.
        lease_s: a publisher that is killed in mid-publish holds the next one up for so long.
    """

    def __init__(
        self,
        store: ObjectStore,
        keys: Path,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        lease_s: float = 10.0,
    ) -> None:
        self.store, self.keys, self.clock = store, KeyRing(keys), clock
        self.metadata = MetadataStore(store, self.keys, clock, lease_s=lease_s)

    def create(self) -> None:
        """Make the repository if there is none; finish one whose making was interrupted.

        Raises:
            PromotionError: the bucket holds a repository of other keys.
        """
        if not self.store.stat(BUCKET, "metadata/1.root.json"):
            root = Root(expires=expiry(self.clock(), "root"), consistent_snapshot=True)
            for role in ("root", "targets", "snapshot", "timestamp"):
                for signer in self.keys.all(role):
                    root.add_key(signer.public_key, role)
                root.roles[role].threshold = KEYS_AND_THRESHOLDS[role][1]
            signers = self.keys.signers("root", root.roles["root"].keyids, root.roles["root"].threshold)
            with contextlib.suppress(AlreadyExistsError):  # someone else made it; whether it is ours is seen next
                self.metadata.put_root(root, signers)
        root = self.metadata.load_roots()[-1]
        if not self.store.stat(BUCKET, "metadata/timestamp.json"):
            self.metadata.publish_first(self._empty(root))

    def root(self) -> bytes:
        """The newest root metadata: what a robot is shipped with."""
        return self.store.get(BUCKET, f"metadata/{len(self.metadata.load_roots())}.root.json")

    def releases(self) -> list[Release]:
        """Every signed release, oldest first."""
        view = self.metadata.load()
        documents = [path for path in view.roles["releases"].targets if path.endswith("/release.json")]
        found = [self._document(view.roles["releases"], path, Release) for path in documents]
        return sorted(found, key=lambda release: release.number)

    def publish_release(
        self,
        package: PolicyPackage,
        *,
        name: str | None = None,
        hardware: tuple[str, ...] = ("simulated",),
        l4t: tuple[str, ...] = (),
    ) -> Release:
        """Sign a package as a release; the same package for the same hardware again is the same release.

        Args:
            package: in the store; its bytes are copied and checked.
            name: None: `r` and its number.
            hardware: ids it may run on.
            l4t: Jetson Linux releases it may run on; empty: any.

        Raises:
            PromotionError: the name is taken by another package, a hardware id is none, keys are missing, or the
                repository is not ours.
            IntegrityError: a file of the package is not what its reference says.
        """
        if odd := [name for name in hardware if hardware_id(name) != name]:
            raise PromotionError(f"expected hardware ids such as jetson-orin-nx-16gb, got {odd}")
        files = {"manifest.json": package.manifest} | package.files
        published: list[Release] = []

        def change(view: View) -> set[str]:
            role = view.roles["releases"]
            known = [self._document(role, path, Release) for path in role.targets if path.endswith("/release.json")]
            same = [
                item
                for item in known
                if (item.package, set(item.hardware)) == (package.sha256, set(hardware)) and name in {None, item.name}
            ]
            published[:] = same
            if same:
                return set()
            number = 1 + max((item.number for item in known), default=0)
            release = Release(
                name=name or f"r{number:04d}",
                number=number,
                package=package.sha256,
                hardware=hardware,
                l4t=l4t,
                created_at=self.clock(),
                demo_keys=self.keys.demo,
            )
            if any(item.name == release.name for item in known):
                raise PromotionError(
                    f"release {release.name} is another package, or for other hardware; releases stay, take a new name"
                )
            for file, ref in files.items():
                self._put_target(role, f"releases/{release.name}/{file}", fetch(self.store, ref))
            self._put_target(role, f"releases/{release.name}/release.json", release.canonical_json())
            published[:] = [release]
            return {"releases"}

        self.metadata.commit(change)
        return published[0]

    def assign(
        self,
        robot: str,
        release: Release | None,
        *,
        deployment: str,
        trials: int = 0,
        min_success: float = 0.0,
    ) -> Assignment:
        """`assign_all` for one robot."""
        return self.assign_all([robot], release, deployment=deployment, trials=trials, min_success=min_success)[robot]

    def assign_all(
        self,
        robots: list[str] | tuple[str, ...],
        release: Release | None,
        *,
        deployment: str,
        trials: int = 0,
        min_success: float = 0.0,
    ) -> Mapping[str, Assignment]:
        """Sign what robots are to run, in one publication; a robot that is assigned exactly that keeps its seq.

        Args:
            robots: their ids.
            release: None: no policy.
            deployment: the rollout.
            trials: operating trials before a robot commits.
            min_success: share of them that has to succeed.

        Raises:
            PromotionError: the release is below the security floor or not signed, or keys are missing.
        """
        assigned: dict[str, Assignment] = {}

        def change(view: View) -> set[str]:
            role, floor = view.roles["director"], self._floor(view)
            if release and release.number < floor:
                raise PromotionError(f"{release.name} is number {release.number}, the security floor is {floor}")
            if release and f"releases/{release.name}/release.json" not in view.roles["releases"].targets:
                raise PromotionError(f"{release.name} is not signed; publish it first")
            dirty = False
            for robot in robots:
                path = f"assign/{robot}.json"
                known = self._document(role, path, Assignment) if path in role.targets else None
                wanted = Assignment(
                    robot=robot,
                    deployment=deployment,
                    release=release.name if release else None,
                    number=release.number if release else 0,
                    seq=known.seq if known else 1,
                    floor=floor,
                    trials=trials,
                    min_success=min_success,
                )
                if known and known != wanted:
                    wanted = wanted.model_copy(update={"seq": known.seq + 1})
                if known != wanted:
                    self._put_target(role, path, wanted.canonical_json())
                    dirty = True
                assigned[robot] = wanted
            return {"director"} if dirty else set()

        self.metadata.commit(change)
        return assigned

    def assignment(self, robot: str) -> Assignment | None:
        """What a robot is assigned now."""
        role, path = self.metadata.load().roles["director"], f"assign/{robot}.json"
        return self._document(role, path, Assignment) if path in role.targets else None

    def assignments(self) -> dict[str, Assignment]:
        """The assignment of every robot, by its id."""
        role = self.metadata.load().roles["director"]
        paths = [path for path in role.targets if path.startswith("assign/")]
        return {item.robot: item for item in (self._document(role, path, Assignment) for path in paths)}

    def raise_floor(self, number: int) -> None:
        """Let no robot take a release below `number` again. Signed offline, by the targets keys.

        A robot that still drives an older one stops when it has seen the floor: assign a newer release first.

        Raises:
            PromotionError: it would fall.
        """

        def change(view: View) -> set[str]:
            if number < self._floor(view):
                raise PromotionError(f"the security floor is {self._floor(view)} and only rises, got {number}")
            self._put_target(view.targets, "floor.json", SecurityFloor(floor=number).canonical_json())
            return {"targets"}

        self.metadata.commit(change)

    def security_floor(self) -> int:
        """Releases below this number are taken by no robot."""
        return self._floor(self.metadata.load())

    def refresh(self, *, within: float = 0.5) -> set[str]:
        """Sign anew what has less than `within` of its lifetime left, as far as its keys are here.

        Returns:
            The roles that were signed anew; snapshot and timestamp follow any other.
        """
        signed: set[str] = set()

        def change(view: View) -> set[str]:
            now = self.clock()
            ages = {**view.roles, "snapshot": view.snapshot, "timestamp": view.timestamp}
            stale = {name for name, role in ages.items() if role.expires - now < LIFETIMES[name] * within}
            offline = {name for name in stale & {"targets", "releases"} if not self.keys.all(name)}
            signed.clear()
            signed.update(stale - offline)
            dirty = (stale - offline) & set(TARGET_ROLES)
            return dirty or ({"director"} if stale else set())

        self.metadata.commit(change)
        return signed

    def _empty(self, root: Root) -> View:
        now = self.clock()
        roles = {role: Targets(expires=expiry(now, role)) for role in TARGET_ROLES}
        delegations = Delegations(keys={}, roles={})
        assert delegations.roles is not None
        for role, paths in PATHS.items():
            threshold = KEYS_AND_THRESHOLDS[role][1]
            delegations.roles[role] = DelegatedRole(role, [], threshold, terminating=True, paths=paths)
        roles["targets"].delegations = delegations
        for role in PATHS:
            for signer in self.keys.all(role):
                roles["targets"].add_key(signer.public_key, role)
        self._put_target(roles["targets"], "floor.json", SecurityFloor().canonical_json())
        timestamp = Timestamp(expires=expiry(now, "timestamp"), snapshot_meta=MetaFile(1))
        return View(root, timestamp, Snapshot(expires=expiry(now, "snapshot")), roles)

    def _put_target(self, role: Targets, path: str, data: bytes) -> None:
        """The bytes first, under their hash; the metadata names them when it is signed."""
        put_once(self.store, BUCKET, _target_key(path, hashlib.sha256(data).hexdigest()), data)
        role.targets[path] = TargetFile.from_data(path, data, ["sha256"])

    def _document(self, role: Targets, path: str, kind: type[T]) -> T:
        target = role.targets[path]
        data = self.store.get(BUCKET, _target_key(path, target.hashes["sha256"]), limit=max(target.length, 1))
        try:
            target.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as error:
            raise PromotionError(f"{BUCKET}/{path} is not what was signed: {error}") from error
        return kind.parse(data, source=path)

    def _floor(self, view: View) -> int:
        return self._document(view.targets, "floor.json", SecurityFloor).floor


def _target_key(path: str, sha256: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"targets/{folder}{slash}{sha256}.{name}"
