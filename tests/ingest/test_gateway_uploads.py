"""What the gateway does for robots that it has let in: open, go on with, complete; and what it makes of lies."""

import hashlib
import json
import logging
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from components.contracts import PART_BYTES, GatewayProblem, Receipt, UploadAnswer
from components.contracts.errors import BrokenUploadError
from components.ingest import GatewayLimits, Limits, UploadLimits
from components.storage import S3Store
from tests.ingest.gateway_world import GatewayWorld, Robot, code_of, described, gateway_world

TWO_PARTS = secrets.token_bytes(PART_BYTES + 1000)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path_factory.mktemp("gateway")) as world:
        yield world


def code_or_state(answer: httpx.Response) -> str:
    document = answer.json()
    return str(document.get("state") or document["code"])


def _receipt(world: GatewayWorld, robot: Robot, file: bytes, **changes: Any) -> bytes:
    receipt = Receipt(
        robot=robot.name, name="e", sha256=hashlib.sha256(file).hexdigest(), size=len(file), status="accepted",
        issued_at=datetime.now(UTC),
    )  # fmt: skip
    return world.receipt_key.sign(receipt.model_copy(update=changes)).canonical_json()


def _settle(world: GatewayWorld, robot: Robot, file: bytes) -> bytes:
    """As ingest does: the receipt first, then out of the inbox."""
    document = _receipt(world, robot, file)
    world.store.put("receipts", f"{robot.name}/{hashlib.sha256(file).hexdigest()}.json", document)
    world.store.remove("inbox", robot.key_of(file))
    return document


def test_upload_in_parts_arrives_whole_under_the_robots_own_prefix(world: GatewayWorld) -> None:
    robot = world.robot()
    opened = UploadAnswer.model_validate_json(robot.ask(TWO_PARTS).content)
    assert opened.ticket
    assert opened.ticket.part_bytes == PART_BYTES
    assert [(link.number, link.size) for link in opened.ticket.links] == [(1, PART_BYTES), (2, 1000)]
    assert timedelta(0) < opened.ticket.expires_at - datetime.now(UTC) <= timedelta(minutes=15)

    assert robot.send(TWO_PARTS).json()["state"] == "waiting"
    assert world.store.get("inbox", robot.key_of(TWO_PARTS)) == TWO_PARTS
    assert world.told[-1] == robot.name


def test_interrupted_upload_goes_on_where_it_stopped_at_another_gateway(world: GatewayWorld) -> None:
    robot = world.robot()
    first = robot.ask(TWO_PARTS).json()["ticket"]
    robot.put(first["links"][0], TWO_PARTS)
    with GatewayWorld(world.settings).open() as restarted:
        moved = Robot(restarted, robot.name)
        moved.key = robot.key
        second = moved.ask(TWO_PARTS).json()["ticket"]

        assert second["upload_id"] == first["upload_id"]
        assert [(part["number"], part["size"]) for part in second["done"]] == [(1, PART_BYTES)]
        assert [link["number"] for link in second["links"]] == [2]
        assert moved.put(second["links"][0], TWO_PARTS).status_code == 200
        assert moved.complete(TWO_PARTS, second["upload_id"]).json()["state"] == "waiting"


def test_expired_links_are_renewed_by_asking_again(world: GatewayWorld) -> None:
    limits = GatewayLimits(uploads=UploadLimits(link_life=timedelta(seconds=4)))
    with GatewayWorld(world.settings, limits).open() as brief:
        robot = brief.robot()
        link = robot.ask(b"late").json()["ticket"]["links"][0]
        deadline = datetime.now(UTC) + timedelta(seconds=20)
        while robot.put(link, b"late").status_code == 200:
            assert datetime.now(UTC) < deadline
        assert robot.put(link, b"late").status_code == 403

        assert robot.send(b"late").json()["state"] == "waiting"


