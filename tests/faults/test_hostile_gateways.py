"""A gateway, or whoever poses as one, that lies, floods, redirects or hangs up: bounded, and nothing is deleted."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.contracts import RobotReport
from components.contracts.errors import GatewayError
from components.robot import Gateway, GatewayPin, RobotIdentity, Spool, Uploader, UploadRules, _signed_requests, enrol
from tests.keys import public_key

KEY = public_key()
PROBLEM = b'{"code":"%s","message":"%s","now":"2026-01-01T00:00:00Z"}'


@contextmanager
def _gateway(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Answers every connection with these bytes; yields its URL and the requests that it got."""
    requests: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            got = b""
            while b"\r\n\r\n" not in got:
                got += self.request.recv(65_536)
            requests.append(got)
            try:
                self.request.sendall(answer)
            except OSError:
                return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", requests
        finally:
            server.shutdown()
            thread.join(10)


def _said(status: int, body: bytes, *headers: bytes) -> bytes:
    lines = (b"HTTP/1.1 %d X" % status, b"Content-Length: %d" % len(body), b"Connection: close", *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _endless() -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"[" * (_signed_requests._ANSWER_LIMIT + 2**20)


ANSWERS = {
    "nothing": b"",
    "no http": b"hello\r\n\r\n",
    "html": _said(200, b"<html>login</html>"),
    "endless": _endless(),
    "deep json": _said(200, b"[" * 100_000),
    "redirect": _said(302, b"", b"Location: http://127.0.0.1:1/"),
    "wrong type": _said(200, b'{"robot": "robot-1"}'),
    "open without ticket": _said(200, b'{"state":"open","ticket":null,"receipt":null}'),
    "settled without receipt": _said(200, b'{"state":"settled","ticket":null,"receipt":null}'),
    "server error": _said(500, b"oops"),
    "cut short": _said(200, b'{"state":"waiting"}')[:-5],
    "always clock": _said(401, PROBLEM % (b"clock", b"no")),
    "long refusal": _said(400, PROBLEM % (b"malformed", b"x\\n" * 100_000)),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_senseless_answer_is_bounded_keeps_the_episode_and_is_an_alarm(tmp_path: Path, kind: str) -> None:
    spool = Spool(tmp_path)
    path = spool.path_of("one")
    path.write_bytes(b"data")
    with _gateway(ANSWERS[kind]) as (url, requests):
        pin = GatewayPin(robot="robot-1", url=url, receipt_keys=(KEY,))
        gateway = Gateway(pin, RobotIdentity(tmp_path / "agent"), patience=0.3)
        report = Uploader(spool, gateway, rules=UploadRules()).sync()
    assert list(report.failed) == ["one"]
    assert len(report.failed["one"]) < 1000
    assert path.read_bytes() == b"data"
    assert spool.status().alarms
    assert 1 <= len(requests) <= 10


KEPT = b'{"robot":"robot-1","seq":%d,"count":%d,"sha256":"%s"}'
WRONG_ANSWERS = ANSWERS | {
    "empty object": _said(200, b"{}"),
    "created": _said(201, b""),
    "no content": _said(204, b""),
    "other bytes": _said(200, KEPT % (1, 1, b"0" * 64)),
    "other number": _said(200, KEPT % (1, 2, b"%s")),
    "other assignment": _said(200, KEPT % (2, 1, b"%s")),
    "in html": _said(200, b"<html>" + KEPT % (1, 1, b"%s")),
}


@pytest.mark.parametrize("kind", WRONG_ANSWERS)
def test_report_is_delivered_to_nobody_who_does_not_name_its_bytes(tmp_path: Path, kind: str) -> None:
    identity = RobotIdentity(tmp_path)
    signed = identity.sign(
        RobotReport(
            robot="robot-1", sent_at=datetime(2026, 1, 1, tzinfo=UTC), deployment="d1", release="r1", attempted="r1",
            seq=1, count=1, state="QUARANTINE", reason="", trials=0, successes=0, p50_ms=None, p99_ms=None,
            provider=None,
        )
    )  # fmt: skip
    answer = WRONG_ANSWERS[kind].replace(b"%s", signed.digest().encode())
    with _gateway(answer) as (url, requests):
        pin = GatewayPin(robot="robot-1", url=url, receipt_keys=(KEY,))
        with pytest.raises(GatewayError):
            Gateway(pin, identity, patience=0.3).report(signed)
    assert 1 <= len(requests) <= 10


def test_link_to_somewhere_else_than_http_is_not_followed(tmp_path: Path) -> None:
    link = b'{"number":1,"size":4,"url":"file:///etc/passwd"}'
    ticket = b'{"upload_id":"u","part_bytes":5242880,"done":[],"links":[%s],"expires_at":"2026-01-01T00:00:00Z"}' % link
    spool = Spool(tmp_path)
    spool.path_of("one").write_bytes(b"data")
    with _gateway(_said(200, b'{"state":"open","receipt":null,"ticket":%s}' % ticket)) as (url, _):
        pin = GatewayPin(robot="robot-1", url=url, receipt_keys=(KEY,))
        report = Uploader(spool, Gateway(pin, RobotIdentity(tmp_path / "agent"))).sync()
    assert "not http or https; nothing was sent" in report.failed["one"]
    assert report.bytes_sent == 0


def test_enrolment_for_another_robot_pins_nothing(tmp_path: Path) -> None:
    answer = _said(200, b'{"robot":"robot-2","receipt_keys":["%s"]}' % KEY.encode())
    with _gateway(answer) as (url, _), pytest.raises(GatewayError, match="enrolled robot-2"):
        enrol("robot-1", "t" * 16, tmp_path, url)
    assert not (tmp_path / "gateway.json").exists()


def test_private_key_and_token_are_in_no_upload_request(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.path_of("one").write_bytes(b"data")
    with _gateway(_said(400, PROBLEM % (b"malformed", b"no"))) as (url, requests):
        pin = GatewayPin(robot="robot-1", url=url, receipt_keys=(KEY,))
        Uploader(spool, Gateway(pin, RobotIdentity(tmp_path / "agent"))).sync()
    key = (tmp_path / "agent" / "robot_key.pem").read_bytes()
    assert all(line not in request for request in requests for line in key.splitlines()[1:-1])
    assert requests[0].count(b"Bearer ") == 1
