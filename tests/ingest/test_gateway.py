"""Who gets into the gateway: one-time tokens, and requests signed by the robot's own key."""

import base64
import hashlib
import hmac
import json
import secrets
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from components.contracts import Enrolment
from components.contracts.errors import PromotionError
from components.ingest import (
    GatewayLimits,
    enrolled_robot,
    fleet,
    invite_robot,
    register_robot,
    revoke_robot,
)
from tests.ingest.gateway_world import GatewayWorld, Robot, code_of, described, gateway_world

UPLOADS = "/v1/uploads"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path_factory.mktemp("gateway")) as world:
        yield world


# enrolment


def test_token_enrols_its_robot_and_tells_whose_receipts_count(world: GatewayWorld) -> None:
    robot, token = world.invited()
    answer = Enrolment.model_validate_json(robot.enrol(token).content)

    assert answer == Enrolment(robot=robot.name, receipt_keys=(world.receipt_key.public_key,))
    entry = enrolled_robot(world.store, robot.name)
    assert entry
    assert (entry.public_key, entry.hardware, entry.revoked) == (robot.public_key, "test", False)
    assert robot.ask(b"x").status_code == 200


def test_lost_answer_is_given_again_to_the_same_key_alone(world: GatewayWorld) -> None:
    robot, token = world.invited()
    thief = Robot(world, robot.name)

    assert robot.enrol(token).json() == robot.enrol(token).json()
    assert code_of(thief.enrol(token)) == (403, "bad-token")
    assert code_of(thief.ask(b"x")) == (401, "unauthenticated")


def test_of_two_keys_with_one_token_one_gets_in(world: GatewayWorld) -> None:
    robot, token = world.invited()
    rivals = [Robot(world, robot.name) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda rival: rival.enrol(token), rivals))

    winners = [rival for rival, answer in zip(rivals, answers, strict=True) if answer.status_code == 200]
    assert len(winners) == 1
    assert {code_of(answer) for answer in answers if answer.status_code != 200} == {(403, "bad-token")}
    entry = enrolled_robot(world.store, robot.name)
    assert entry
    assert entry.public_key == winners[0].public_key


def test_token_is_good_for_its_robot_alone(world: GatewayWorld) -> None:
    robot, token = world.invited()
    other, _ = world.invited()

    assert code_of(other.enrol(token)) == (403, "bad-token")
    assert enrolled_robot(world.store, other.name) is None
    assert robot.enrol(token).status_code == 200


def test_expired_token_and_guessed_ones_are_refused(world: GatewayWorld) -> None:
    robot = Robot(world, "robot-late")
    token = invite_robot(world.store, robot.name, life=timedelta(seconds=-1))

    for guess in (token, secrets.token_urlsafe(24), "a" * 16, "../../fleet/robot-late"):
        assert code_of(robot.enrol(guess)) == (403, "bad-token")
    assert enrolled_robot(world.store, robot.name) is None


def test_token_is_kept_nowhere(world: GatewayWorld) -> None:
    robot, token = world.invited()
    robot.enrol(token)
    kept = [(info.key, world.store.get("models", info.key)) for info in world.store.list("models")]

    assert not [key for key, data in kept if token in key or token.encode() in data]


def test_enrolled_robot_is_invited_again_only_to_be_replaced(world: GatewayWorld) -> None:
    robot, token = world.invited()
    robot.enrol(token)
    with pytest.raises(PromotionError, match="is enrolled"):
        invite_robot(world.store, robot.name)
    new = Robot(world, robot.name)
    again = invite_robot(world.store, robot.name, replace=True)

    assert new.enrol(again).status_code == 200
    assert code_of(robot.ask(b"x")) == (401, "unauthenticated")
    assert new.ask(b"x").status_code == 200
    assert code_of(robot.enrol(token)) == (403, "bad-token")  # its old token does not bring the old key back