def test_part_of_another_size_is_asked_for_again_and_never_completed(world: GatewayWorld) -> None:
    robot = world.robot()
    ticket = robot.ask(b"four").json()["ticket"]
    for lie in (b"fou", b"fourfive", b""):
        world.http.put(ticket["links"][0]["url"], content=lie)
        assert robot.ask(b"four").json()["ticket"]["done"] == []
        assert code_of(robot.complete(b"four", ticket["upload_id"])) == (409, "incomplete")
    deadline = datetime.now(UTC) + timedelta(seconds=20)  # of parts sent within one second SeaweedFS may show either
    robot.put(ticket["links"][0], b"four")
    while code_or_state(robot.complete(b"four", ticket["upload_id"])) != "waiting":
        assert datetime.now(UTC) < deadline
        robot.put(ticket["links"][0], b"four")

    assert world.store.get("inbox", robot.key_of(b"four")) == b"four"


def test_upload_that_a_killed_store_broke_is_begun_anew(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    robot = world.robot()
    upload = robot.ask(b"one").json()["ticket"]["upload_id"]
    robot.put(robot.ask(b"one").json()["ticket"]["links"][0], b"one")

    def broken(*_: object, **__: object) -> None:
        raise BrokenUploadError("listed, and not there")

    with monkeypatch.context() as patch:
        patch.setattr(S3Store, "complete_parts", broken)
        assert code_of(robot.complete(b"one", upload)) == (404, "not-found")

    assert robot.ask(b"one").json()["ticket"]["upload_id"] != upload
    assert robot.send(b"one").json()["state"] == "waiting"
    assert world.store.get("inbox", robot.key_of(b"one")) == b"one"


def test_completion_with_missing_parts_names_them(world: GatewayWorld) -> None:
    robot = world.robot()
    ticket = robot.ask(TWO_PARTS).json()["ticket"]
    robot.put(ticket["links"][0], TWO_PARTS)
    answer = robot.complete(TWO_PARTS, ticket["upload_id"])

    assert code_of(answer) == (409, "incomplete")
    assert answer.json()["message"].endswith(": 2")
    assert list(world.store.list("inbox", robot.name)) == []


def test_size_that_grows_or_shrinks_between_open_and_complete_is_refused(world: GatewayWorld) -> None:
    robot = world.robot()
    ticket = robot.ask(b"four").json()["ticket"]
    robot.put(ticket["links"][0], b"four")

    for size in (3, 5, PART_BYTES + 4):
        assert code_of(robot.complete(b"four", ticket["upload_id"], size=size)) == (409, "incomplete")


def test_too_large_episode_is_refused_before_anything_is_opened(world: GatewayWorld) -> None:
    robot = world.robot()
    for size in (Limits().file_bytes + 1, 10**18, 10**300, 10**4000):
        assert code_of(robot.ask(b"x", size=size))[1] in {"too-large", "malformed"}
        assert code_of(robot.complete(b"x", "u", size=size))[1] in {"too-large", "malformed"}
    assert code_of(robot.ask(b"x", size=Limits().file_bytes + 1)) == (413, "too-large")

    assert world.store.open_uploads("inbox", robot.key_of(b"x")) == []


def test_completed_twice_is_one_episode_and_one_answer(world: GatewayWorld) -> None:
    robot = world.robot()
    ticket = robot.ask(b"x").json()["ticket"]
    robot.put(ticket["links"][0], b"x")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: robot.complete(b"x", ticket["upload_id"]), range(6)))

    assert {code_or_state(answer) for answer in answers} == {"waiting"}
    assert [info.key for info in world.store.list("inbox", robot.name)] == [robot.key_of(b"x")]


