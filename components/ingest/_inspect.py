"""Inbox -> candidates: each upload fetched once, hashed, scanned and parsed under limits."""

import logging
import os
import queue
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.contracts import EpisodeRecord, EpisodeSummary, Finding
from components.contracts.errors import ConfigurationError, ObjectNotFoundError, StorageError
from components.storage import ObjectStore, expect_answers

from ._candidate import Candidate, Upload
from ._inbox import KEY_SHAPE, waiting_uploads
from ._limits import Limits
from ._process import ParsingProcess, StoppedError
from ._records import find_record
from ._scratch import scratch_folder
from ._unreadable import FailedReads

_LOG = logging.getLogger(__name__)


def inspect_inbox(
    store: ObjectStore,
    *,
    workers: int = 2,
    limits: Limits | None = None,
    scratch: Path | None = None,
    scratch_bytes: int = 8 * 2**30,
    progress: Callable[[int, int], None] | None = None,
) -> list[Candidate]:
    """Look at everything in the inbox; all that changes in the store is the count of failed reads.

    An object that fails, in whatever way, is left out and ends nothing: it is counted, and set aside after
    `limits.failed_reads` such runs (`unreadable`). Only a store that fails as a whole ends the call.

    Args:
        workers: files in work at once; each has a limited parsing process of its own.
        scratch: folder for local copies, which `settle` uses and removes; None takes the system's.
        scratch_bytes: beyond as many bytes of copies, `settle` fetches again.
        progress: called with files done and files in all.

    Returns:
        One candidate an object, oldest upload first.

    Raises:
        StorageError: the store failed.
        ConfigurationError: the parsing process cannot be started here.
    """
    limits = limits or Limits()
    uploads = waiting_uploads(store, limits)
    if not uploads:
        return []
    failed = FailedReads(store, limits.failed_reads, uploads)
    found = [upload for upload in uploads if failed.due(upload)]
    return inspect(
        store, found, workers=workers, limits=limits, scratch=scratch, scratch_bytes=scratch_bytes, progress=progress,
        failed=failed,
    )  # fmt: skip


def inspect(
    store: ObjectStore,
    uploads: Sequence[Upload],
    *,
    workers: int,
    limits: Limits,
    scratch: Path | None,
    scratch_bytes: int,
    progress: Callable[[int, int], None] | None,
    failed: FailedReads | None = None,
) -> list[Candidate]:
    """`inspect_inbox` for objects of any bucket. With `failed`, one that fails is noted there; else it is raised."""
    if not uploads:
        return []
    folder = scratch_folder(scratch)
    found: dict[Upload, Candidate] = {}
    with _processes(min(workers, len(uploads)), limits) as idle, ThreadPoolExecutor(workers) as pool:
        inspection = _Inspection(store, limits, folder, scratch_bytes, idle)
        futures = {pool.submit(inspection.inspect, upload): upload for upload in uploads}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                upload = futures[future]
                candidate = _outcome(store, future, upload, failed)
                if candidate is not None:
                    found[upload] = candidate
                if progress:
                    progress(done, len(uploads))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return [found[upload] for upload in uploads if upload in found]


def _outcome(
    store: ObjectStore, future: "Future[Candidate | None]", upload: Upload, failed: FailedReads | None
) -> Candidate | None:
    if failed is None:
        return future.result()
    try:
        candidate = future.result()
    except ConfigurationError:  # the parsing process cannot be started: not the object's fault
        raise
    except UnreadError as error:
        failed.note(upload, error.why)
        return None
    except Exception as error:  # noqa: BLE001 - whatever one object provokes concerns that object
        expect_answers(store)
        _LOG.error("ALARM inbox: %a was not inspected, it is tried again: %a", upload.key, f"{error!r}"[:500])
        return None
    failed.forget(upload)
    return candidate


