"""What stands in quarantine: listed, looked at again, released.

Bytes stay under `quarantine/<sha256>/<name>.h5` until they are an episode; `finding.json` beside them says which rule
they broke, what was observed, and what they broke before. It goes last, so that whatever is killed is seen again.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from components.contracts import Receipt, Sha256
from components.contracts.errors import EpisodeError, StorageError
from components.storage import ObjectStore

from ._candidate import Candidate, Quarantined, Upload
from ._inspect import inspect, known_candidate
from ._limits import Limits
from ._records import find_record, read_documents
from ._settle import settle
from ._signing import ReceiptKey

_NOT_FOR_RELEASE = ("name-conflict",)
"""Rules beyond the file's own that no word of an operator lifts: two episodes of one name cannot be told apart."""

_ANY_TIME = datetime.min.replace(tzinfo=UTC)


def quarantined(store: ObjectStore) -> list[Quarantined]:
    """Everything in quarantine, by SHA-256, with the rule that it broke last. A damaged finding is left out, with an
    alarm in the log; the bytes are under its SHA-256 as before."""
    keys = [info.key for info in store.list("quarantine") if info.key.endswith("/finding.json")]
    return read_documents(store, "quarantine", Quarantined, keys, leave_out_damaged=True)


def inspect_quarantine(
    store: ObjectStore,
    *,
    only: Sha256 | None = None,
    workers: int = 2,
    limits: Limits | None = None,
    scratch: Path | None = None,
    scratch_bytes: int = 8 * 2**30,
    progress: Callable[[int, int], None] | None = None,
) -> list[Candidate]:
    """Look at what stands in quarantine as `inspect_inbox` looks at the inbox, by today's rules.

    Have the checks judge the summaries, and hand all to `settle`: it admits what passes now, and leaves the rest with
    today's finding. What came under a key that names no robot, or in other bytes than were meant, is left out.

    Args:
        only: of these bytes alone.

    Raises:
        StorageError: the store failed.
        ConfigurationError: the parsing process cannot be started here.
    """
    uploads = [
        Upload("quarantine", entry.file.key, entry.robot, entry.name, entry.file.sha256, entry.file.size, _ANY_TIME)
        for entry in quarantined(store)
        if entry.robot and entry.finding.rule != "hash-mismatch" and only in {None, entry.file.sha256}
    ]
    return inspect(
        store, uploads, workers=workers, limits=limits or Limits(), scratch=scratch, scratch_bytes=scratch_bytes,
        progress=progress,
    )  # fmt: skip


def release(store: ObjectStore, sha256: Sha256, *, by: str, reason: str, key: ReceiptKey) -> Receipt:
    """Admit what broke a check, by an operator's decision, which its record keeps. Released again, nothing changes.

    Raises:
        EpisodeError: with the rule that it breaks: not an episode's structure, not the bytes that were meant, a name
            that another one bears; or rule `not-quarantined`.
        StorageError: the store failed; call again.
    """
    entry = next((entry for entry in quarantined(store) if entry.file.sha256 == sha256), None)
    candidates = inspect_quarantine(store, only=sha256, workers=1)
    if not candidates and (record := find_record(store, sha256)) is not None:
        candidates = [known_candidate(record)]
    if not candidates:
        raise EpisodeError(
            "not-quarantined",
            f"expected an upload of a robot under {sha256} in quarantine; see `drover quarantine list`",
        )
    (candidate,) = candidates
    if entry and not candidate.known and entry.finding.rule in _NOT_FOR_RELEASE:
        candidate = candidate.model_copy(update={"finding": entry.finding})
    if (finding := candidate.finding) is not None:
        raise EpisodeError(
            finding.rule,
            f"{candidate.name} cannot be released: it breaks {finding.rule} (expected {finding.expected}, found "
            f"{finding.observed}), which is not a check; only what broke a check can be",
        )
    note = f"released by {by}: {reason}"
    receipts = settle(store, [candidate.model_copy(update={"notes": (note,)})], key=key)
    if not receipts:
        raise StorageError(
            f"{candidate.name} was not released: expected the store to hold an intact copy, found none; its bytes "
            "stay in quarantine: see the log, look at the store's disks, and release it again"
        )
    return receipts[0]
