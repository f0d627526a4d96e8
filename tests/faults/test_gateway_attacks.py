"""Rows 38 and 40: one robot under another's prefix, and a stolen robot; and what the gateway's own key is worth."""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import httpx
import pytest
import uvicorn

from components.contracts import PART_BYTES
from components.contracts.errors import StorageError
from components.ingest import gateway_app, revoke_robot
from components.promotion import fleet as assignable
from components.storage import connect
from infra import _processes
from infra.gateway import HastyProtocol
from tests.ingest.gateway_world import GatewayWorld, Robot, code_of, described, gateway_world

FILE = secrets.token_bytes(PART_BYTES + 10)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path_factory.mktemp("gateway")) as world:
        yield world


def _changed(url: str, *, path: str | None = None, **query: str | None) -> str:
    """A presigned link with its path or parts of its query replaced; None drops one."""
    parts = urlsplit(url)
    fields = {name: value for name, value in (dict(parse_qsl(parts.query)) | query).items() if value is not None}
    return urlunsplit(parts._replace(path=path or parts.path, query=urlencode(fields)))


def test_robot_that_names_another_ones_prefix_gets_its_own(world: GatewayWorld) -> None:
    thief, victim = world.robot(), world.robot()
    for name in (f"../../{victim.name}/x", f"{victim.name}/e", "..", "%2e%2e%2fe", "e/../../x", "e\\..\\x"):
        assert code_of(thief.ask(b"x", name=name)) == (400, "malformed")
    for extra in ({"robot": victim.name}, {"key": f"{victim.name}/x"}, {"prefix": "/"}):
        assert code_of(thief.post("/v1/uploads", described(b"x") | extra)) == (400, "malformed")
    path = urlsplit(thief.ask(b"x").json()["ticket"]["links"][0]["url"]).path

    assert path.startswith(f"/inbox/{thief.name}/")
    assert list(world.store.list("inbox", victim.name)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "victim"},
        {"path": "dots"},
        {"path": "bucket"},
        {"path": "records"},
        {"partNumber": "7"},
        {"uploadId": "victims"},
        {"uploadId": None, "partNumber": None},
        {"uploads": ""},
        {"X-Amz-Expires": "86400"},
        {"X-Amz-Credential": "platform/20260101/us-east-1/s3/aws4_request"},
        {"X-Amz-Signature": "0" * 64},
        {"X-Amz-Signature": None},
        {"X-Amz-SignedHeaders": ""},
        {"X-Amz-Date": "20200101T000000Z"},
        {"response-content-type": "text/html"},
        {"policy": ""},
        {"acl": ""},
        {"tagging": ""},
    ],
    ids=str,
)
def test_tampered_link_writes_nothing(world: GatewayWorld, changes: dict[str, str | None]) -> None:
    thief, victim = world.robot(), world.robot()
    theirs, ours = victim.ask(FILE).json()["ticket"], thief.ask(FILE).json()["ticket"]
    link = ours["links"][0]["url"]
    own = urlsplit(link).path
    paths = {
        "victim": own.replace(thief.name, victim.name),
        "dots": own.replace(thief.name, f"{thief.name}/../{victim.name}"),
        "bucket": own.replace("/inbox/", "/episodes/"),
        "records": "/models/fleet/" + thief.name + ".json",
    }
    if "path" in changes:
        changes = changes | {"path": paths[str(changes["path"])]}
    if changes.get("uploadId"):
        changes = changes | {"uploadId": theirs["upload_id"]}
    before = _everything(world)
    for method in ("PUT", "GET", "DELETE", "POST"):
        answer = world.http.request(method, _changed(link, **changes), content=b"evil")  # type: ignore[arg-type]
        assert answer.status_code >= 400, (method, answer.text)

    assert _everything(world) == before
    assert world.store.list_parts("inbox", victim.key_of(FILE), theirs["upload_id"]) == []


