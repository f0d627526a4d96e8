"""Bounds of the gateway: what one address or one robot asks for shuts nobody else out and does not fill the store."""

import base64
import hashlib
import json
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from components.contracts import EnrolledRobot, Enrolment, _keys, is_sound_key
from components.contracts.errors import InvalidDocumentError, PromotionError
from components.ingest import (
    GatewayLimits,
    UploadLimits,
    drop_abandoned_uploads,
    fleet,
    gateway_app,
    publish_receipt_key,
    register_robot,
)
from components.storage import connect
from infra import _processes
from infra.gateway import HastyProtocol
from tests.faults.upload_world import UploadWorld
from tests.ingest.gateway_world import GatewayWorld, code_of, gateway_world

HEAD = b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path_factory.mktemp("gateway")) as world:
        yield world


@contextmanager
def served(world: GatewayWorld, limits: GatewayLimits, **options: object) -> Iterator[int]:
    """The gateway's process as `infra.gateway` makes it, without the process; its port."""

    class Counting(HastyProtocol):
        per_address = int(options.pop("per_address", 128))  # type: ignore[call-overload]
        proxies = frozenset(options.pop("proxies", ()))  # type: ignore[call-overload]
        open_by_address = type(HastyProtocol.open_by_address)()

    app = gateway_app(connect(world.settings, identity="gateway", patience=1.0), limits=limits)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", http=Counting, **options)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert _processes.wait_until(lambda: server.started, 10)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


def connected(port: int, address: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(address, 0))


def asked(port: int, address: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """A whole request that gets as far as the check of its token."""
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=20) as http:
        return http.post(f"http://127.0.0.1:{port}/v1/uploads", content=b"{}", headers=headers)


def test_unfinished_bodies_of_one_address_take_no_place_of_another(world: GatewayWorld) -> None:
    limits = GatewayLimits(at_once=4, bodies_per_address=8, body_s=60)
    with served(world, limits) as port, ExitStack() as slow:
        for _ in range(8):
            slow.enter_context(connected(port, "127.0.0.2")).sendall(HEAD)

        def is_full() -> bool:
            return code_of(asked(port, "127.0.0.2")) == (503, "busy")

        assert _processes.wait_until(is_full, 20)
        assert code_of(asked(port, "127.0.0.1")) == (401, "unauthenticated")  # twice as many as `at_once` wait
        slow.close()
        assert _processes.wait_until(lambda: not is_full(), 20)


def test_connections_of_one_address_are_bounded_and_others_get_in(world: GatewayWorld) -> None:
    with served(world, GatewayLimits(), per_address=5) as port, ExitStack() as silent:
        held = [silent.enter_context(connected(port, "127.0.0.2")) for _ in range(5)]
        refused = silent.enter_context(connected(port, "127.0.0.2"))
        assert refused.recv(1) == b""  # closed before it asked for anything
        assert asked(port, "127.0.0.1").status_code == 401
        held[0].close()

        def gets_in() -> bool:
            try:
                return asked(port, "127.0.0.2").status_code == 401
            except httpx.HTTPError:
                return False

        assert _processes.wait_until(gets_in, 20)


def test_clients_behind_a_named_proxy_are_told_apart_by_what_it_says(world: GatewayWorld) -> None:
    limits = GatewayLimits(bodies_per_address=2, body_s=60)
    proxy = "127.0.0.3"
    behind = {"proxy_headers": True, "forwarded_allow_ips": [proxy], "proxies": [proxy], "per_address": 2}
    with served(world, limits, **behind) as port, ExitStack() as slow:
        for _ in range(2):
            head = HEAD.replace(b"Host: x", b"Host: x\r\nX-Forwarded-For: 203.0.113.9")
            slow.enter_context(connected(port, proxy)).sendall(head)
        same, other = {"X-Forwarded-For": "203.0.113.9"}, {"X-Forwarded-For": "203.0.113.10"}
        assert _processes.wait_until(lambda: asked(port, proxy, same).status_code == 503, 20)
        assert asked(port, proxy, other).status_code == 401
        assert asked(port, "127.0.0.2", same).status_code == 401  # no proxy: what it says is not believed