def test_new_invitation_voids_the_one_before(world: GatewayWorld) -> None:
    robot, first = world.invited()
    second = invite_robot(world.store, robot.name)

    assert code_of(robot.enrol(first)) == (403, "bad-token")
    assert robot.enrol(second).status_code == 200


def test_invited_while_somebody_else_registered_does_not_overwrite(world: GatewayWorld) -> None:
    robot, token = world.invited()
    other = Robot(world, robot.name).public_key
    register_robot(world.store, robot.name, other, hardware="other")

    assert code_of(robot.enrol(token)) == (403, "bad-token")
    entry = enrolled_robot(world.store, robot.name)
    assert entry
    assert entry.public_key == other


def test_revoked_robot_is_refused_at_once_and_its_tokens_are_void(world: GatewayWorld) -> None:
    robot, token = world.invited()
    robot.enrol(token)
    outstanding = invite_robot(world.store, robot.name, replace=True)
    revoke_robot(world.store, robot.name)

    assert code_of(robot.ask(b"x")) == (403, "revoked")
    assert robot.name not in {entry.robot for entry in fleet(world.store)}
    for void in (token, outstanding):
        assert code_of(robot.enrol(void)) == (403, "bad-token")
    with pytest.raises(PromotionError, match="was revoked"):
        invite_robot(world.store, robot.name)

    assert robot.enrol(invite_robot(world.store, robot.name, replace=True)).status_code == 200
    assert robot.ask(b"x").status_code == 200


@pytest.mark.parametrize(
    ("claims", "answer"),
    [
        ({"iss": "robot-other"}, (401, "unauthenticated")),
        ({"aud": "another-gateway"}, (401, "unauthenticated")),
        ({"bsh": hashlib.sha256(b"another token").hexdigest()}, (401, "unauthenticated")),
        ({"bsh": None}, (401, "unauthenticated")),
        ({"jti": "short"}, (401, "unauthenticated")),
        ({"htu": "/v1/uploads"}, (401, "unauthenticated")),
        ({"htm": "GET"}, (401, "unauthenticated")),
        ({"iat": 0, "exp": 60}, (401, "clock")),
    ],
    ids=["iss", "aud", "bsh", "no bsh", "jti", "htu", "htm", "1970"],
)
def test_enrolment_signed_for_anything_else_is_refused_and_the_token_stays_good(
    world: GatewayWorld, claims: dict[str, Any], answer: tuple[int, str]
) -> None:
    robot, token = world.invited()

    assert code_of(robot.enrol(token, claims=claims)) == answer
    assert enrolled_robot(world.store, robot.name) is None
    assert robot.enrol(token).status_code == 200


def test_key_that_the_sender_does_not_hold_is_not_enrolled(world: GatewayWorld) -> None:
    thief, token = world.invited()
    victim, unsigned = world.robot(), {"robot": thief.name, "token": token, "public_key": thief.public_key}

    assert code_of(thief.enrol(token, public_key=victim.public_key)) == (401, "unauthenticated")
    refused = world.post("/v1/enrolments", json.dumps(unsigned).encode())
    assert code_of(refused) == (401, "unauthenticated")
    assert "signed by the key" in refused.json()["message"]
    assert enrolled_robot(world.store, thief.name) is None
    assert thief.enrol(token).status_code == 200


@pytest.mark.parametrize("how", ["enrolled", "revoked", "replaced", "of an earlier version"])
def test_key_of_another_robot_is_refused_also_to_who_holds_it(world: GatewayWorld, how: str) -> None:
    victim, token = world.invited()
    assert victim.enrol(token).status_code == 200
    if how == "revoked":
        assert revoke_robot(world.store, victim.name) == ()
    elif how == "replaced":
        again = invite_robot(world.store, victim.name, replace=True)
        assert Robot(world, victim.name).enrol(again).status_code == 200
    elif how == "of an earlier version":
        world.store.remove("models", f"robot-keys/{victim.public_key}.json")
    thief, token = world.invited()
    thief.key, own = victim.key, thief.key
    refused = thief.enrol(token)

    assert code_of(refused) == (409, "conflict")
    assert victim.name in refused.json()["message"]
    with pytest.raises(PromotionError, match="expected a key of the robot's own"):
        register_robot(world.store, thief.name, victim.public_key, hardware="test")
    assert enrolled_robot(world.store, thief.name) is None
    thief.key = own
    assert thief.enrol(token).status_code == 200  # the token was not spent


