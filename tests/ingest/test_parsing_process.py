"""The limits hold for a process that misbehaves: scripts that stand in for a parser taken over by a file."""

import errno
import os
import signal
import socket
import sys
from pathlib import Path

import h5py
import pytest

from components.contracts.errors import ConfigurationError
from components.ingest import Limits
from components.ingest._process import BARE_ROOM, ParsingProcess, StoppedError

CONFINED = (
    BARE_ROOM
    + """
import sys, os
from components.ingest._limits import Limits
from components.ingest._worker import _confine, _allow_processor_time, _answer
import h5py, numpy
limits = Limits.parse(sys.argv[1], source="test")
_answer(dict(ready=True, unconfined=_confine(limits)))
for line in sys.stdin:
    _allow_processor_time(limits.cpu_s)
    {body}
"""
)
JOB = {"path": "/nowhere", "sha256": "0" * 64, "robot": "r1", "name": "e"}


def process(body: str, **limits: float) -> ParsingProcess:
    command = [sys.executable, "-I", "-c", CONFINED.format(body=body)]
    return ParsingProcess(Limits.model_validate(limits), command=command)


def stopped_by(parser: ParsingProcess) -> StoppedError:
    with pytest.raises(StoppedError) as caught:
        parser.ask(JOB)
    assert parser.pid is None
    return caught.value


def test_endless_loop_is_ended_by_its_processor_time() -> None:
    stopped = stopped_by(process("while True: pass", cpu_s=1, wall_s=60))
    assert stopped.rule == "timeout"
    assert "processor time" in stopped.expected


def test_process_that_sleeps_is_killed_by_the_clock() -> None:
    stopped = stopped_by(process("import time; time.sleep(600)", wall_s=0.5))
    assert (stopped.rule, stopped.observed) == ("timeout", "it was killed")


def test_process_that_crashes_is_named_with_its_signal() -> None:
    stopped = stopped_by(process("os.abort()"))
    assert stopped.rule == "worker-killed"
    assert "signal 6" in stopped.observed


def test_flood_of_output_is_cut_off() -> None:
    stopped = stopped_by(process("while True: os.write(1, b'x' * 4096)", answer_bytes=10_000, wall_s=60))
    assert stopped.rule == "worker-killed"
    assert "10000 bytes" in stopped.expected


def test_answer_that_is_no_json_is_refused() -> None:
    assert stopped_by(process("print('<html>', flush=True)")).rule == "worker-killed"


def test_memory_beyond_the_limit_is_not_given() -> None:
    body = "\n    ".join(["try: bytearray(2**30)", "except MemoryError: _answer({'refused': True})"])
    parser = process(body, memory_bytes=300_000_000)
    try:
        assert parser.ask(JOB) == {"refused": True}
    finally:
        parser.close()


def test_linked_file_cannot_be_opened_even_if_the_link_is_followed(tmp_path: Path) -> None:
    secret, upload = tmp_path / "secret.h5", tmp_path / "upload.h5"
    with h5py.File(secret, "w") as file:
        file["images"] = b"the secret"
    with h5py.File(upload, "w") as file:
        file["images"] = h5py.ExternalLink(str(secret), "/images")
    with h5py.File(upload, "r") as file:
        assert file["images"][()] == b"the secret"

    body = [
        f"try: _answer({{'read': str(h5py.File({str(upload)!r}, 'r')['images'][()])}})",
        "except Exception as error: _answer({'refused': str(error)})",
    ]
    parser = process("\n    ".join(body))
    try:
        assert "open file" in parser.ask(JOB)["refused"]
    finally:
        parser.close()


def test_process_writes_no_file_and_sees_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROVER_S3_SECRET", "of the platform")
    body = "\n    ".join(
        [
            f"try: open({str(tmp_path / 'file')!r}, 'w').write('x' * 100000)",
            "except OSError: _answer({'secrets': [name for name in os.environ if 'S3' in name]})",
        ]
    )
    parser = process(body)
    try:
        assert parser.ask(JOB) == {"secrets": []}
    finally:
        parser.close()


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.create_connection(('127.0.0.1', {port}))",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_UNIX)",
        "socket.socket(fileno=0).sendto(b'x', ('127.0.0.1', {port}))",
        "subprocess.run(['/bin/true'])",
        "os.fork()",
        "os.execv('/bin/true', ['/bin/true'])",
        "os.kill(os.getppid(), 0)",
        "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)",
        "os.unlink({file!r})",
        "os.rename({file!r}, {file!r} + '2')",
        "os.truncate({file!r}, 0)",
        "open({file!r}, 'r+')",
        "open({file!r}, 'w')",
        "os.chmod({file!r}, 0o777)",
        "os.mkfifo({file!r} + '2')",
    ],
)
def test_process_reaches_no_network_no_process_and_no_file_but_to_read(attempt: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = attempt.format(port=server.getsockname()[1], file=str(file))
        body = [f"try: _answer({{'did': repr({line})}})", "except OSError as error: _answer({'refused': error.errno})"]
        parser = process("import socket, subprocess, resource\n    " + "\n    ".join(body))
        try:
            assert parser.ask(JOB) == {"refused": errno.EPERM}
        finally:
            parser.close()
    assert file.read_text() == "kept"


def test_process_without_a_list_of_system_calls_says_so(caplog: pytest.LogCaptureFixture) -> None:
    script = 'import sys; print(\'{"ready": true, "unconfined": "no seccomp"}\', flush=True); sys.stdin.read()'
    parser = ParsingProcess(Limits(), command=[sys.executable, "-c", script])
    parser.start()
    parser.close()
    assert "no seccomp" in caplog.text


def test_process_that_cannot_start_is_the_platforms_fault_not_the_files() -> None:
    parser = ParsingProcess(Limits(), command=[sys.executable, "-c", "raise SystemExit('no such library')"])
    with pytest.raises(ConfigurationError, match="no such library"):
        parser.ask(JOB)


def test_fresh_process_takes_over_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "empty.h5"
    path.touch()
    job = JOB | {"path": str(path)}
    parser = ParsingProcess(Limits())
    try:
        assert parser.ask(job)["rule"] == "unreadable"
        first = parser.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert stopped_by(parser).rule == "worker-killed"
        assert parser.ask(job)["rule"] == "unreadable"
        assert parser.pid not in {None, first}
    finally:
        parser.close()


def test_process_is_replaced_after_its_share_of_files(tmp_path: Path) -> None:
    path = tmp_path / "empty.h5"
    path.touch()
    parser = ParsingProcess(Limits(files_per_process=2))
    try:
        pids = []
        for _ in range(4):
            parser.ask(JOB | {"path": str(path)})
            pids.append(parser.pid)
        assert pids[0] == pids[1] != pids[2] == pids[3]
    finally:
        parser.close()