def test_link_to_a_part_reads_lists_and_removes_nothing(world: GatewayWorld) -> None:
    robot = world.robot()
    link = robot.ask(FILE).json()["ticket"]["links"][0]["url"]
    for method in ("GET", "HEAD", "DELETE", "POST"):
        assert world.http.request(method, link).status_code >= 400
    copying = {"x-amz-copy-source": "/models/" + quote(f"fleet/{robot.name}.json")}
    assert world.http.put(link, headers=copying).status_code >= 400
    assert world.store.list_parts("inbox", robot.key_of(FILE), robot.ask(FILE).json()["ticket"]["upload_id"]) == []


def test_link_of_a_completed_upload_changes_nothing(world: GatewayWorld) -> None:
    robot = world.robot()
    ticket = robot.ask(b"good").json()["ticket"]
    robot.put(ticket["links"][0], b"good")
    robot.complete(b"good", ticket["upload_id"])
    world.http.put(ticket["links"][0]["url"], content=b"evil")
    again = robot.complete(b"good", ticket["upload_id"])

    assert again.json()["state"] == "waiting"
    assert world.store.get("inbox", robot.key_of(b"good")) == b"good"


def test_robot_cannot_complete_anothers_upload(world: GatewayWorld) -> None:
    thief, victim = world.robot(), world.robot()
    ticket = victim.ask(b"x").json()["ticket"]
    victim.put(ticket["links"][0], b"x")

    assert code_of(thief.complete(b"x", ticket["upload_id"])) == (404, "not-found")
    assert victim.complete(b"x", ticket["upload_id"]).json()["state"] == "waiting"


def test_robot_revoked_in_mid_upload_completes_nothing_and_is_assigned_nothing(world: GatewayWorld) -> None:
    robot = world.robot()
    ticket = robot.ask(FILE).json()["ticket"]
    robot.put(ticket["links"][0], FILE)
    assert robot.name in {entry.robot for entry in assignable(world.store)}
    revoke_robot(world.store, robot.name)
    robot.put(ticket["links"][1], FILE)

    assert code_of(robot.complete(FILE, ticket["upload_id"])) == (403, "revoked")
    assert code_of(robot.ask(FILE)) == (403, "revoked")
    assert list(world.store.list("inbox", robot.name)) == []
    assert robot.name not in {entry.robot for entry in assignable(world.store)}


def test_gateways_own_key_reads_no_episode_removes_nothing_and_promotes_nothing(world: GatewayWorld) -> None:
    gateway = connect(world.settings, identity="gateway", patience=1)
    world.store.put("inbox", "robot/x", b"episode")
    world.store.put("models", "weights/w", b"weights")
    world.store.put("models", "fleet/somebody.json", b"{}")
    refused: list[Any] = [
        lambda: gateway.get("inbox", "robot/x"),
        lambda: gateway.remove("inbox", "robot/x"),
        lambda: gateway.remove("models", "fleet/somebody.json"),
        lambda: gateway.get("models", "weights/w"),
        lambda: gateway.put("models", "weights/w", b"evil"),
        lambda: gateway.put("models", "receipt-keys/published.json", b"evil"),
        lambda: gateway.put("receipts", "robot/x.json", b"evil"),
        lambda: gateway.put("releases", "metadata/timestamp.json", b"evil"),
        lambda: gateway.put("episodes", "x.h5", b"evil"),
        lambda: gateway.get("episodes", "x.h5"),
        lambda: list(gateway.list("episodes")),
        lambda: list(gateway.list("models")),
        lambda: gateway.put("reports", "evaluations/x/report.html", b"evil"),
        lambda: gateway.put("reports", "robots-evil/x", b"evil"),
        lambda: gateway.remove("reports", "robots/robot-1/00000001-00000001.json"),
    ]
    for call in refused:
        with pytest.raises(StorageError, match="not allowed"):
            call()

    assert world.store.get("inbox", "robot/x") == b"episode"