def test_robot_with_too_many_episodes_waiting_is_busy_until_they_are_ingested(world: GatewayWorld) -> None:
    limits = GatewayLimits(uploads=UploadLimits(waiting_episodes=2))
    with GatewayWorld(world.settings, limits).open() as small:
        robot, other = small.robot(), small.robot()
        for name in ("a", "b"):
            assert robot.send(name.encode(), name=name).json()["state"] == "waiting"
        refusal = robot.ask(b"c", name="c")
        assert code_of(refusal) == (429, "busy")
        assert "2 episodes of this robot wait" in refusal.json()["message"]
        assert robot.ask(b"a", name="a").json()["state"] == "waiting"
        assert other.send(b"c", name="c").json()["state"] == "waiting"

        world.store.remove("inbox", robot.key_of(b"a", "a"))  # as ingest does
        assert robot.send(b"c", name="c").json()["state"] == "waiting"


def test_bytes_that_wait_and_that_are_announced_count_at_a_restarted_gateway_too(world: GatewayWorld) -> None:
    limits = GatewayLimits(uploads=UploadLimits(waiting_bytes=3000, file_bytes=2000))
    with GatewayWorld(world.settings, limits).open() as first:
        robot = first.robot()
        robot.send(b"x" * 1000, name="sent")
        assert robot.ask(b"y" * 1500, name="begun").json()["state"] == "open"
        assert code_of(robot.ask(b"z" * 600, name="more")) == (429, "busy")
        assert robot.ask(b"z" * 500, name="small").json()["state"] == "open"
    with GatewayWorld(world.settings, limits).open() as second:
        moved = second.robot(robot.name + "-x")
        moved.name, moved.key = robot.name, robot.key
        assert code_of(moved.ask(b"w", name="other")) == (429, "busy")  # of what it did not begin the most is counted
        assert moved.ask(b"y" * 1500, name="begun").json()["state"] == "open"


def test_robot_that_opens_and_abandons_uploads_is_bounded_and_swept(world: GatewayWorld) -> None:
    limits = GatewayLimits(uploads=UploadLimits(open_uploads=3))
    with GatewayWorld(world.settings, limits).open() as small:
        robot = small.robot()
        for name in "abc":
            ticket = robot.ask(name.encode(), name=name).json()["ticket"]
            robot.put(ticket["links"][0], name.encode())
            assert small.http.put(ticket["links"][0]["url"], content=b"much more than was said").status_code == 403
        assert code_of(robot.ask(b"d", name="d")) == (429, "busy")
    with GatewayWorld(world.settings, limits).open() as restarted:
        moved = restarted.robot(robot.name + "-x")
        moved.name, moved.key = robot.name, robot.key
        assert code_of(moved.ask(b"d", name="d")) == (429, "busy")
        assert drop_abandoned_uploads(world.store) == 0
        dropped: list[int] = []

        def is_swept() -> bool:
            dropped.append(len(world.store.abandon_older_than("inbox", timedelta(0))))
            return not [u for u in world.store.all_open_uploads("inbox") if u.key.startswith(f"{robot.name}/")]

        assert _processes.wait_until(is_swept, 20)
        assert sum(dropped) >= 3
        assert moved.send(b"d", name="d").json()["state"] == "waiting"


