"""Prefect's server alone: without its credential, under a foreign name or from a foreign page it does nothing."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as open_socket

from components.contracts import Settings
from infra._identities import tokens
from infra._prefect import client_environment
from infra.local import some_parts
from tests.browser import attack_from_a_page, visit

pytestmark = pytest.mark.timeout(300)

OPEN = {("get", "/api/health"), ("get", "/api/ready")}
POOL = {"name": "intruder", "type": "process"}
KINDS = ("flows", "deployments", "work_pools", "flow_runs", "variables", "block_documents")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with some_parts(Settings(home=tmp_path_factory.mktemp("home")), "prefect") as running:
        yield running.settings


@pytest.fixture
def origin(server: Settings) -> str:
    return str(server.prefect_api_url).removesuffix("/api")


@pytest.fixture
def owner(server: Settings, origin: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=origin, auth=_auth(server), timeout=60) as client:
        yield client


def _secret(server: Settings) -> str:
    assert server.prefect_auth is not None
    return server.prefect_auth.get_secret_value()


def _auth(server: Settings) -> tuple[str, str]:
    user, password = _secret(server).split(":")
    return user, password


def _everything(owner: httpx.Client) -> dict[str, int]:
    found = {}
    for kind in KINDS:
        answer = owner.post(f"/api/{kind}/filter", json={})
        assert answer.status_code == 200, answer.text
        found[kind] = len(answer.json())
    return found


def _sockets() -> list[str]:
    """Every WebSocket of the server, from its own routers."""
    from fastapi.routing import APIWebSocketRoute
    from prefect.server.api.server import API_ROUTERS

    routes = [route for router in API_ROUTERS for route in router.routes if isinstance(route, APIWebSocketRoute)]
    return [f"/api{re.sub('{[^}]*}', 'drover', route.path)}" for route in routes]


def _answer(address: str, protocols: list[str] | None, first: object) -> object:
    """Send a first message to a WebSocket, and return its answer."""
    with open_socket(address, subprotocols=protocols) as line:  # type: ignore[arg-type]
        line.send(json.dumps(first))
        return json.loads(line.recv(timeout=30))


def test_every_operation_without_the_credential_is_refused(owner: httpx.Client, origin: str) -> None:
    paths = owner.get("/api/openapi.json").json()["paths"]
    operations = {
        (method, f"/api{re.sub('{[^}]*}', '00000000-0000-0000-0000-000000000000', path)}")
        for path, methods in paths.items()
        for method in methods
    }
    extra = (
        "/api/docs",
        "/api/openapi.json",
        "/api/redoc",
        "/api/static/x",
        "/api/metrics",
        "/api/csrf-token?client=x",
    )
    operations |= {("get", path) for path in extra} | {("post", "/api/health"), ("get", "/api/variables/name/health")}
    assert len(operations) > 150

    with httpx.Client(base_url=origin, timeout=60) as stranger:
        answered = {(method, path) for method, path in operations if stranger.request(method, path).status_code != 401}
        assert answered == OPEN
        for wrong in ("", "Basic", f"Bearer {base64.b64encode(b'drover:x').decode()}", "Basic !", "Basic ZHJvdmVyOng="):
            answer = stranger.post("/api/flows/filter", headers={"Authorization": wrong}, json={})
            assert answer.status_code == 401, wrong


def test_gateways_credential_says_that_something_waits_and_does_nothing_else(
    server: Settings, owner: httpx.Client, origin: str
) -> None:
    user, _, password = tokens(server.home).prefect_gateway.partition(":")
    operations = [(m, p) for p, methods in owner.get("/api/openapi.json").json()["paths"].items() for m in methods]
    before = _everything(owner)

    with httpx.Client(base_url=origin, auth=(user, password), timeout=60) as gateway:
        allowed = set()
        for method, path in operations:
            filled = f"/api{re.sub('{[^}]*}', '00000000-0000-0000-0000-000000000000', path)}"
            if gateway.request(method, filled).status_code != 401:
                allowed.add((method, path))
        assert allowed == {("get", "/health"), ("get", "/ready"), ("post", "/events"), ("post", "/flow_runs/count")}
        assert gateway.get("/api/deployments/name/ingest-episodes/on-upload").status_code == 404  # none is registered
        assert gateway.get("/api/deployments/name/train-and-promote/nightly").status_code == 401
        for path in ("/api/events/", "/api//events", "/api/events/../flows/", "/api/events/filter"):
            assert gateway.post(path, json=[]).status_code in {401, 404, 307}, path
    assert _everything(owner) == before


def test_every_websocket_without_the_credential_is_closed_with_nothing_told(server: Settings, origin: str) -> None:
    paths = _sockets()
    assert {"/api/events/in", "/api/events/out", "/api/logs/out", "/api/work_pools/drover/workers/connect"} <= set(
        paths
    )
    for path in paths:
        address = origin.replace("http", "ws") + path
        with pytest.raises((ConnectionClosed, InvalidStatus)):
            _answer(address, None, {"type": "auth", "token": _secret(server)})
        for first in ({"type": "auth"}, {"type": "auth", "token": "drover:x"}, {"type": "subscribe"}):
            with pytest.raises(ConnectionClosed):
                _answer(address, ["prefect"], first)

    address = origin.replace("http", "ws") + "/api/events/in"
    answer = _answer(address, ["prefect"], {"type": "auth", "token": _secret(server)})
    assert answer == {"type": "auth_success"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"}, {"Host": "127.0.0.1.nip.io"}, {"Origin": "https://evil.example"},
        {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "http://localhost:4200"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    ],
)  # fmt: skip
def test_foreign_host_or_page_is_refused_even_with_the_credential(
    server: Settings, owner: httpx.Client, origin: str, headers: dict[str, str]
) -> None:
    before = _everything(owner)

    assert owner.post("/api/work_pools/", json=POOL, headers=headers).status_code in {403, 421}
    assert owner.get("/api/health", headers=headers).status_code in {403, 421}
    assert owner.get("/", headers=headers).status_code in {403, 421}
    assert _everything(owner) == before
    extra = {name: value for name, value in headers.items() if name != "Host"}
    if extra:
        with pytest.raises(InvalidStatus):
            open_socket(
                origin.replace("http", "ws") + "/api/events/in",
                additional_headers=extra,
                subprotocols=["prefect"],  # type: ignore[list-item]
            )


def test_page_in_a_browser_changes_and_reads_nothing(owner: httpx.Client, origin: str, tmp_path: Path) -> None:
    before = _everything(owner)
    bodies = [("/api/flows/", '{"name": "intruder"}'), ("/api/work_pools/", json.dumps(POOL))]
    bodies += [("/api/variables/", '{"name": "intruder", "value": 1}'), ("/api/deployments/", '{"name": "intruder"}')]
    for host in ("localhost", "127.0.0.1"):  # another site, and another origin of this one
        seen = attack_from_a_page(
            origin,
            tmp_path / host,
            bodies=bodies,
            paths=["/api/health", "/ui-settings", "/"],
            sockets=["/api/events/in"],
            host=host,
        )
        for word in ("READ", "OPENED", "[script: loaded]", "[img: loaded]"):
            assert word not in seen
    assert _everything(owner) == before

    rebound = visit(
        origin.replace("127.0.0.1", "rebound.example") + "/api/health",
        tmp_path / "rebound",
        "--host-resolver-rules=MAP rebound.example 127.0.0.1",
    )
    assert "expected a Host header that names this server" in rebound


def test_prefects_own_page_asks_for_the_credential_and_loads_nothing_from_elsewhere(
    owner: httpx.Client, origin: str
) -> None:
    page = httpx.get(origin + "/", follow_redirects=True, timeout=60)
    assert page.status_code == 200
    assert "<html" in page.text
    assert httpx.get(f"{origin}/ui-settings", timeout=60).json()["auth"] == "BASIC"
    for path in ("/docs", "/docs/", "/redoc", "/openapi.json"):
        assert owner.get(path).status_code == 404


def test_client_with_the_environment_that_drover_env_prints_is_served(server: Settings, tmp_path: Path) -> None:
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "work-pool", "ls"]

    served = subprocess.run(
        command, env=clean | client_environment(server), capture_output=True, text=True, timeout=120, check=False
    )
    assert served.returncode == 0, served.stdout + served.stderr

    without = clean | {"PREFECT_API_URL": str(server.prefect_api_url)}
    refused = subprocess.run(command, env=without, capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode != 0
    assert "401" in refused.stdout + refused.stderr


def test_server_without_a_credential_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "infra.prefect_server", "1"]
    done = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )

    assert done.returncode != 0
    assert "PREFECT_SERVER_API_AUTH_STRING" in done.stderr