def test_of_two_uploads_of_one_episode_the_second_finds_the_first(world: GatewayWorld) -> None:
    robot, key = world.robot(), ""
    ticket = robot.ask(b"x").json()["ticket"]
    key = robot.key_of(b"x")
    stray = world.store.begin_parts("inbox", key)
    robot.put(ticket["links"][0], b"x")

    assert robot.complete(b"x", ticket["upload_id"]).json()["state"] == "waiting"
    assert stray not in world.store.open_uploads("inbox", key)
    assert robot.ask(b"x").json()["state"] == "waiting"


def test_object_that_is_there_is_never_overwritten(world: GatewayWorld) -> None:
    robot = world.robot()
    ticket = robot.ask(b"x").json()["ticket"]
    robot.put(ticket["links"][0], b"x")
    world.store.put("inbox", robot.key_of(b"x"), b"other")

    assert code_of(robot.complete(b"x", ticket["upload_id"])) == (409, "conflict")
    assert code_of(robot.ask(b"x")) == (409, "conflict")
    assert world.store.get("inbox", robot.key_of(b"x")) == b"other"


def test_settled_upload_is_answered_with_its_receipt_for_ever(world: GatewayWorld) -> None:
    robot = world.robot()
    ticket = robot.ask(b"x").json()["ticket"]
    robot.put(ticket["links"][0], b"x")
    robot.complete(b"x", ticket["upload_id"])
    document = _settle(world, robot, b"x")

    for answer in (robot.ask(b"x"), robot.complete(b"x", ticket["upload_id"]), robot.ask(b"x", name="renamed")):
        settled = UploadAnswer.model_validate_json(answer.content)
        assert settled.state == "settled"
        assert settled.receipt
        assert settled.receipt.canonical_json() == document
    assert code_of(robot.ask(b"x", size=2)) == (409, "conflict")
    assert list(world.store.list("inbox", robot.name)) == []


def test_receipt_of_another_robot_is_not_shown(world: GatewayWorld) -> None:
    victim, curious = world.robot(), world.robot()
    _settle(world, victim, b"secret")

    assert curious.ask(b"secret").json()["state"] == "open"


def test_receipt_that_cannot_be_read_is_as_none(world: GatewayWorld) -> None:
    robot = world.robot()
    world.store.put("receipts", f"{robot.name}/{hashlib.sha256(b'x').hexdigest()}.json", b"{")

    assert robot.ask(b"x").json()["state"] == "open"


def test_unknown_upload_is_not_found(world: GatewayWorld) -> None:
    robot, other = world.robot(), world.robot()
    theirs = other.ask(b"x").json()["ticket"]["upload_id"]
    for upload_id in ("u", theirs, "../../models", "%2e%2e/x", "a" * 1024, "\x00", "?uploadId=1&x", "é"):
        assert code_of(robot.complete(b"x", upload_id)) == (404, "not-found")


def test_links_are_few_and_the_rest_comes_when_asked_again(world: GatewayWorld) -> None:
    with GatewayWorld(world.settings, GatewayLimits(uploads=UploadLimits(links=1))).open() as narrow:
        robot = narrow.robot()
        ticket = robot.ask(TWO_PARTS).json()["ticket"]
        assert [link["number"] for link in ticket["links"]] == [1]
        assert robot.send(TWO_PARTS).json()["state"] == "waiting"
    assert len(world.robot().ask(b"x", size=Limits().file_bytes).json()["ticket"]["links"]) == UploadLimits().links


def test_robot_that_opens_and_never_completes_is_stopped_and_may_go_on(world: GatewayWorld) -> None:
    with GatewayWorld(world.settings, GatewayLimits(uploads=UploadLimits(open_uploads=3))).open() as narrow:
        robot, other = narrow.robot(), narrow.robot()
        for number in range(3):
            assert robot.ask(b"x", name=f"e{number}").status_code == 200
        assert code_of(robot.ask(b"x", name="e3")) == (429, "busy")
        assert other.ask(b"x").status_code == 200
        assert robot.send(b"x", name="e0").json()["state"] == "waiting"
        assert robot.ask(b"x", name="e3").status_code == 200


