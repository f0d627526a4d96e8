"""Servers that answer anything as a captive portal does, or drop by drop. Real HTTP on loopback."""

import gzip
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import urllib3

PAGE = b"<html><head><title>Wi-Fi</title></head><body>Please <a href='/login'>sign in</a></body></html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}
PLAUSIBLE = {
    "ETag": '"0123456789abcdef0123456789abcdef"',
    "Last-Modified": "Fri, 27 Nov 2026 20:43:10 GMT",
}
S3_LIKE = PLAUSIBLE | {"x-amz-request-id": "18EC01A8973A297F"}
XHTML = b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body><p>sign in</p></body></html>'

Answer = tuple[int, dict[str, str], bytes]
PORTALS: dict[str, Answer] = {
    "html": (200, HTML, PAGE),
    "empty": (200, {}, b""),
    "no content": (204, {}, b""),
    "redirect": (302, {"Location": "/login"}, b""),
    "redirect keeping the method": (307, {"Location": "/login"}, b""),
    "authentication required": (511, HTML, PAGE),
    "not found": (404, HTML, PAGE),
    "forbidden": (403, HTML, PAGE),
    "precondition failed": (412, HTML, PAGE),
    "gzip": (200, HTML | {"Content-Encoding": "gzip"}, gzip.compress(PAGE)),
    "json": (200, {"Content-Type": "application/json"}, b'{"status": "ok"}'),
    "xhtml": (200, {"Content-Type": "application/xml"}, XHTML),
    "plausible": (200, HTML | PLAUSIBLE, PAGE),
    "plausible without a type": (200, PLAUSIBLE, PAGE),
    "s3-like html": (200, HTML | S3_LIKE, PAGE),
    "s3-like gzip": (200, S3_LIKE | {"Content-Encoding": "gzip"}, gzip.compress(PAGE)),
    "s3-like odd length": (200, S3_LIKE | {"Content-Length": "many"}, b""),
}


class Portal:
    """Its answer, and the requests that came. `upstream`: after `first` requests it lets them through to there."""

    def __init__(self, answer: Answer, *, first: int | None = None, upstream: str = "") -> None:
        self.answer, self.first, self.upstream = answer, first, upstream
        self.requests: list[str] = []
        self.address = ""


@contextmanager
def portal(kind: str, *, first: int | None = None, upstream: str = "") -> Iterator[Portal]:
    """A server that answers every request of any method and path as `PORTALS[kind]` says."""
    state = Portal(PORTALS[kind], first=first, upstream=upstream)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            state.requests.append(f"{self.command} {self.path.partition('?')[0]}")
            status, headers, data = state.answer
            if self.path == "/login":
                status, headers, data = 200, HTML, PAGE
            elif state.first is not None and len(state.requests) > state.first:
                found = urllib3.PoolManager().request(
                    self.command, f"http://{state.upstream}{self.path}", body=body, headers=dict(self.headers.items()),
                    retries=False, redirect=False, decode_content=False,
                )  # fmt: skip
                kept = {"content-length", "transfer-encoding", "connection", "date", "server"}
                status, data = found.status, found.data
                headers = {name: value for name, value in found.headers.items() if name.lower() not in kept}
                headers["Content-Length"] = found.headers.get("Content-Length", str(len(data)))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204 and "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(data)))
            self.close_connection = not headers.get("Content-Length", "0").isdigit()
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join(10)


@contextmanager
def dribbling(head: bytes, drop: bytes, *, reads: bool = True) -> Iterator[tuple[str, Callable[[], int]]]:
    """A server that answers with `head` at once and then with `drop` again and again, 20 times a second, for ever.

    Without `reads` it takes nothing of a request beyond what the sockets' buffers hold. Yields its address, and the
    number of connections so far.
    """
    import socketserver

    stop, served = threading.Event(), []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            served.append(1)
            if not reads:
                stop.wait()
                return
            self.request.recv(65_536)
            try:
                self.request.sendall(head)
                while not stop.wait(0.05):
                    self.request.sendall(drop)
            except OSError:
                return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", lambda: len(served)
        finally:
            stop.set()
            server.shutdown()
            thread.join(10)
