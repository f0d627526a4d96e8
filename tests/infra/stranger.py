"""Another user of this machine, and what he gets from a port."""

import contextlib
import json
import os
import pwd
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user's")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""The beginning of HTTP/2, and so of gRPC: a server that talks to its caller answers with a frame of type 4."""
TLS_ALERT = b"\x15\x03"
HTTP = b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"


def as_nobody(work: Callable[[], Any]) -> Any:
    """Run `work` in a process of the user `nobody` and return its result; what it raises fails the test.

    A fork: nobody need not be able to read Python's own files. Where this is not root, the process stays ours: a port
    cannot tell the two apart, a file can (`NEEDS_ROOT`).
    """
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            if os.geteuid() == 0:
                entry = pwd.getpwnam("nobody")
                os.setgroups([])
                os.setgid(entry.pw_gid)
                os.setuid(entry.pw_uid)
            told = {"value": work()}
        except BaseException as error:  # noqa: BLE001  # told to the parent
            told = {"error": repr(error)}
        os.write(writing, json.dumps(told).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = json.loads(pipe.read())
    os.waitpid(pid, 0)
    assert "error" not in said, said["error"]
    return said["value"]


def listening(pids: set[int]) -> dict[int, set[int]]:
    """Port -> processes of `pids` that listen on it.

    Raises:
        AssertionError: one of them can be reached from outside this machine.
    """
    found: dict[int, set[int]] = {}
    for connection in psutil.net_connections("tcp"):
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN:
            assert connection.laddr.ip.removeprefix("::ffff:") in {"127.0.0.1", "::1"}, connection
            found.setdefault(connection.laddr.port, set()).add(connection.pid)
    return found


def family(pid: int) -> set[int]:
    """It and all its descendants."""
    return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}


def ask(port: int, words: bytes, *, tls: ssl.SSLContext | None = None) -> bytes:
    """Return the answer; nothing where the server hangs up, resets, or refuses by a TLS alert."""
    answer = b""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        if tls is not None:
            connection = stack.enter_context(tls.wrap_socket(connection))
        connection.sendall(words)
        while b"\r\n\r\n" not in answer and (more := connection.recv(65_536)):
            answer += more
            if words is PREFACE:
                break
    return b"" if answer.startswith(TLS_ALERT) else answer


def client(folder: Path | None = None, *, http2: bool = False) -> ssl.SSLContext:
    """A TLS client that trusts anybody; with `folder`'s certificate, where one is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if http2:
        context.set_alpn_protocols(["h2"])
    if folder is not None:
        context.load_cert_chain(folder / "node.crt", folder / "node.key")
    return context


def is_http2(answer: bytes) -> bool:
    """True if the server's first frame is there: it talks to its caller."""
    return answer[3:4] == b"\x04"
