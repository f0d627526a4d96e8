"""Inbox -> candidates: each upload fetched once, hashed, scanned and parsed under limits."""

import logging
import os
import queue
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.contracts import EpisodeRecord, EpisodeSummary, Finding, ObjectRef
from components.contracts.errors import ObjectNotFoundError
from components.storage import ObjectInfo, ObjectStore

from ._candidate import Candidate
from ._limits import Limits
from ._process import ParsingProcess, StoppedError

_LOG = logging.getLogger(__name__)
_KEY = re.compile(
    r"^(?P<robot>[a-z0-9][a-z0-9-]{0,62})/(?P<sha256>[0-9a-f]{64})/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,127})\.h5$"
)
_KEY_SHAPE = "<robot>/<sha256>/<name>.h5"
_SCRATCH = "drover-ingest-"


def inspect_inbox(
    store: ObjectStore,
    *,
    workers: int = 2,
    limits: Limits | None = None,
    scratch: Path | None = None,
    scratch_bytes: int = 8 * 2**30,
    progress: Callable[[int, int], None] | None = None,
) -> list[Candidate]:
    """Look at everything in the inbox and change nothing in the store.

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
    uploads = _uploads(store, limits)
    if not uploads:
        return []
    folder = scratch_folder(scratch)
    found: dict[str, Candidate] = {}
    with _processes(min(workers, len(uploads)), limits) as idle, ThreadPoolExecutor(workers) as pool:
        inspection = _Inspection(store, limits, folder, scratch_bytes, idle)
        futures = {pool.submit(inspection.inspect, info): info for info in uploads}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                candidate = future.result()
                if candidate is not None:
                    found[candidate.key] = candidate
                if progress:
                    progress(done, len(uploads))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return [found[info.key] for info in uploads if info.key in found]


def _uploads(store: ObjectStore, limits: Limits) -> list[ObjectInfo]:
    uploads = []
    for info in sorted(store.list("inbox"), key=lambda info: (info.modified_at, info.key)):
        if info.size <= limits.fetch_bytes:
            uploads.append(info)
        else:
            _LOG.error(
                "s3://inbox/%s stays where it is: expected at most %d bytes, found %d; look at the robot that sent it",
                info.key, limits.fetch_bytes, info.size,
            )  # fmt: skip
    return uploads


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

    def inspect(self, info: ObjectInfo) -> Candidate | None:
        """None if the object is gone: another run settled it."""
        match = _KEY.match(info.key)
        descriptor, name = tempfile.mkstemp(dir=self._folder, suffix=".h5")
        os.close(descriptor)
        path = Path(name)
        try:
            ref = self._store.get_file("inbox", info.key, path, limit=self._limits.fetch_bytes)
        except ObjectNotFoundError:
            path.unlink()
            return None
        candidate = Candidate(
            key=info.key,
            robot=match["robot"] if match else None,
            name=match["name"] if match else _safe_name(info.key),
            sha256=ref.sha256,
            size=ref.size,
            path=str(path),
        )
        candidate = candidate.model_copy(update=self._verdict(candidate, match, path))
        self._room -= candidate.size
        if candidate.known or self._room < 0:
            path.unlink()
            return candidate.model_copy(update={"path": None})
        return candidate

    def _verdict(self, candidate: Candidate, match: re.Match[str] | None, path: Path) -> dict[str, Any]:
        if match is None:
            return _broken(candidate, "bad-key", f"inbox/{_KEY_SHAPE}", f"inbox/{candidate.key}")
        if candidate.sha256 != match["sha256"]:
            return _broken(candidate, "hash-mismatch", f"bytes of SHA-256 {match['sha256']}", candidate.sha256)
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
        if "rule" in answer:
            return _broken(candidate, *(str(answer.get(field))[:500] for field in ("rule", "expected", "observed")))
        try:
            summary = EpisodeSummary.model_validate(answer["summary"])
        except (KeyError, ValidationError) as error:
            return _broken(candidate, "unreadable", "a summary of the episode", str(error).replace("\n", " ")[:500])
        # What this process knows for itself is not taken from the one that held the stranger's file.
        known = {"sha256": candidate.sha256, "robot": candidate.robot, "name": candidate.name}
        return {"summary": summary.model_copy(update=known)}


def find_record(store: ObjectStore, sha256: str) -> EpisodeRecord | None:
    """The record of an admitted episode, by its file's SHA-256."""
    try:
        document = store.get("episodes", f"{sha256}.json")
    except ObjectNotFoundError:
        return None
    return EpisodeRecord.parse(document, source=f"s3://episodes/{sha256}.json")


def inbox_file(store: ObjectStore, candidate: Candidate, folder: Path) -> Path | None:
    """The candidate's bytes as a local file: the copy that `inspect_inbox` made, or fetched again into `folder`.

    None if they are gone, or are others by now: then there is nothing to settle, and the next inspection finds what is.
    """
    if candidate.path and (path := Path(candidate.path)).is_file() and path.stat().st_size == candidate.size:
        return path
    path = folder / f"{candidate.sha256}.h5"
    try:
        ref: ObjectRef = store.get_file("inbox", candidate.key, path)
    except ObjectNotFoundError:
        return None
    return path if ref.sha256 == candidate.sha256 else None


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


def _safe_name(key: str) -> str:
    """A name for the quarantine's key, from a key that is none of ours."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", key.rsplit("/", 1)[-1]).removesuffix(".h5").lstrip("._-")
    return name[:128] or "unnamed"


def scratch_folder(scratch: Path | None) -> Path:
    """A folder of this run, named by its process; those of processes that are gone are removed."""
    base = scratch or Path(tempfile.gettempdir())
    base.mkdir(parents=True, exist_ok=True)
    for old in base.glob(f"{_SCRATCH}*"):
        owner = old.name.removeprefix(_SCRATCH).partition("-")[0]
        if owner.isdecimal() and not _alive(int(owner)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-", dir=base))


def _alive(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
