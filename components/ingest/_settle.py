"""Candidates -> episodes or quarantine, each with a receipt.

Every step can be the last one before a kill. So the order is: bytes, then the document that makes them count, then the
receipt, then the upload is removed; each write is whole or absent, and finding it done is success.
"""

import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from components.contracts import EpisodeRecord, Finding, Frozen, ObjectRef, Receipt, Sha256, SignedReceipt
from components.contracts.errors import (
    AlreadyExistsError,
    IntegrityError,
    InvalidDocumentError,
    ObjectNotFoundError,
)
from components.storage import ObjectStore

from ._candidate import Candidate, Quarantined
from ._inspect import find_record, inbox_file, scratch_folder
from ._signing import ReceiptKey

_RECORD = re.compile(r"^[0-9a-f]{64}\.json$")
_SIDE_BY_SIDE = 4

T = TypeVar("T", bound=Frozen)


class NameClaim(Frozen):
    """episodes/names/<robot>/<name>.json: the one episode that bears a name."""

    sha256: Sha256


def settle(
    store: ObjectStore, candidates: Sequence[Candidate], findings: Iterable[Finding] = (), *, key: ReceiptKey
) -> list[Receipt]:
    """Admit or quarantine each candidate, write its signed receipt, and take it out of the inbox.

    An error finding quarantines, a warning is noted in the record. A name that an episode of the same robot bears
    already is the rule `name-conflict`. Settling again, after a kill or for no reason, changes nothing.

    Returns:
        The receipts, in the candidates' order; none for an upload whose key names no robot, and none if another run
        settled it meanwhile. One for bytes that are not what the robot meant to send bears their own SHA-256, so that
        the robot keeps its copy and sends again.

    Raises:
        StorageError: the store failed; what was settled stays settled.
    """
    settlement = _Settlement(store, candidates, findings, key)
    try:
        groups: dict[str, list[int]] = defaultdict(list)
        for index, candidate in enumerate(candidates):
            groups[candidate.sha256].append(index)
        verdicts = [settlement.verdict(candidate) for candidate in candidates]

        def settle_group(indices: list[int]) -> list[tuple[int, Receipt | None]]:
            return [(index, settlement.settle(candidates[index], verdicts[index])) for index in indices]

        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            settled = dict(pair for pairs in pool.map(settle_group, groups.values()) for pair in pairs)
        return [receipt for index in sorted(settled) if (receipt := settled[index])]
    finally:
        settlement.clean()


def records(store: ObjectStore) -> list[EpisodeRecord]:
    """All admitted episodes, by SHA-256."""
    return _documents(store, "episodes", EpisodeRecord, lambda key: _RECORD.match(key) is not None)


def quarantined(store: ObjectStore) -> list[Quarantined]:
    """Everything in quarantine, by SHA-256, with the rule that it broke last."""
    return _documents(store, "quarantine", Quarantined, lambda key: key.endswith("/finding.json"))


