"""Robots' reports over the gateway: signed by their own key, numbered, bounded, written once."""

import hashlib
import json
from collections.abc import Iterator

import pytest

from components.contracts import ReportAnswer
from components.ingest import GatewayLimits, revoke_robot
from tests.ingest.gateway_world import GatewayWorld, code_of, gateway_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    limits = GatewayLimits(reports_per_hour=40)
    with gateway_world(tmp_path_factory.mktemp("gateway"), limits) as world:
        yield world


def kept(world: GatewayWorld, robot: str) -> dict[str, bytes]:
    keys = [info.key for info in world.store.list("reports", f"robots/{robot}/")]
    return {key.rpartition("/")[2]: world.store.get("reports", key) for key in keys}


def test_report_is_kept_under_its_number_and_the_answer_names_its_bytes(world: GatewayWorld) -> None:
    robot = world.robot()
    signed = robot.report(seq=3, count=17)
    answer = robot.send_report(signed)

    assert answer.status_code == 200
    said = ReportAnswer.model_validate_json(answer.content)
    assert (said.robot, said.seq, said.count) == (robot.name, 3, 17)
    assert said.sha256 == hashlib.sha256(signed.canonical_json()).hexdigest()
    assert kept(world, robot.name) == {"00000003-00000017.json": signed.canonical_json()}


def test_same_report_again_is_the_same_answer_and_another_of_its_number_a_conflict(world: GatewayWorld) -> None:
    robot = world.robot()
    failed, good = robot.report(state="QUARANTINE", reason="non-finite action"), robot.report()
    first = robot.send_report(failed)

    assert robot.send_report(failed).content == first.content
    assert code_of(robot.send_report(good)) == (409, "conflict")
    assert list(kept(world, robot.name).values()) == [failed.canonical_json()]


def test_number_that_junk_holds_is_a_conflict_and_the_junk_stays(world: GatewayWorld) -> None:
    robot = world.robot()
    key = f"robots/{robot.name}/00000001-00000001.json"
    for junk in (b"", b"x" * 100_000):
        world.store.put("reports", key, junk)
        assert code_of(robot.send_report(robot.report())) == (409, "conflict")
        assert world.store.get("reports", key) == junk


def test_report_of_another_robot_is_refused_whoever_signed_it(world: GatewayWorld) -> None:
    victim, thief = world.robot(), world.robot()

    assert code_of(thief.send_report(victim.report())) == (401, "unauthenticated")
    assert code_of(thief.send_report(thief.report(robot=victim.name))) == (401, "unauthenticated")
    assert code_of(victim.send_report(thief.report(robot=victim.name))) == (401, "unauthenticated")
    assert kept(world, victim.name) == kept(world, thief.name) == {}


def test_report_without_a_token_of_its_own_is_refused(world: GatewayWorld) -> None:
    robot = world.robot()
    body = robot.report().canonical_json()

    assert code_of(world.post("/v1/reports", body)) == (401, "unauthenticated")
    token = robot.token("/v1/uploads", body)
    assert code_of(world.post("/v1/reports", body, {"Authorization": f"Bearer {token}"})) == (401, "unauthenticated")
    revoked = world.robot()
    revoke_robot(world.store, revoked.name)
    assert code_of(revoked.send_report(revoked.report())) == (403, "revoked")
    assert kept(world, robot.name) == kept(world, revoked.name) == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"seq": 2**53}, {"seq": -1}, {"count": 2**63}, {"count": 10**400}, {"trials": 10**9}, {"successes": 3},
        {"p50_ms": 1e300}, {"p99_ms": -1.0}, {"p50_ms": "NaN"}, {"reason": "x" * 501}, {"provider": "x" * 129},
        {"provider": "\x1b[31m"}, {"fingerprint": "a\nb"}, {"deployment": "../../evaluations"},
        {"deployment": "d" * 64}, {"release": "[red]"}, {"attempted": ""}, {"state": "DONE"},
        {"robot": "../other"}, {"more": 1},
    ],
)  # fmt: skip
def test_report_out_of_bounds_is_malformed(world: GatewayWorld, fields: dict[str, object]) -> None:
    robot = world.robot()
    document = json.loads(robot.report().canonical_json())
    document["report"] |= fields

    assert code_of(robot.post("/v1/reports", document)) == (400, "malformed")
    assert kept(world, robot.name) == {}


def test_largest_report_is_small(world: GatewayWorld) -> None:
    robot = world.robot()
    signed = robot.report(
        seq=2**53 - 1, count=2**53 - 1, reason="\x01" * 500, provider="\U0001f916" * 128, fingerprint="f" * 160
    )

    assert robot.send_report(signed).status_code == 200
    ((name, document),) = kept(world, robot.name).items()
    assert name == f"{2**53 - 1}-{2**53 - 1}.json"
    assert len(document) < 5_000


def test_robot_that_reports_without_end_is_told_to_wait_and_no_other_is(world: GatewayWorld) -> None:
    flooding, other = world.robot(), world.robot()
    codes = [flooding.send_report(flooding.report(count=count)).status_code for count in range(1, 45)]

    assert codes == [200] * 40 + [429] * 4
    assert len(kept(world, flooding.name)) == 40
    assert other.send_report(other.report()).status_code == 200