class UnreadError(Exception):
    """An object could not be fetched."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


class _Inspection:
    """What the threads of one call share."""

    def __init__(
        self, store: ObjectStore, limits: Limits, folder: Path, room: int, idle: "queue.SimpleQueue[ParsingProcess]"
    ) -> None:
        self._store = store
        self._limits = limits
        self._folder = folder
        self._room = room
        self._idle = idle

    def inspect(self, upload: Upload) -> Candidate | None:
        """None if the object is gone: another run settled it."""
        descriptor, name = tempfile.mkstemp(dir=self._folder, suffix=".h5")
        os.close(descriptor)
        path = Path(name)
        try:
            return self._inspected(upload, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _inspected(self, upload: Upload, path: Path) -> Candidate | None:
        try:
            ref = self._store.get_file(upload.bucket, upload.key, path, limit=self._limits.fetch_bytes)
        except ObjectNotFoundError as error:
            path.unlink()
            if upload.bucket == "inbox" and self._is_listed(upload):
                raise UnreadError(error) from error  # its bytes are gone, and its robot would wait for ever
            return self._gone(upload)
        except Exception as error:
            raise UnreadError(error) from error
        candidate = Candidate(
            bucket=upload.bucket,
            key=upload.key,
            robot=upload.robot,
            name=upload.name,
            sha256=ref.sha256,
            size=ref.size,
            path=str(path),
        )
        try:
            verdict = self._verdict(candidate, upload.sha256, path)
        except (StorageError, ConfigurationError):
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours: the bytes are kept, and can be judged anew
            _LOG.exception("ALARM inbox: the inspection of %a failed; it stands in quarantine", upload.key)
            verdict = _broken(candidate, "inspection-failed", "an upload that can be inspected", f"{error!a}"[:500])
        candidate = candidate.model_copy(update=verdict)
        self._room -= candidate.size
        if candidate.known or self._room < 0:
            path.unlink()
            return candidate.model_copy(update={"path": None})
        return candidate

    def _is_listed(self, upload: Upload) -> bool:
        return any(info.key == upload.key for info in self._store.list("inbox", upload.key))

    def _gone(self, upload: Upload) -> Candidate | None:
        """What left the quarantine for the episodes, and was killed before its finding left too."""
        if upload.bucket == "inbox" or upload.sha256 is None:
            return None
        record = find_record(self._store, upload.sha256)
        return known_candidate(record) if record else None

    def _verdict(self, candidate: Candidate, declared: str | None, path: Path) -> dict[str, Any]:
        if declared is None:
            return _broken(candidate, "bad-key", f"inbox/{KEY_SHAPE}", f"inbox/{candidate.key}")
        if candidate.sha256 != declared:
            return _broken(candidate, "hash-mismatch", f"bytes of SHA-256 {declared}", candidate.sha256)
        if candidate.size > self._limits.file_bytes:
            return _broken(
                candidate, "too-large", f"a file of at most {self._limits.file_bytes} bytes", f"{candidate.size} bytes"
            )
        record = find_record(self._store, candidate.sha256)
        if record is not None and record.summary.robot == candidate.robot:
            return {"known": True}
        verdict = self._parsed(candidate, path)
        return verdict if record is None or "finding" in verdict else {"known": True}

    def _parsed(self, candidate: Candidate, path: Path) -> dict[str, Any]:
        job = {
            "path": str(path), "sha256": candidate.sha256, "robot": candidate.robot, "name": candidate.name,
        }  # fmt: skip
        process = self._idle.get()
        try:
            answer = _ask_twice(process, job)
        except StoppedError as stopped:
            return _broken(candidate, stopped.rule, stopped.expected, stopped.observed)
        finally:
            self._idle.put(process)
        if imports := answer.get("imports"):
            _LOG.error(
                "ALARM inbox: the parsing process lacks modules that it must load before it is confined: %a", imports
            )
        if "rule" in answer:
            return _broken(candidate, *(str(answer.get(field))[:500] for field in ("rule", "expected", "observed")))
        try:
            summary = EpisodeSummary.model_validate(answer["summary"])
        except (KeyError, ValidationError) as error:
            return _broken(candidate, "unreadable", "a summary of the episode", str(error).replace("\n", " ")[:500])
        # What this process knows for itself is not taken from the one that held the stranger's file.
        known = {"sha256": candidate.sha256, "robot": candidate.robot, "name": candidate.name}
        return {"summary": summary.model_copy(update=known)}


def known_candidate(record: EpisodeRecord) -> Candidate:
    """An episode as a candidate from the quarantine: to settle it changes nothing, or finishes what was killed."""
    summary = record.summary
    return Candidate(
        bucket="quarantine", key=f"{summary.sha256}/{summary.name}.h5", robot=summary.robot, name=summary.name,
        sha256=summary.sha256, size=record.file.size, known=True,
    )  # fmt: skip


def _ask_twice(process: ParsingProcess, job: dict[str, Any]) -> dict[str, Any]:
    """A process can be killed for no fault of the file's, such as another one's hunger: the second time it counts."""
    try:
        return process.ask(job)
    except StoppedError as stopped:
        if stopped.rule != "worker-killed":
            raise
        _LOG.warning("the process that parsed %s died (%s); once more in a fresh one", job["name"], stopped.observed)
        return process.ask(job)


@contextmanager
def _processes(count: int, limits: Limits) -> Iterator["queue.SimpleQueue[ParsingProcess]"]:
    processes = [ParsingProcess(limits) for _ in range(max(1, count))]
    idle: queue.SimpleQueue[ParsingProcess] = queue.SimpleQueue()
    for process in processes:
        idle.put(process)
    try:
        yield idle
    finally:
        for process in processes:
            process.close()


def _broken(candidate: Candidate, rule: str, expected: str, observed: str) -> dict[str, Any]:
    return {
        "finding": Finding(
            sha256=candidate.sha256, rule=rule, severity="error", expected=expected, observed=observed
        )
    }  # fmt: skip
