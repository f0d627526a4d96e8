"""The process that opens uploads. `_process` starts it.

Reads one JSON line a file on standard input, answers one JSON line a file on standard output. It limits itself before
it opens the first file; whoever started it holds the clock and kills it.

What is not covered: it may read any file that its user may, one at a time, and has nowhere to tell of it but its
answer. Run the platform in a container, or as a user of its own, for more.
"""

import codecs
import importlib.abc
import json
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from components.contracts import EpisodeSummary
from components.contracts.errors import EpisodeError
from components.episodes import Meter, file_attributes, has_space_padding

from ._decode import frames
from ._limits import Limits
from ._rehearsal import REHEARSED, rehearsal_files
from ._sandbox import deny_system_calls
from ._structure import RefusedError, scanned

_CODECS = (
    "ascii", "latin-1", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be",
    "unicode_escape", "raw_unicode_escape",
)  # fmt: skip
"""Whatever h5py and numpy decode text with: Python imports a codec when it is first asked for."""


def main() -> None:
    """Serve until standard input ends."""
    limits = Limits.parse(sys.argv[1], source="the worker's command line")
    rehearse(limits)
    unconfined = _confine(limits)
    refused = refuse_imports()
    _answer({"ready": True, "unconfined": unconfined})
    for line in sys.stdin:
        _allow_processor_time(limits.cpu_s)
        answer = _judge(json.loads(line), limits)
        if refused:
            answer["imports"] = sorted(refused)
        _answer(answer)


def rehearse(limits: Limits) -> None:
    """Import what parsing may need, by naming the codecs and by parsing small files, good and broken ones: once the
    process is confined, nothing can be imported."""
    for name in _CODECS:
        codecs.lookup(name)
    with rehearsal_files() as files:
        for path in files:
            _judge({"path": str(path), "sha256": "0" * 64, "robot": "rehearsal", "name": REHEARSED}, limits)


def refuse_imports() -> set[str]:
    """From now on an import of what is not loaded fails; its name is in the set, so that it is noticed."""
    refused: set[str] = set()
    sys.meta_path.insert(0, _Refusal(refused))
    return refused


class _Refusal(importlib.abc.MetaPathFinder):
    """First of the finders: asked only for what is not loaded yet."""

    def __init__(self, refused: set[str]) -> None:
        self._refused = refused

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> None:
        self._refused.add(fullname)
        raise ModuleNotFoundError(f"{fullname} is not loaded, and nothing is imported once this process is confined")


def _confine(limits: Limits) -> str | None:
    """One file open beside the three standard streams: a file that names another one cannot have it opened.

    Returns:
        None, or why system calls could not be denied.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    os.closerange(3, 256)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))
    return deny_system_calls()


def _allow_processor_time(seconds: int) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds + 1, resource.RLIM_INFINITY))


def _judge(job: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """{"summary": ...}, or {"rule", "expected", "observed"}."""
    try:
        return {"summary": _summary(job, limits).model_dump(mode="json")}
    except RefusedError as refusal:
        return {"rule": refusal.rule, "expected": refusal.expected, "observed": refusal.observed}
    except EpisodeError as error:
        return {"rule": error.rule, "expected": "an episode", "observed": str(error)}
    except MemoryError:  # numpy's is one too
        return {"rule": "memory", "expected": f"at most {limits.memory_bytes} bytes of memory", "observed": "more"}
    except Exception as error:  # noqa: BLE001 - whatever a stranger's file provokes is said about the file
        return {"rule": "unreadable", "expected": "an episode", "observed": f"{type(error).__name__}: {error}"}


def _summary(job: dict[str, Any], limits: Limits) -> EpisodeSummary:
    with scanned(Path(job["path"]), limits) as file:
        attributes = file_attributes(file, fallback_name=job["name"])
        if attributes.robot not in {None, job["robot"]}:
            expected = f"an episode of {job['robot']}, under whose prefix it came"
            raise RefusedError("robot-mismatch", expected, str(attributes.robot))
        actions = file["actions"][...].astype(np.float32)
        events = _events(file["action_event_types"], limits)
        meter = Meter(file["images"].shape, colour_order=attributes.colour_order)
        for frame in frames(file["images"], limits):
            meter.add(frame)
    return meter.summary(actions, events, attributes, sha256=job["sha256"], robot=job["robot"], name=job["name"])


def _events(dataset: h5py.Dataset, limits: Limits) -> tuple[str, ...]:
    """One at a time: texts of any length may all be the same one, stored once."""
    padded, texts = has_space_padding(dataset.id), []
    for index in range(len(dataset)):
        value: bytes = dataset[index]
        if len(value) > limits.text_bytes:
            raise RefusedError("bomb", f"event types of at most {limits.text_bytes} bytes", f"{len(value)} bytes")
        texts.append((value.rstrip(b" ") if padded else value).decode("utf-8"))
    return tuple(texts)


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
