"""Candidates -> episodes or quarantine, each with a receipt.

Every step can be the last one before a kill. So the order is: bytes, then the document that makes them count, then the
receipt, then the upload is removed; each write is whole or absent, and finding it done is success.
"""

import logging
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from components.contracts import EpisodeRecord, Finding, ObjectRef, Receipt, Sha256, SignedReceipt
from components.contracts.errors import (
    AlreadyExistsError,
    IntegrityError,
    InvalidDocumentError,
    ObjectNotFoundError,
)
from components.storage import ObjectStore

from ._candidate import Candidate, Quarantined
from ._names import claim_name, keep_name
from ._records import find_record
from ._scratch import local_file, scratch_folder
from ._signing import ReceiptKey

_LOG = logging.getLogger(__name__)
_SIDE_BY_SIDE = 4


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
        self._names: dict[tuple[str | None, str], tuple[str, Sha256]] = {}
        """Claims that this call has seen: key and holder."""

    def verdict(self, candidate: Candidate) -> Finding | None:
        """The error that quarantines it. In order, because of two files of one name the first has it."""
        if candidate.known or candidate.sha256 in self._admitted:
            return None
        errors = (item for item in self._findings[candidate.sha256] if item.severity == "error")
        if error := candidate.finding or next(errors, None):
            record = find_record(self._store, candidate.sha256)
            return None if record and record.summary.robot == candidate.robot else error  # another run was first
        name = candidate.robot, candidate.name
        if name not in self._names:
            self._names[name] = claim_name(self._store, candidate)
        if (holder := self._names[name][1]) != candidate.sha256:
            return _conflict(candidate, holder)
        self._admitted.add(candidate.sha256)
        return None

    def settle(self, candidate: Candidate, error: Finding | None) -> Receipt | None:
        kept = error or self._admit(candidate)
        if isinstance(kept, Finding):
            error, kept = kept, self._quarantine(candidate, kept)
        if not kept:
            return None
        receipt = self._receipt(candidate, error)
        if candidate.bucket == "inbox":
            self._store.remove("inbox", candidate.key)
        if error is None:
            self._leave_quarantine(candidate)
        elif error.rule == "name-conflict":
            _LOG.error(
                "%s of %s came again with other bytes: %s is admitted or will be, %s stands in quarantine; nothing is "
                "lost, but two recordings bear one name: look at the robot's clock", candidate.name, candidate.robot,
                error.observed, candidate.sha256,
            )  # fmt: skip
        return receipt

    def _admit(self, candidate: Candidate) -> bool | Finding:
        """False if the bytes are gone; a finding if another episode took the name meanwhile."""
        if find_record(self._store, candidate.sha256) is not None:
            return True
        if candidate.summary is None or (path := local_file(self._store, candidate, self._folder)) is None:
            return False
        key, holder = self._names.get((candidate.robot, candidate.name)) or claim_name(self._store, candidate)
        if holder == candidate.sha256:
            holder = keep_name(self._store, candidate, key)
        if holder != candidate.sha256:
            return _conflict(candidate, holder)
        file = self._keep("episodes", f"{candidate.sha256}.h5", path, candidate)
        warned = [item for item in self._findings[candidate.sha256] if item.severity == "warning"]
        broken = [f"quarantined before by {_words(item)}" for item in self._broken_before(candidate)]
        record = EpisodeRecord(
            file=file, summary=candidate.summary,
            warnings=(*(_words(item) for item in warned), *broken, *candidate.notes),
        )  # fmt: skip
        with suppress(AlreadyExistsError):
            self._store.put("episodes", f"{candidate.sha256}.json", record.canonical_json(), if_absent=True)
        return True

    def _quarantine(self, candidate: Candidate, error: Finding) -> bool:
        path = local_file(self._store, candidate, self._folder)
        if path is None:
            return False
        file = self._keep("quarantine", f"{candidate.sha256}/{candidate.name}.h5", path, candidate)
        earlier = tuple(item for item in self._broken_before(candidate) if item != error)
        entry = Quarantined(
            file=file, name=candidate.name, robot=candidate.robot, inbox_key=_inbox_key(candidate), finding=error,
            summary=candidate.summary, earlier=earlier,
        )  # fmt: skip
        self._store.put("quarantine", f"{candidate.sha256}/finding.json", entry.canonical_json())
        return True

    def _entry(self, candidate: Candidate) -> Quarantined | None:
        """What stands in quarantine of these bytes, from this robot."""
        key = f"{candidate.sha256}/finding.json"
        try:
            entry = Quarantined.parse(self._store.get("quarantine", key), source=f"s3://quarantine/{key}")
        except ObjectNotFoundError:
            return None
        return entry if entry.robot == candidate.robot else None

    def _broken_before(self, candidate: Candidate) -> tuple[Finding, ...]:
        entry = self._entry(candidate)
        return (*entry.earlier, entry.finding) if entry else ()

    def _leave_quarantine(self, candidate: Candidate) -> None:
        """Of an episode nothing stays there; the finding goes last, so that whatever is killed is found again."""
        if self._entry(candidate) is None:
            return
        for info in self._store.list("quarantine", f"{candidate.sha256}/"):
            if info.key.endswith(".h5"):
                self._store.remove("quarantine", info.key)
        self._store.remove("quarantine", f"{candidate.sha256}/finding.json")

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


def _inbox_key(candidate: Candidate) -> str:
    if candidate.bucket == "inbox":
        return candidate.key
    return f"{candidate.robot}/{candidate.sha256}/{candidate.name}.h5"


def _conflict(candidate: Candidate, holder: Sha256) -> Finding:
    return Finding(
        sha256=candidate.sha256, rule="name-conflict", severity="error",
        expected=f"one episode named {candidate.name} from {candidate.robot}",
        observed=f"another one, of SHA-256 {holder}",
    )  # fmt: skip


def _words(finding: Finding) -> str:
    return f"{finding.rule}: expected {finding.expected}, found {finding.observed}"
