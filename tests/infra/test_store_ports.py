"""Each port of the embedded stores, asked by somebody who has no credentials: another user, a page in a browser."""

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from components.contracts import Settings
from components.storage import connect
from infra import _home
from infra._certificates import write_certificates
from infra.local import Running
from tests import stores
from tests.infra.stranger import HTTP, NEEDS_ROOT, PREFACE, as_nobody, ask, client, family, is_http2, listening

EVIL = {"Host": "evil.example", "Origin": "http://evil.example"}
INNER = ("store-master", "store-volume", "store-filer", "store-admin")
IAM = [
    f"Action={action}&Version={version}&UserName=robot&RoleArn=arn:aws:iam::000000000000:role/Admin&RoleSessionName=abc"
    for action in ("ListUsers", "CreateUser", "CreateAccessKey", "AssumeRole", "AssumeRoleWithWebIdentity")
    for version in ("2010-05-08", "2011-06-15")
]
CLAIMS: list[dict[str, str]] = [
    {"X-SeaweedFS-Principal": "arn:aws:iam::000000000000:user/platform", "X-SeaweedFS-Session-Token": "x"},
    {"s3-identity-id": "platform", "s3-account-id": "000000000000", "s3-auth-type": "SigV4", "s3-is-admin": "true"},
    {"X-Amz-Target": "S3Tables.CreateTableBucket", "Content-Type": "application/x-amz-json-1.1"},
    {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJwbGF0Zm9ybSJ9."},
    {"Authorization": "AWS platform:AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
    {"X-Amz-Security-Token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJwbGF0Zm9ybSJ9."},
    {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "127.0.0.1", "X-Forwarded-Prefix": "/admin"},
]
"""Headers by which somebody could say that he is somebody else."""
MINIOS_OWN = (
    "v2/metrics/cluster", "v2/metrics/node", "prometheus/metrics", "metrics/v3/api", "admin/v3/info", "console",
    "bootstrap/v1/verify", "storage/x/v1", "peer/v1/serverinfo", "grid/v1", "lock/v1",
)  # fmt: skip


@pytest.fixture(scope="module", params=["seaweedfs", "minio"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Running]]:
    with stores.running(request.param, tmp_path_factory.mktemp("home")) as server:
        connect(server.settings).put("models", "secret", b"a secret")
        yield request.param, server


def _of(server: Running) -> set[int]:
    pid = server.pid("store")
    assert pid is not None
    return family(pid)


def _ports(server: Running) -> dict[str, int]:
    return dict(json.loads((server.settings.home / "ports.json").read_text()))


def _endpoint(server: Running) -> str:
    return f"http://{server.settings.s3_endpoint}"


def test_ports_of_a_running_store_are_those_that_are_tried_here(store: tuple[str, Running]) -> None:
    kind, server = store
    ports = _ports(server)
    known = {ports["store"]}
    if kind == "seaweedfs":
        known = {port + offset for port in (ports["store"], *(ports[name] for name in INNER)) for offset in (0, 10_000)}

    assert set(listening(_of(server))) == known


def test_stranger_gets_nothing_from_seaweedfs_inner_ports(store: tuple[str, Running], tmp_path: Path) -> None:
    kind, server = store
    if kind != "seaweedfs":
        pytest.skip("MinIO has no inner ports")
    ports, ours = _ports(server), server.settings.home / "store"
    http = [ports[name] for name in INNER]
    grpc = [port + 10_000 for port in (*http, ports["store"])]
    write_certificates(tmp_path, "somebody else's")
    callers = [client(), client(tmp_path), client(http2=True), client(tmp_path, http2=True)]

    def attack() -> list[str]:
        said = [ask(port, words, tls=tls) for port in http + grpc for words in (HTTP, PREFACE) for tls in callers]
        said += [ask(port, PREFACE) for port in http + grpc] + [ask(port, HTTP) for port in http + grpc]
        return sorted({answer.decode("latin-1") for answer in said})

    refusals = as_nobody(attack)

    assert all(answer == "" or "Client sent an HTTP request to an HTTPS server" in answer for answer in refusals)
    assert all(ask(port, HTTP, tls=client(ours)).startswith(b"HTTP/1.0 ") for port in http)
    assert all(is_http2(ask(port, PREFACE, tls=client(ours, http2=True))) for port in grpc)


@NEEDS_ROOT
def test_stranger_can_open_no_socket_of_the_store(store: tuple[str, Running]) -> None:
    _, server = store
    home = server.settings.home / "store"
    found = [c.laddr for c in psutil.net_connections("unix") if c.pid in _of(server) and c.laddr]
    paths = [str(home / path) for path in found if not path.startswith("@")]

    def attack() -> list[str]:
        opened = []
        for path in paths:
            with socket.socket(socket.AF_UNIX) as caller:
                if caller.connect_ex(path) == 0:
                    opened.append(path)
        return opened

    assert as_nobody(attack) == []
    assert as_nobody(lambda: os.access(server.settings.home, os.R_OK | os.X_OK)) is False


@pytest.mark.parametrize("headers", [{}, EVIL], ids=["loopback", "rebound"])
def test_request_without_a_signature_is_refused(store: tuple[str, Running], headers: dict[str, str]) -> None:
    kind, server = store
    with httpx.Client(base_url=_endpoint(server), headers=headers, timeout=20) as page:
        asked = [page.get(path) for path in ("/", "/models", "/models/secret", "/reports", "/inbox?uploads")]
        asked += [page.get(f"/models{query}") for query in ("?policy", "?acl", "?versions", "?location", "?cors")]
        asked += [page.put("/reports/x", content=b"x"), page.delete("/models/secret"), page.put("/mine")]
        asked += [page.post("/models?delete", content=b"<Delete><Object><Key>secret</Key></Object></Delete>")]
        asked += [page.post("/inbox/x?uploads"), page.put("/models?policy", content=b"{}")]
        asked += [page.post("/reports", data={"key": "x"}, files={"file": b"x"})]
        asked += [page.post("/", content=body, headers={"Content-Type": "text/plain"}) for body in IAM]
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        asked += [page.post("/", content=body, headers=form) for body in IAM]
        asked += [page.get(f"/minio/{path}") for path in MINIOS_OWN]
        asked += [page.get(path) for path in ("/metrics", "/debug/pprof/", "/dir/assign", "/cluster/status", "/login")]
        health = [page.get(path) for path in ("/healthz", "/status", "/minio/health/live", "/minio/health/cluster")]

    assert {answer.status_code for answer in asked} <= {400, 403, 404, 405}, [
        (answer.request.url, answer.status_code) for answer in asked if answer.status_code < 400
    ]
    assert not any("a secret" in answer.text for answer in asked)
    assert all(answer.content == b"" for answer in health if answer.status_code == 200)
    assert connect(server.settings).get("models", "secret") == b"a secret"
    assert kind == "minio" or sum(answer.status_code == 200 for answer in health) == 2


def test_page_of_another_origin_may_read_no_answer(store: tuple[str, Running]) -> None:
    _, server = store
    link = connect(server.settings).link("models", "secret")
    ask_first = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "http://localhost"):
        answers = [
            httpx.get(link, headers={"Origin": origin}),
            httpx.get(f"{_endpoint(server)}/models", headers={"Origin": origin}),
            httpx.options(f"{_endpoint(server)}/models/secret", headers={"Origin": origin} | ask_first),
        ]
        allowed = [answer.headers.get("Access-Control-Allow-Origin") for answer in answers]
        assert allowed == [None] * 3


def test_link_holds_for_its_method_key_and_host_alone(store: tuple[str, Running]) -> None:
    _, server = store
    link = connect(server.settings).link("models", "secret")
    other = link.replace("/models/secret", "/models/receipt-keys/1")

    assert httpx.get(link).content == b"a secret"
    refused = [
        httpx.put(link, content=b"x"), httpx.delete(link), httpx.post(link), httpx.get(other),
        httpx.get(link, headers={"Host": "evil.example"}), httpx.get(re.sub("Expires=[0-9]+", "Expires=9999", link)),
        httpx.get(link.replace(urlsplit(link).path, "/models")),
    ]  # fmt: skip
    assert {answer.status_code for answer in refused} <= {400, 403, 405}
    assert connect(server.settings).get("models", "secret") == b"a secret"


def test_robots_key_gives_no_say_over_users(store: tuple[str, Running]) -> None:
    kind, server = store
    if kind != "seaweedfs":
        pytest.skip("MinIO's robots are users without an administrator's rights (tests/storage)")
    robot = connect(server.settings, identity="robot")
    url = robot.link("releases", "x")
    query = urlsplit(url).query

    answers = [httpx.post(f"{_endpoint(server)}/?{query}", content=body) for body in IAM]
    assert {answer.status_code for answer in answers} <= {400, 403, 405}


def test_header_makes_nobody_somebody_else(store: tuple[str, Running]) -> None:
    _, server = store
    robot = connect(server.settings, identity="robot").client
    writes = [robot.get_presigned_url("PUT", bucket, "x") for bucket in ("datasets", "models", "releases")]
    reads = [robot.get_presigned_url("GET", "models", "secret"), f"{_endpoint(server)}/models/secret"]
    for claim in CLAIMS:
        answers = [httpx.put(link, content=b"x", headers=claim) for link in (*writes, f"{_endpoint(server)}/reports/x")]
        answers += [httpx.get(link, headers=claim) for link in reads]
        answers += [httpx.post(f"{_endpoint(server)}/", content=b"{}", headers=claim)]
        answers += [httpx.put(f"{_endpoint(server)}/buckets", content=b'{"name": "tables"}', headers=claim)]
        assert {answer.status_code for answer in answers} <= {400, 401, 403, 404, 405, 501}, claim


@NEEDS_ROOT
def test_place_that_another_user_took_in_tmp_is_avoided(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    _home.prepare_home(settings.home, min_free=0)
    first = _home.choose_ports(settings)["store-master"]
    taken = Path(f"/tmp/seaweedfs-master-grpc-{first + 10_000}.sock")  # noqa: S108
    taken.touch()
    try:
        os.chown(taken, 65_534, 65_534)
        assert _home.choose_ports(settings)["store-master"] != first
    finally:
        taken.unlink()
    assert _home.choose_ports(settings)["store-admin"] > 0