def test_start_of_ingest_that_fails_is_not_the_robots_trouble(
    world: GatewayWorld, caplog: pytest.LogCaptureFixture
) -> None:
    class Deaf(list[str]):
        def append(self, _: str) -> None:
            raise OSError("Prefect is down")

    deaf = GatewayWorld(world.settings)
    deaf.told = Deaf()
    with deaf.open():
        assert deaf.robot().send(b"x").json()["state"] == "waiting"
    assert "its schedule will do" in caplog.text


def test_nothing_secret_reaches_the_log(world: GatewayWorld, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="components"):
        robot, token = world.invited()
        robot.enrol(token)
        robot.enrol("x" * 32)
        robot.send(b"logged")
        robot.complete(b"logged", "no-such-upload")
        body = json.dumps(described(b"y")).encode()
        bearer = robot.token("/v1/uploads", body)
        world.post("/v1/uploads", body + b"!", {"Authorization": f"Bearer {bearer}"})

    secret = world.settings.gateway_s3_secret
    assert secret
    for word in (token, bearer, "X-Amz-Signature", secret.get_secret_value()):
        assert word not in caplog.text


# whatever a robot may say

HOSTILE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40), st.binary(max_size=20).map(repr),
    st.sampled_from(["../x", "a/b", "", "\x00", "a" * 5000, "\ud800", 10**400, -1, 0, [], {}, "e\n", "é", ".."]),
)  # fmt: skip
RAW = [b"[" * 60_000, b'{"size":%s}' % (b"9" * 5000)]
FIELDS = st.sampled_from(["name", "sha256", "size", "upload_id", "robot", "token", "public_key", "hardware", "extra"])


@given(
    path=st.sampled_from(["/v1/uploads", "/v1/uploads/complete", "/v1/enrolments"]),
    changes=st.dictionaries(FIELDS, HOSTILE, max_size=4),
    dropped=st.sets(FIELDS, max_size=2),
    raw=st.one_of(st.none(), st.binary(max_size=200), st.sampled_from(RAW)),
)
@example(path="/v1/uploads", changes={"name": "\ud800"}, dropped=set(), raw=None)
@example(path="/v1/uploads", changes={"size": 10**4299}, dropped=set(), raw=None)
@example(path="/v1/uploads", changes={}, dropped=set(), raw=b'{"\\ud800": 1}')
@example(path="/v1/uploads", changes={}, dropped=set(), raw=b'{"' + b"k" * 60_000 + b'": 1}')
@example(path="/v1/uploads", changes={}, dropped=set(), raw=b'{"size": 1e999, "name": NaN}')
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_is_answered_in_the_protocol(
    world: GatewayWorld, path: str, changes: dict[str, Any], dropped: set[str], raw: bytes | None
) -> None:
    robot = _fuzzer(world)
    whole = described(b"x") | {"upload_id": "u"}
    if path == "/v1/enrolments":
        whole = {"robot": robot.name, "token": "t" * 32, "public_key": robot.public_key, "hardware": "x"}
    elif path == "/v1/uploads":
        del whole["upload_id"]
    document = {name: value for name, value in (whole | changes).items() if name not in dropped}
    answer = robot.post(path, raw if raw is not None else json.dumps(document).encode())

    assert answer.status_code in {200, 400, 401, 403, 404, 409, 413}, answer.text
    if answer.status_code == 200:
        assert UploadAnswer.model_validate_json(answer.content).state in {"open", "waiting"}
    else:
        problem = GatewayProblem.model_validate_json(answer.content)
        assert problem.code not in {"store", "busy"}
        assert len(problem.message) <= 400


def _fuzzer(world: GatewayWorld) -> Robot:
    if not hasattr(world, "fuzzer"):
        world.fuzzer = world.robot()  # type: ignore[attr-defined]
    return world.fuzzer  # type: ignore[attr-defined,no-any-return]
