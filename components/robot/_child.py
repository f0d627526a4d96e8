"""Work in a process of its own, so that whatever dies, hangs or eats memory there is not the update agent.

    python -m components.robot._child MODULE:FUNCTION ARGUMENTS_JSON DESCRIPTOR

The function's results (frozen documents) come back one a line over an inherited pipe; standard output stays its own.
"""

import importlib
import json
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.contracts import Frozen, plain_logs
from components.contracts.errors import ConfigurationError, PolicyError

_MAX_LINE = 2**20
_OWN_MIB = 1024
"""Of the interpreter, numpy and onnxruntime with their threads' stacks, before the first byte of a package."""
_SHARE = 0.8
"""Of this machine's memory, at most."""
_FIRST_TO_END = "1000"
"""oom_score_adj: whatever else runs here is worth more than a test that can be done again."""


def run_child(target: str, arguments: dict[str, Any], *, timeout_s: float, memory_mib: float) -> Iterator[bytes]:
    """Call `target` in a child process and yield what it yields, as JSON documents.

    Args:
        target: "module:function".
        arguments: keyword arguments, JSON; `package` arrives as a Path.
        timeout_s: for each document.
        memory_mib: that the child may hold of its own, beside what its libraries need (`_OWN_MIB`); never more than
            most of this machine's. Beyond it allocations fail there. Should the machine itself run out of memory
            before that, the kernel ends the child first.

    Raises:
        PolicyError: the child died, hung, or wrote too much; what it yielded before has been yielded.
    """
    reading, writing = os.pipe()
    limit = str(int(_limit_mib(memory_mib)))
    command = [sys.executable, "-m", __name__, target, json.dumps(arguments), str(writing), limit]
    child = subprocess.Popen(command, pass_fds=[writing], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    os.close(writing)
    try:
        yield from _lines(reading, timeout_s, target)
        if child.wait(timeout_s) != 0:
            raise PolicyError(f"{target}: expected the process to end well, it ended with {child.returncode}")
    except subprocess.TimeoutExpired:
        raise PolicyError(f"{target}: expected the process to end within {timeout_s:g} s, it did not") from None
    finally:
        os.close(reading)
        if child.poll() is None:
            child.kill()
        child.wait()


def _lines(descriptor: int, timeout_s: float, target: str) -> Iterator[bytes]:
    rest, deadline = b"", time.monotonic() + timeout_s
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise PolicyError(f"{target}: expected a result within {timeout_s:g} s, none came")
        data = os.read(descriptor, 65536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > _MAX_LINE:
            raise PolicyError(f"{target}: expected results of at most {_MAX_LINE} bytes")
        for line in lines:
            yield line
            deadline = time.monotonic() + timeout_s


def load_function(target: str) -> Callable[..., Iterable[Frozen]]:
    """Find "module:function".

    Raises:
        ConfigurationError: no such module or function.
    """
    module, _, name = target.partition(":")
    try:
        found: Callable[..., Iterable[Frozen]] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"expected module:function, got {target!r} ({error})") from None
    return found


def check_function(target: str) -> None:
    """`load_function` in a child, because the module may be heavy: a wrong name must not be taken for a bad policy.

    Raises:
        ConfigurationError: no such module or function.
    """
    code = f"import sys; from {__name__} import load_function; load_function(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, target], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = done.stderr.strip().rpartition("\n")[2]
        raise ConfigurationError(f"expected module:function, got {target!r} ({last})")


def _limit_mib(wanted_mib: float) -> float:
    with suppress(OSError, ValueError):
        return min(wanted_mib + _OWN_MIB, _SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20)
    return wanted_mib + _OWN_MIB


def _confine(limit_mib: int) -> None:
    """Bound this process's memory: RLIMIT_DATA counts what it can write of its own. (RLIMIT_AS would count CUDA's
    reservations of addresses, which are far larger than any memory.) Its children inherit both."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = limit_mib * 2**20 if most == resource.RLIM_INFINITY else min(most, limit_mib * 2**20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with suppress(OSError):  # no /proc: then the kernel chooses by size alone
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_END)


def _main(target: str, arguments: str, descriptor: str, limit_mib: str) -> None:
    _confine(int(limit_mib))
    values = json.loads(arguments)
    values["package"] = Path(values["package"])
    with os.fdopen(int(descriptor), "wb") as pipe:
        for document in load_function(target)(**values):
            pipe.write(document.canonical_json() + b"\n")
            pipe.flush()


if __name__ == "__main__":
    plain_logs()
    _main(*sys.argv[1:])