def test_of_two_robots_with_one_key_at_once_one_gets_in(world: GatewayWorld) -> None:
    rivals = [world.invited() for _ in range(4)]
    for robot, _ in rivals:
        robot.key = rivals[0][0].key
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda rival: rival[0].enrol(rival[1]), rivals))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    names = {robot.name for robot, _ in rivals}
    assert len(names & {entry.robot for entry in fleet(world.store)}) == 1


def test_registry_with_one_key_twice_is_read_and_revoking_one_names_the_other(world: GatewayWorld) -> None:
    robot = world.robot()
    entry = enrolled_robot(world.store, robot.name)
    assert entry
    twin = entry.model_copy(update={"robot": f"{robot.name}-twin"})
    world.store.put("models", f"fleet/{twin.robot}.json", twin.canonical_json())
    try:
        assert {robot.name, twin.robot} <= {found.robot for found in fleet(world.store)}
        assert revoke_robot(world.store, robot.name) == (twin.robot,)
    finally:
        world.store.remove("models", f"fleet/{twin.robot}.json")


def test_no_receipt_key_yet_is_told_and_the_token_stays_good(world: GatewayWorld) -> None:
    robot, token = world.invited()
    key = "receipt-keys/published.json"
    document = world.store.get("models", key)
    world.store.remove("models", key)
    try:
        assert code_of(robot.enrol(token)) == (503, "store")
    finally:
        world.store.put("models", key, document)
    assert robot.enrol(token).status_code == 200


# requests


@pytest.mark.parametrize(
    "changes",
    [
        {"htu": "/v1/uploads/complete"},
        {"htm": "GET"},
        {"bsh": hashlib.sha256(b"other").hexdigest()},
        {"aud": "somebody-else"},
        {"aud": None},
        {"iat": None},
        {"exp": None},
        {"jti": None},
        {"bsh": None},
        {"htu": None},
        {"htm": None},
        {"jti": "short"},
        {"jti": "j" * 200},
        {"jti": 12345678},
        {"iss": "../fleet"},
        {"iss": "nobody"},
        {"iat": "now"},
        {"iat": True},
        {"exp": float("inf")},
        {"iat": float("nan")},
        pytest.param({"exp": int(time.time()) + 3600}, id="exp in an hour"),
    ],
    ids=str,
)
def test_token_that_says_something_else_is_refused(world: GatewayWorld, changes: dict[str, Any]) -> None:
    assert code_of(world.robot().post(UPLOADS, described(b"x"), **changes)) == (401, "unauthenticated")


@pytest.mark.parametrize(
    "iat",
    [
        0,
        1,
        -100,
        pytest.param(int(time.time()) - 3600, id="an hour ago"),
        pytest.param(int(time.time()) + 3600, id="in an hour"),
        2_366_841_600,
    ],
)
def test_wrong_clock_is_told_the_time_and_gets_in_by_it(world: GatewayWorld, iat: int) -> None:
    robot = world.robot()
    refused = robot.post(UPLOADS, described(b"x"), iat=iat, exp=iat + 60)
    expected = (401, "clock") if iat >= 0 else (401, "unauthenticated")
    assert code_of(refused) == expected
    now = int(datetime.fromisoformat(refused.json()["now"]).timestamp())

    assert robot.post(UPLOADS, described(b"x"), iat=now, exp=now + 60).status_code == 200