class _Settlement:
    """One call's state."""

    def __init__(
        self, store: ObjectStore, candidates: Sequence[Candidate], findings: Iterable[Finding], key: ReceiptKey
    ) -> None:
        self._store = store
        self._key = key
        self._candidates = candidates
        self._findings: dict[str, list[Finding]] = defaultdict(list)
        for finding in findings:
            self._findings[finding.sha256].append(finding)
        self._folder = scratch_folder(None)
        self._admitted: set[str] = set()
        self._names: dict[tuple[str | None, str], str] = {}

    def verdict(self, candidate: Candidate) -> Finding | None:
        """The error that quarantines it. In order, because of two files of one name the first has it."""
        if candidate.finding:
            return candidate.finding
        if candidate.known or candidate.sha256 in self._admitted:
            return None
        errors = (item for item in self._findings[candidate.sha256] if item.severity == "error")
        if error := next(errors, None) or self._conflict(candidate):
            return error
        self._admitted.add(candidate.sha256)
        return None

    def _conflict(self, candidate: Candidate) -> Finding | None:
        """Claim the name, or say who has it. A claim whose episode never came, after a kill, is taken over."""
        name, claim = (candidate.robot, candidate.name), NameClaim(sha256=candidate.sha256)
        key = f"names/{candidate.robot}/{candidate.name}.json"
        holder = self._names.get(name)
        if holder is None:
            try:
                self._store.put("episodes", key, claim.canonical_json(), if_absent=True)
                holder = candidate.sha256
            except AlreadyExistsError:
                holder = NameClaim.parse(self._store.get("episodes", key), source=f"s3://episodes/{key}").sha256
                if holder != candidate.sha256 and find_record(self._store, holder) is None:
                    self._store.put("episodes", key, claim.canonical_json())
                    holder = candidate.sha256
        if holder != candidate.sha256:
            return Finding(
                sha256=candidate.sha256, rule="name-conflict", severity="error",
                expected=f"one episode named {candidate.name} from {candidate.robot}",
                observed=f"another one, of SHA-256 {holder}",
            )  # fmt: skip
        self._names[name] = holder
        return None

    def settle(self, candidate: Candidate, error: Finding | None) -> Receipt | None:
        kept = self._quarantine(candidate, error) if error else self._admit(candidate)
        if not kept:
            return None
        receipt = self._receipt(candidate, error)
        self._store.remove("inbox", candidate.key)
        return receipt

    def _admit(self, candidate: Candidate) -> bool:
        if find_record(self._store, candidate.sha256) is not None:
            return True
        if candidate.summary is None or (path := inbox_file(self._store, candidate, self._folder)) is None:
            return False
        file = self._keep("episodes", f"{candidate.sha256}.h5", path, candidate)
        warnings = tuple(
            f"{item.rule}: expected {item.expected}, found {item.observed}"
            for item in self._findings[candidate.sha256]
            if item.severity == "warning"
        )
        record = EpisodeRecord(file=file, summary=candidate.summary, warnings=warnings)
        with suppress(AlreadyExistsError):
            self._store.put("episodes", f"{candidate.sha256}.json", record.canonical_json(), if_absent=True)
        return True

    def _quarantine(self, candidate: Candidate, error: Finding) -> bool:
        path = inbox_file(self._store, candidate, self._folder)
        if path is None:
            return False
        file = self._keep("quarantine", f"{candidate.sha256}/{candidate.name}.h5", path, candidate)
        entry = Quarantined(
            file=file, name=candidate.name, robot=candidate.robot, inbox_key=candidate.key, finding=error,
            summary=candidate.summary,
        )  # fmt: skip
        self._store.put("quarantine", f"{candidate.sha256}/finding.json", entry.canonical_json())
        return True

    def _keep(self, bucket: str, key: str, path: Path, candidate: Candidate) -> ObjectRef:
        """Store the bytes under their own hash, once."""
        expected = ObjectRef(uri=f"s3://{bucket}/{key}", sha256=candidate.sha256, size=candidate.size)
        try:
            written = self._store.put_file(bucket, key, path, if_absent=True)
        except AlreadyExistsError:
            return expected
        if (written.sha256, written.size) != (expected.sha256, expected.size):
            self._store.remove(bucket, key)
            raise IntegrityError(f"{path} changed on this machine between inspection and settling; inspect again")
        return expected

    def _receipt(self, candidate: Candidate, error: Finding | None) -> Receipt | None:
        """The receipt that is there, if it says the same under the same key; otherwise a new one."""
        if candidate.robot is None:
            return None
        key = f"{candidate.robot}/{candidate.sha256}.json"
        receipt = Receipt(
            robot=candidate.robot, name=candidate.name, sha256=candidate.sha256, size=candidate.size,
            status="quarantined" if error else "accepted", rule=error.rule if error else None,
            issued_at=datetime.now(UTC),
        )  # fmt: skip
        with suppress(ObjectNotFoundError, InvalidDocumentError):
            signed = SignedReceipt.parse(self._store.get("receipts", key), source=f"s3://receipts/{key}")
            same = receipt.model_copy(update={"name": signed.receipt.name, "issued_at": signed.receipt.issued_at})
            if signed == self._key.sign(same):
                return signed.receipt
        self._store.put("receipts", key, self._key.sign(receipt).canonical_json())
        return receipt

    def clean(self) -> None:
        """Remove local copies, also after a failure: they can be fetched again."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for path in {Path(candidate.path) for candidate in self._candidates if candidate.path}:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()


def _documents(store: ObjectStore, bucket: str, kind: type[T], wanted: Callable[[str], bool]) -> list[T]:
    """All documents of a kind, read side by side; one that vanished meanwhile is left out."""

    def read(key: str) -> T | None:
        try:
            return kind.parse(store.get(bucket, key), source=f"s3://{bucket}/{key}")
        except ObjectNotFoundError:
            return None

    keys = [info.key for info in store.list(bucket) if wanted(info.key)]
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        return [document for document in pool.map(read, keys) if document is not None]