def test_uploader_that_meets_a_full_quota_waits_with_one_alarm_and_collects_its_receipts(
    world: GatewayWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = GatewayLimits(uploads=UploadLimits(waiting_episodes=2))
    uploads = UploadWorld(world.settings, tmp_path)
    with GatewayWorld(world.settings, limits).open() as small:
        robot = f"robot-{secrets.token_hex(4)}"
        uploads.enrol(robot, small.url)
        uploader = uploads.uploader(robot)
        paths = [uploads.episode(robot, 2000, f"e{number}", seed=number) for number in range(6)]
        first = uploader.sync()
        assert first.sent == ["e0", "e1"]
        assert list(first.failed) == ["e2"]
        assert sorted(first.held) == ["e3", "e4", "e5"]
        uploader.sync()
        uploader.sync()
        assert [alarm.kind for alarm in uploader.spool.journal.alarms()] == ["gateway"]
        assert len([record for record in caplog.records if record.message.startswith("ALARM")]) == 1

        for path in paths[:2]:
            uploads.confirm(robot, path)
            world.store.remove("inbox", f"{robot}/{hashlib.sha256(path.read_bytes()).hexdigest()}/{path.stem}.h5")
        after = uploader.sync()
        assert (after.confirmed, after.sent) == (["e0", "e1"], ["e2", "e3"])
        for path in paths[2:4]:
            uploads.confirm(robot, path)
            world.store.remove("inbox", f"{robot}/{hashlib.sha256(path.read_bytes()).hexdigest()}/{path.stem}.h5")
        assert uploader.sync().sent == ["e4", "e5"]
        assert uploader.spool.journal.alarms() == []


# keys

P = 2**255 - 19
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
NOT_CANONICAL = [
    "0100000000000000000000000000000000000000000000000000000000000080",  # the neutral point with a sign
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # p, which is 0
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # p + 1, which is 1
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ff" * 32,
]


def signed_by_nobody(message: bytes) -> bytes | None:
    """R is the neutral point and S is 0: it verifies under the neutral point whatever is signed."""
    signature = bytes.fromhex(SMALL_ORDER[0]) + bytes(32)
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(SMALL_ORDER[0])).verify(signature, message)
    except InvalidSignature:
        return None
    return signature


def test_signature_that_nobody_made_verifies_under_a_key_of_small_order() -> None:
    """Show the need for the check: without it the library is content."""
    assert signed_by_nobody(b"one") == signed_by_nobody(b"another") is not None


def added_small_order(key: bytes) -> list[str]:
    """The key's point plus each point of small order: keys that libraries take and treat differently."""
    point = _keys._decoded(int.from_bytes(key, "little"))
    assert point
    found = []
    for small in SMALL_ORDER[1:]:
        other = _keys._decoded(int.from_bytes(bytes.fromhex(small), "little"))
        if other is None:
            continue
        x, y, z, _ = _keys._added(point, other)
        inverse = pow(z, -1, P)
        x, y = x * inverse % P, y * inverse % P
        found.append((y | (x & 1) << 255).to_bytes(32, "little").hex())
    return found


def test_keys_of_small_or_mixed_order_and_other_encodings_are_refused() -> None:
    mixed = added_small_order(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    assert len(mixed) >= 6
    for key in mixed:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))  # the library takes it
    for key in [*SMALL_ORDER, *NOT_CANONICAL, *mixed, "", "00", "zz" * 32, "02" + "00" * 31]:
        assert not is_sound_key(key), key
    for _ in range(20):
        assert is_sound_key(Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex())


@pytest.mark.parametrize("key", [SMALL_ORDER[0], SMALL_ORDER[4], NOT_CANONICAL[0]])
def test_key_that_anybody_can_sign_for_is_not_enrolled_nor_read(world: GatewayWorld, key: str) -> None:
    robot, token = world.invited()
    assert code_of(robot.enrol(token, public_key=key)) == (400, "malformed")
    assert robot.enrol(token).status_code == 200  # the token was not spent
    with pytest.raises(PromotionError, match="Ed25519 public key"):
        register_robot(world.store, "forged", key, hardware="test")
    with pytest.raises(InvalidDocumentError):
        Enrolment.parse(json.dumps({"robot": "r1", "receipt_keys": [key]}), source="test")
    with pytest.raises(ValueError, match="Ed25519"):
        publish_receipt_key(world.store, key)


def test_entry_of_an_earlier_day_with_such_a_key_lets_nobody_in_and_hides_nobody(world: GatewayWorld) -> None:
    robot = world.robot()
    entry = EnrolledRobot(robot="forged", public_key=robot.public_key, hardware="test", enrolled_at=datetime.now(UTC))
    document = entry.model_dump(mode="json") | {"public_key": SMALL_ORDER[0]}
    world.store.put("models", "fleet/forged.json", json.dumps(document).encode())
    body = b"{}"
    forger = type(robot)(world, "forged")
    head, claims, _ = forger.token("/v1/uploads", body).split(".")
    signature = signed_by_nobody(f"{head}.{claims}".encode())
    assert signature
    token = f"{head}.{claims}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    answer = world.post("/v1/uploads", body, {"Authorization": f"Bearer {token}"})

    assert code_of(answer) == (401, "unauthenticated")
    assert robot.name in {found.robot for found in fleet(world.store)}
