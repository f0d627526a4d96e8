"""Candidates -> episodes or quarantine, each with a receipt.

Every step can be the last one before a kill. So the order is: bytes, then the document that makes them count, then the
receipt, then the upload is removed; each write is whole or absent, is read back before the next one, and finding it
done and undamaged is success.
"""

import logging
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

from components.contracts import EpisodeRecord, Finding, ObjectRef, Receipt, Sha256, SignedReceipt
from components.contracts.errors import InvalidDocumentError, ObjectNotFoundError
from components.storage import ObjectStore, expect_answers

from ._candidate import Candidate, Quarantined
from ._names import claim_name, keep_name
from ._records import find_record
from ._scratch import local_file, scratch_folder
from ._signing import ReceiptKey
from ._stored import holds, keep_document, keep_file

_LOG = logging.getLogger(__name__)
_SIDE_BY_SIDE = 4
P = ParamSpec("P")
R = TypeVar("R")


def settle(
    store: ObjectStore, candidates: Sequence[Candidate], findings: Iterable[Finding] = (), *, key: ReceiptKey
) -> list[Receipt]:
    """Admit or quarantine each candidate, write its signed receipt, and take it out of the inbox.

    An error finding quarantines, a warning is noted in the record. A name that an episode of the same robot bears
    already is the rule `name-conflict`. Settling again, after a kill or for no reason, changes nothing.

    A candidate that fails is left where it is, with an alarm in the log, and ends nothing: the next run tries again.

    Returns:
        The receipts, in the candidates' order; none for an upload whose key names no robot, none if another run
        settled it meanwhile, and none for one that failed. One for bytes that are not what the robot meant to send
        bears their own SHA-256, so that the robot keeps its copy and sends again.

    Raises:
        StorageError: the store failed as a whole; what was settled stays settled.
    """
    settlement = _Settlement(store, candidates, findings, key)
    try:
        groups: dict[str, list[int]] = defaultdict(list)
        for index, candidate in enumerate(candidates):
            groups[candidate.sha256].append(index)
        verdicts = [settlement.alone(candidate, settlement.verdict, candidate) for candidate in candidates]

        def settle_group(indices: list[int]) -> list[tuple[int, Receipt | None]]:
            return [(index, settlement.settled(candidates[index], verdicts[index])) for index in indices]

        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            settled = dict(pair for pairs in pool.map(settle_group, groups.values()) for pair in pairs)
        return [receipt for index in sorted(settled) if (receipt := settled[index])]
    finally:
        settlement.clean()


class _Failed:
    """In place of a result."""


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

    def alone(self, candidate: Candidate, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | _Failed:
        """Do one candidate's work: what goes wrong concerns that candidate, unless the store does not answer."""
        try:
            return work(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever one object provokes concerns that object
            expect_answers(self._store)
            _LOG.error(
                "ALARM ingest: %a was not settled, it stays where it is and is tried again: %a",
                f"{candidate.bucket}/{candidate.key}", f"{error!r}"[:500],
            )  # fmt: skip
            return _Failed()

    def settled(self, candidate: Candidate, verdict: Finding | _Failed | None) -> Receipt | None:
        """None without a receipt: gone, of no robot, or it failed."""
        if isinstance(verdict, _Failed):
            return None
        receipt = self.alone(candidate, self.settle, candidate, verdict)
        return None if isinstance(receipt, _Failed) else receipt

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
        if (known := find_record(self._store, candidate.sha256)) is not None:
            return self._keep_admitted(known, candidate)
        if candidate.summary is None or (path := local_file(self._store, candidate, self._folder)) is None:
            return False
        key, holder = self._names.get((candidate.robot, candidate.name)) or claim_name(self._store, candidate)
        if holder == candidate.sha256:
            holder = keep_name(self._store, candidate, key)
        if holder != candidate.sha256:
            return _conflict(candidate, holder)
        file = _ref("episodes", f"{candidate.sha256}.h5", candidate)
        keep_file(self._store, file, path, self._folder)
        warned = [item for item in self._findings[candidate.sha256] if item.severity == "warning"]
        broken = [f"quarantined before by {_words(item)}" for item in self._broken_before(candidate)]
        record = EpisodeRecord(
            file=file, summary=candidate.summary,
            warnings=(*(_words(item) for item in warned), *broken, *candidate.notes),
        )  # fmt: skip
        keep_document(
            self._store, "episodes", f"{candidate.sha256}.json", record.canonical_json(), if_absent=True,
            accepts=lambda found: _is_record_of(found, file),
        )  # fmt: skip
        return True

    def _keep_admitted(self, record: EpisodeRecord, candidate: Candidate) -> bool:
        """An episode that was admitted before: its stored copy is read, and mended from this upload if it is damaged.

        False if it is damaged and the upload is gone.
        """
        if holds(self._store, record.file, self._folder):
            return True
        _LOG.error("ALARM store: the admitted episode %s is damaged; its upload replaces it", record.file.uri)
        path = local_file(self._store, candidate, self._folder)
        if path is None:
            return False
        keep_file(self._store, record.file, path, self._folder)
        return True

    def _quarantine(self, candidate: Candidate, error: Finding) -> bool:
        path = local_file(self._store, candidate, self._folder)
        if path is None:
            return False
        file = _ref("quarantine", f"{candidate.sha256}/{candidate.name}.h5", candidate)
        keep_file(self._store, file, path, self._folder)
        earlier = tuple(item for item in self._broken_before(candidate) if item != error)
        entry = Quarantined(
            file=file, name=candidate.name, robot=candidate.robot, inbox_key=_inbox_key(candidate), finding=error,
            summary=candidate.summary, earlier=earlier,
        )  # fmt: skip
        keep_document(self._store, "quarantine", f"{candidate.sha256}/finding.json", entry.canonical_json())
        return True

    def _entry(self, candidate: Candidate) -> Quarantined | None:
        """What stands in quarantine of these bytes, from this robot."""
        key = f"{candidate.sha256}/finding.json"
        try:
            entry = Quarantined.parse(self._store.get("quarantine", key), source=f"s3://quarantine/{key}")
        except (ObjectNotFoundError, InvalidDocumentError):  # a damaged one is replaced
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
        keep_document(self._store, "receipts", key, self._key.sign(receipt).canonical_json())
        return receipt

    def clean(self) -> None:
        """Remove local copies, also after a failure: they can be fetched again."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for path in {Path(candidate.path) for candidate in self._candidates if candidate.path}:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()


def _ref(bucket: str, key: str, candidate: Candidate) -> ObjectRef:
    return ObjectRef(uri=f"s3://{bucket}/{key}", sha256=candidate.sha256, size=candidate.size)


def _is_record_of(document: bytes, file: ObjectRef) -> bool:
    """Another run's record of the same episode."""
    try:
        return EpisodeRecord.parse(document, source="a record").file == file
    except InvalidDocumentError:
        return False


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