def test_wrong_clock_is_told_only_to_robots_of_the_fleet(world: GatewayWorld) -> None:
    stranger = Robot(world, world.robot().name)

    assert code_of(stranger.post(UPLOADS, described(b"x"), iat=0, exp=60)) == (401, "unauthenticated")


def test_replayed_request_is_refused_even_when_many_come_at_once(world: GatewayWorld) -> None:
    robot = world.robot()
    body = json.dumps(described(b"x")).encode()
    headers = {"Authorization": f"Bearer {robot.token(UPLOADS, body)}"}
    with ThreadPoolExecutor(8) as pool:
        codes = [answer.status_code for answer in pool.map(lambda _: world.post(UPLOADS, body, headers), range(8))]

    assert sorted(codes) == [200, *[401] * 7]


def test_body_changed_on_the_way_is_refused(world: GatewayWorld) -> None:
    robot = world.robot()
    body = json.dumps(described(b"x")).encode()
    headers = {"Authorization": f"Bearer {robot.token(UPLOADS, body)}"}

    assert code_of(world.post(UPLOADS, body + b" ", headers)) == (401, "unauthenticated")
    assert world.post(UPLOADS, body, headers).status_code == 200  # the refusal did not use it up


def test_robot_is_not_another_one(world: GatewayWorld) -> None:
    robot, victim = world.robot(), world.robot()

    assert code_of(robot.post(UPLOADS, described(b"x"), iss=victim.name)) == (401, "unauthenticated")


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _hand_made(robot: Robot, header: dict[str, Any], signature: bytes | None = None) -> tuple[bytes, str]:
    body = json.dumps(described(b"x")).encode()
    start = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(robot.claims(UPLOADS, body)).encode())}"
    if signature is None:
        secret = robot.key.public_key().public_bytes_raw()
        signature = hmac.new(secret, start.encode(), hashlib.sha256).digest()
    return body, f"{start}.{_b64(signature)}"


@pytest.mark.parametrize(
    ("header", "signature"),
    [
        ({"alg": "none", "typ": "JWT"}, b""),
        ({"alg": "None"}, b""),
        ({"alg": "HS256", "typ": "JWT"}, None),
        ({"alg": "EdDSA"}, b""),
        ({"alg": "EdDSA"}, bytes(64)),
        ({"alg": "EdDSA", "crit": ["b64"], "b64": False}, bytes(64)),
        ({"alg": "EdDSA", "jwk": {"kty": "OKP"}, "kid": "../../x"}, bytes(64)),
        ({"alg": ["EdDSA"]}, bytes(64)),
        ({"alg": None}, bytes(64)),
        ({}, bytes(64)),
    ],
    ids=str,
)
def test_forged_signature_is_refused(world: GatewayWorld, header: dict[str, Any], signature: bytes | None) -> None:
    body, token = _hand_made(world.robot(), header, signature)

    assert code_of(world.post(UPLOADS, body, {"Authorization": f"Bearer {token}"})) == (401, "unauthenticated")


def test_key_that_the_token_brings_along_does_not_count(world: GatewayWorld) -> None:
    robot = world.robot()
    thief = Robot(world, robot.name)
    body = json.dumps(described(b"x")).encode()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": _b64(thief.key.public_key().public_bytes_raw())}
    token = jwt.encode(thief.claims(UPLOADS, body), thief.key, algorithm="EdDSA", headers={"jwk": jwk})

    assert code_of(world.post(UPLOADS, body, {"Authorization": f"Bearer {token}"})) == (401, "unauthenticated")


DEEP, ISS_7 = b"[" * 2_500, b'{"iss": 7}'


