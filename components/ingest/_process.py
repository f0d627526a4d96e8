"""The parsing process seen from outside: started with nothing, asked one file at a time, killed when its time is up."""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from components.contracts.errors import ConfigurationError

from ._limits import Limits

_LOG = logging.getLogger(__name__)
_START_S = 120.0
_END_S = 5.0
BARE_ROOM = """
import sys, types, components
room = types.ModuleType("components.ingest")
room.__path__ = [components.__path__[0] + "/ingest"]
sys.modules[room.__name__] = room
"""
"""Past the room's door, behind which are the clients of stores and of gateways: half the memory, half the time to
start, and nothing there for a file to get hold of."""
_COMMAND = (sys.executable, "-I", "-c", BARE_ROOM + "from components.ingest._worker import main; main()")
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "HDF5_PLUGIN_PRELOAD": "::",  # no filter is ever loaded from a shared library
    "HDF5_USE_FILE_LOCKING": "FALSE",
}
"""All of it: no credential that this process holds reaches the one that opens strangers' files."""


class StoppedError(Exception):
    """The process did not answer and is gone. `rule` is `timeout` or `worker-killed`."""

    def __init__(self, rule: str, expected: str, observed: str) -> None:
        super().__init__(f"{rule}: expected {expected}, {observed}")
        self.rule = rule
        self.expected = expected
        self.observed = observed


class ParsingProcess:
    """One process, reused over files; a fresh one takes over after a stop, or after `files_per_process` files.

    Not for several threads at once.
    """

    def __init__(self, limits: Limits, *, command: Sequence[str] = _COMMAND) -> None:
        self._limits = limits
        self._command = (*command, limits.model_dump_json())
        self._process: subprocess.Popen[bytes] | None = None
        self._answered = 0

    @property
    def pid(self) -> int | None:
        """Of the process that is running; None if none is."""
        return self._process.pid if self._process else None

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Have one file judged.

        Raises:
            StoppedError: the process died, answered nonsense, or was killed for taking too long.
            ConfigurationError: the process cannot even start: nothing is said about the file.
        """
        if self._answered >= self._limits.files_per_process:
            self.close()
        process = self._process or self.start()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        line = self._line(process, self._limits.wall_s)
        self._answered += 1
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self._kill()
            raise StoppedError("worker-killed", "one JSON line as the answer", "it wrote something else")
        return answer

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process and wait until it has limited itself.

        Raises:
            ConfigurationError: it did not come up.
        """
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=_ENVIRONMENT, cwd="/",
                start_new_session=True,
            )  # fmt: skip
            self._answered = 0
            try:
                ready = json.loads(self._line(self._process, _START_S))
            except StoppedError as stopped:
                errors.seek(0)
                last = errors.read()[-2000:].decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
                raise ConfigurationError(
                    "expected the process that parses uploads to start, "
                    f"but {stopped.observed} ({last or 'no message'})"
                ) from None
        if ready.get("unconfined"):
            _LOG.warning(
                "the process that parses uploads runs without a list of system calls (%s): beside its limits on files, "
                "memory and time nothing keeps it from the network; run the platform in a container without one",
                ready["unconfined"],
            )
        return self._process

    def close(self) -> None:
        """End it."""
        self._kill()

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> bytes:
        """The next line of its output; at most `answer_bytes`, at most `seconds`."""
        assert process.stdout is not None
        descriptor, deadline, data = process.stdout.fileno(), time.monotonic() + seconds, b""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while not data.endswith(b"\n"):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                self._kill()
                raise StoppedError("timeout", f"an answer within {seconds:g} s", "it was killed")
            part = os.read(descriptor, 65536)
            if not part:
                raise self._ended()
            data += part
            if len(data) > self._limits.answer_bytes:
                self._kill()
                raise StoppedError(
                    "worker-killed", f"an answer of at most {self._limits.answer_bytes} bytes", "it wrote more"
                )
        return data

    def _ended(self) -> StoppedError:
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):  # its pipes close a moment before its status is there
                self._process.wait(_END_S)
        status = self._kill()
        if status == -signal.SIGXCPU:
            return StoppedError("timeout", f"at most {self._limits.cpu_s} s of processor time", "it used more")
        shown = f"signal {-status} ({signal.strsignal(-status)})" if status < 0 else f"exit status {status}"
        return StoppedError("worker-killed", "a file that can be parsed", f"the parsing process ended by {shown}")

    def _kill(self) -> int:
        """Returns how it had ended, or was ended now."""
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.close()
        if process.poll() is None:
            process.kill()
        return process.wait()
