"""The process that opens uploads: `python -I -m components.ingest._worker LIMITS`.

Reads one JSON line a file on standard input, answers one JSON line a file on standard output. It limits itself before
it opens the first file; whoever started it holds the clock and kills it.

What is not covered: system calls that the limits below do not forbid. Run the platform in a container for more.
"""

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from components.contracts import EpisodeSummary
from components.contracts.errors import EpisodeError
from components.episodes import measure, read_episode

from ._limits import Limits
from ._structure import RefusedError, bursting_chunk, scan

READY = {"ready": True}


def main() -> None:
    """Serve until standard input ends."""
    limits = Limits.parse(sys.argv[1], source="the worker's command line")
    _confine(limits)
    _answer(READY)
    for line in sys.stdin:
        _allow_processor_time(limits.cpu_s)
        _answer(_judge(json.loads(line), limits))


def _confine(limits: Limits) -> None:
    """One file open beside the three standard streams: a file that names another one cannot have it opened."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    os.closerange(3, 256)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))


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
    path = Path(job["path"])
    scan(path, limits)
    try:
        episode = read_episode(path, max_bytes=limits.logical_bytes)
    except EpisodeError as error:
        if error.rule == "unreadable" and (chunk := bursting_chunk(path)):
            raise RefusedError("bomb", "chunks that inflate to what they declare", f"more in {chunk}") from None
        raise
    if episode.attributes.robot not in {None, job["robot"]}:
        expected = f"an episode of {job['robot']}, under whose prefix it came"
        raise RefusedError("robot-mismatch", expected, str(episode.attributes.robot))
    return measure(episode, sha256=job["sha256"], robot=job["robot"], name=job["name"])


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