def test_gateway_killed_in_mid_upload_is_started_again_and_the_robot_goes_on(
    world: GatewayWorld, tmp_path: Path
) -> None:
    robot = world.robot()
    with _process(world, tmp_path) as (process, url):
        before = _at(url, robot)
        ticket = before.ask(FILE).json()["ticket"]
        before.put(ticket["links"][0], FILE)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with _process(world, tmp_path) as (process, url):
        after = _at(url, robot)

        def accepted() -> bool:
            """A token of the second in which it was started is refused, and the next one is not."""
            return after.ask(FILE).status_code == 200

        assert _processes.wait_until(accepted, 10)
        second = after.ask(FILE).json()["ticket"]
        assert second["upload_id"] == ticket["upload_id"]
        assert [part["number"] for part in second["done"]] == [1]
        assert after.send(FILE).json()["state"] == "waiting"

    logged = (tmp_path / "gateway.log").read_text()
    assert "Traceback" not in logged
    assert "X-Amz" not in logged


def test_connections_that_ask_for_nothing_are_closed(world: GatewayWorld) -> None:
    class VeryHasty(HastyProtocol):
        headers_s = 2

    config = uvicorn.Config(gateway_app(world.store), host="127.0.0.1", port=0, log_level="critical", http=VeryHasty)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert _processes.wait_until(lambda: server.started, 10)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        silent = socket.create_connection(("127.0.0.1", port), timeout=10)
        half = socket.create_connection(("127.0.0.1", port), timeout=10)
        half.sendall(b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        again = socket.create_connection(("127.0.0.1", port), timeout=10)
        again.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert again.recv(65536).startswith(b"HTTP/1.1 200")
        again.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        for connection in (silent, half, again):
            with connection:
                while connection.recv(65536):
                    pass
    finally:
        server.should_exit = True
        thread.join(10)


class _process:  # noqa: N801  # used as a function
    """`python -m infra.gateway` as the stack starts it, without Prefect."""

    def __init__(self, world: GatewayWorld, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        secret = world.settings.gateway_s3_secret
        assert secret
        self._env = os.environ | {
            "DROVER_HOME": str(folder / "home"),
            "DROVER_S3_ENDPOINT": str(world.settings.s3_endpoint),
            "DROVER_GATEWAY_S3_KEY": str(world.settings.gateway_s3_key),
            "DROVER_GATEWAY_S3_SECRET": secret.get_secret_value(),
            "DROVER_PREFECT_API_URL": "http://127.0.0.1:9/api",  # Prefect is down: uploads go on
        }
        self._log = folder / "gateway.log"

    def __enter__(self) -> tuple[subprocess.Popen[bytes], str]:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "infra.gateway", str(self._port)]
            self.process = subprocess.Popen(command, env=self._env, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{self._port}"
        assert _processes.wait_until(lambda: _answers(url), 60)
        return self.process, url

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url + "/healthz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _at(url: str, robot: Robot) -> Robot:
    """The same robot, talking to another gateway."""
    world = GatewayWorld(robot.world.settings)
    world.http.close()
    world.http, world.url = robot.world.http, url
    moved = Robot(world, robot.name)
    moved.key = robot.key
    return moved


def _everything(world: GatewayWorld) -> dict[str, int]:
    found = {}
    for bucket in ("inbox", "episodes", "models", "receipts", "releases"):
        found |= {f"{bucket}/{info.key}": info.size for info in world.store.list(bucket)}
    return found


def test_answers_name_no_secret_and_no_trace(world: GatewayWorld) -> None:
    robot = world.robot()
    body = json.dumps(described(b"x")).encode()
    answers = [
        robot.ask(b"x"),
        robot.complete(b"x", "u"),
        world.post("/v1/uploads", body, {"Authorization": "Bearer a.b.c"}),
        world.post("/v1/enrolments", b"{}"),
        world.http.get(world.url + "/openapi.json"),
    ]
    secret = world.settings.gateway_s3_secret
    assert secret
    for answer in answers:
        assert secret.get_secret_value() not in answer.text
        assert not re.search(r"Traceback|File \"|/components/ingest|site-packages", answer.text)