@pytest.mark.parametrize(
    "authorization",
    [
        None, "", "Bearer", "Basic dXNlcjpwYXNz", "Bearer a", "Bearer a.b.c", "Bearer ..", "Bearer " + "a" * 5000,
        f"Bearer {_b64(b'{}')}.{_b64(DEEP)}.x", f"Bearer {_b64(DEEP)}.{_b64(b'{}')}.x",
        f"Bearer {_b64(b'[]')}.{_b64(b'[]')}.", f"Bearer {_b64(b'{}')}.{_b64(b'7')}.",
        f"Bearer {_b64(bytes(range(256)))}.{_b64(b'{}')}.", f"Bearer {_b64(b'{' + b'9' * 3000)}.x.x",
        f"Bearer {_b64(b'{}')}.{_b64(ISS_7)}.x", "Bearer é.é.é".encode().decode("latin-1"),
    ],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
def test_damaged_authorization_is_refused(world: GatewayWorld, authorization: str | None) -> None:
    headers = {"Authorization": authorization.encode("latin-1")} if authorization is not None else {}

    assert code_of(world.post(UPLOADS, b"{}", headers)) == (401, "unauthenticated")  # type: ignore[arg-type]


# bounds


def test_large_body_is_refused_before_it_is_read(world: GatewayWorld) -> None:
    assert code_of(world.post("/v1/enrolments", b"x" * (64 * 1024 + 1))) == (413, "malformed")


def test_paths_and_methods_that_are_none_are_told_as_problems(world: GatewayWorld) -> None:
    for path in ("/", "/v1/uploads/", "/v1", "/v1/../healthz", "/docs", "/v1/uploads/complete/x", "/%00"):
        assert world.http.get(world.url + path).status_code in {200, 404}
        assert code_of(world.post(path, b"{}")) in {(404, "not-found"), (405, "not-found")}
    assert code_of(world.http.get(world.url + UPLOADS)) == (405, "not-found")
    assert code_of(world.http.request("BREW", world.url + UPLOADS)) == (405, "not-found")
    assert world.http.get(world.url + "/healthz").json() == {"ok": True}


def test_flood_of_one_robot_is_slowed_and_the_others_are_not(
    world: GatewayWorld, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with GatewayWorld(world.settings, GatewayLimits(requests_per_robot=5)).open() as narrow:
        flooder, other = narrow.robot(), narrow.robot()
        answers = [flooder.ask(b"x") for _ in range(7)]

        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
        assert code_of(answers[-1]) == (429, "busy")
        assert answers[-1].headers["retry-after"]
        assert other.ask(b"x").status_code == 200


def test_slow_body_is_cut_off(world: GatewayWorld) -> None:
    with GatewayWorld(world.settings, GatewayLimits(body_s=0.3)).open() as hasty:
        host, port = hasty.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as slow:
            slow.sendall(b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            answer = b""
            while b"\r\n\r\n{" not in answer:
                answer += slow.recv(65536)

        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"malformed"' in answer


def test_client_that_hangs_up_leaves_no_trace(world: GatewayWorld, caplog: pytest.LogCaptureFixture) -> None:
    host, port = world.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as rude:
        rude.sendall(b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")

    assert world.robot().ask(b"x").status_code == 200
    assert "Traceback" not in caplog.text


def test_store_away_is_a_problem_of_its_own_and_not_the_robots(world: GatewayWorld) -> None:
    from components.storage import S3Store

    gone = GatewayWorld(world.settings)
    robot = world.robot()
    secret = world.settings.gateway_s3_secret
    assert world.settings.gateway_s3_key
    assert secret
    with socket.create_server(("127.0.0.1", 0)) as port:
        nowhere = f"127.0.0.1:{port.getsockname()[1]}"
    gone.settings = world.settings.model_copy(update={"s3_endpoint": nowhere})
    with gone.open():
        assert isinstance(gone.store, S3Store)
        stranded = Robot(gone, robot.name)
        stranded.key = robot.key
        answer = stranded.ask(b"x")

    assert code_of(answer) == (503, "store")
    assert nowhere not in answer.text
    assert datetime.fromisoformat(answer.json()["now"]) <= datetime.now(UTC)
