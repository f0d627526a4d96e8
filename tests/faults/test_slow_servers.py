"""Servers that answer drop by drop, or take nothing: a call ends by its least rate or its deadline, and says so."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.contracts import Settings, UploadRequest
from components.contracts.errors import GatewayError, StorageError
from components.robot import Gateway, GatewayPin, RobotIdentity, enrol
from components.robot._sender import Outgoing, Sender
from components.storage import Pace, S3Store, connect, pace_of
from tests.faults.fleet_world import World
from tests.faults.portals import S3_LIKE, dribbling, portal
from tests.faults.tls import make_certificate, over_tls
from tests.keys import public_key

pytestmark = pytest.mark.long

PACE = Pace(connect_s=2.0, answer_s=1.0, least_bytes_s=4096, window_s=0.5, call_s=1.5)
S3_HEAD = b"HTTP/1.1 200 OK\r\n" + b"".join(
    f"{name}: {value}\r\n".encode() for name, value in {**S3_LIKE, "Content-Type": "application/xml"}.items()
)
WAYS: dict[str, tuple[bytes, bytes]] = {
    "no answer": (b"", b""),
    "status line": (b"HT", b"T"),
    "headers": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "header after header": (b"HTTP/1.1 200 OK\r\n", b"X-Slow: x\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (S3_HEAD + b"Content-Length: 1000000\r\n\r\n", b"xx"),
    "body without a length": (S3_HEAD + b"\r\n", b"xx"),
    "chunks": (S3_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a chunk's header": (S3_HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
}
CALLS: dict[str, Callable[[S3Store, Path], object]] = {
    "get": lambda store, _: store.get("releases", "key"),
    "get_file": lambda store, folder: store.get_file("releases", "key", folder / "got", resume=True),
    "stat": lambda store, _: store.stat("releases", "key"),
    "put": lambda store, _: store.put("reports", "key", b"bytes"),
    "list": lambda store, _: list(store.list("reports")),
    "remove": lambda store, _: store.remove("reports", "key"),
    "begin parts": lambda store, _: store.begin_parts("inbox", "key"),
    "make a bucket": lambda store, _: store.ensure_bucket("reports"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("way", WAYS)
def test_server_that_answers_drop_by_drop_holds_no_call_to_the_store(tmp_path: Path, way: str) -> None:
    with dribbling(*WAYS[way]) as (address, _):
        store = S3Store(address, "key", "secret", patience=0.01, pace=PACE)
        for name, call in CALLS.items():
            if name in {"stat", "make a bucket"} and way.startswith(("body", "chunk", "a chunk")):
                continue  # a HEAD has no body to wait for
            with pytest.raises(StorageError, match="did not do it within"):
                call(store, tmp_path)


@pytest.mark.timeout(30)
def test_slow_download_keeps_what_came_and_is_not_begun_again_at_once(tmp_path: Path) -> None:
    with dribbling(S3_HEAD + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000, b"xx") as (address, served):
        store = S3Store(address, "key", "secret", patience=0.01, pace=PACE)
        with pytest.raises(StorageError, match=r"expected at least 4096 bytes/s"):
            store.get_file("releases", "key", tmp_path / "got", resume=True)
        assert served() == 1
    assert (tmp_path / "got.part").read_bytes()[:1000] == b"x" * 1000


@pytest.mark.timeout(30)
@pytest.mark.parametrize("call", ["put", "put if absent", "put_file", "put_file in parts"])
def test_server_that_takes_nothing_holds_no_upload(tmp_path: Path, call: str) -> None:
    data = b"x" * 30_000_000
    (tmp_path / "large").write_bytes(data)
    with dribbling(b"", b"", reads=False) as (address, _):
        store = S3Store(address, "key", "secret", patience=0.01, pace=PACE)
        calls: dict[str, Callable[[], object]] = {
            "put": lambda: store.put("reports", "key", data),
            "put if absent": lambda: store.put("reports", "key", data, if_absent=True),
            "put_file": lambda: store.put_file("reports", "key", tmp_path / "large", if_absent=True),
            "put_file in parts": lambda: store.put_file("reports", "key", tmp_path / "large"),
        }
        with pytest.raises(StorageError, match="did not do it within"):
            calls[call]()


@pytest.mark.timeout(30)
def test_slow_store_keeps_a_tick_no_longer_than_its_least_rate_allows(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.assign(world.release("r1", tag="one"))
    assert world.tick() == "r1"
    for way in ("headers", "body", "chunks"):
        with dribbling(*WAYS[way]) as (address, served):
            assert world.tick(store=S3Store(address, "key", "secret", patience=0.01, pace=PACE)) == "r1"
            assert served()


def gateway_at(address: str, home: Path) -> Gateway:
    pin = GatewayPin(robot="robot-1", url=f"http://{address}", receipt_keys=(public_key(),))
    return Gateway(pin, RobotIdentity(home), patience=0.01, pace=PACE)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("way", WAYS)
def test_gateway_that_answers_drop_by_drop_is_away(tmp_path: Path, way: str) -> None:
    with dribbling(*WAYS[way]) as (address, _), pytest.raises(GatewayError) as refused:
        gateway_at(address, tmp_path).upload(UploadRequest(name="one", sha256="0" * 64, size=4))
    assert (refused.value.code, refused.value.again) == ("away", True)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("reads", [True, False])
def test_store_that_takes_a_part_drop_by_drop_or_not_at_all_is_a_cut_and_asked_about(
    tmp_path: Path, reads: bool
) -> None:
    path = tmp_path / "one.h5"
    path.write_bytes(b"x" * 5_000_000)
    with dribbling(*WAYS["headers"], reads=reads) as (address, served), portal("json") as gateway:
        link = f'{{"number":1,"size":5000000,"url":"http://{address}/inbox/key"}}'
        ticket = (
            f'{{"upload_id":"u","part_bytes":5242880,"done":[],"links":[{link}],"expires_at":"2026-01-01T00:00:00Z"}}'
        )
        answer = f'{{"state":"open","receipt":null,"ticket":{ticket}}}'.encode()
        gateway.answer = (200, {"Content-Type": "application/json"}, answer)
        sender = Sender(gateway_at(gateway.address, tmp_path / "agent"), sleep=lambda _s: None)
        with pytest.raises(GatewayError, match="brought no part"):
            sender.send(Outgoing(path, "0" * 64, 5_000_000))
        assert served() >= 2


def test_least_rate_and_deadline_are_settings() -> None:
    own = Settings(
        s3_endpoint="127.0.0.1:1", s3_key="key", s3_secret="secret",
        transfer_least_bytes_s=5, transfer_window_s=6, call_s=7,
    )  # fmt: skip
    pace = pace_of(own)
    assert (pace.least_bytes_s, pace.window_s, pace.call_s) == (5, 6, 7)
    assert connect(own)._requests._pace == pace


@pytest.mark.timeout(30)
@pytest.mark.parametrize("way", ["no answer", "headers", "body", "chunks"])
def test_same_bounds_hold_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    head, drop = WAYS[way]
    with over_tls(certificate, head, drop) as address:
        store = S3Store(address, "key", "secret", secure=True, patience=0.01, pace=PACE)
        with pytest.raises(StorageError, match="did not do it within"):
            store.get("releases", "key")


def test_robot_joins_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    body = b'{"robot":"robot-1","receipt_keys":["%s"]}' % public_key().encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    with over_tls(certificate, head + body) as address:
        assert enrol("robot-1", "t" * 16, tmp_path / "agent", f"https://{address}").robot == "robot-1"
