"""Nothing but health checks and a static page is answered without the token, and only the one port listens."""

import http.client
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.bentos.served import JPEGS, TOKEN
from tests.packaging.made import LEFT

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[2]
PATHS = [
    "/act", "/policy", "/metrics", "/healthz", "/docs.json", "/schema.json", "/static_content/swagger-ui-bundle.js",
    "/livez/", "/%61ct", "/nothing", "/readyz/x",
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"]
WRONG = [
    {}, {"Authorization": "Bearer"}, {"Authorization": "Bearer  x"}, {"Authorization": "Bearer wrong"},
    {"Authorization": f"bearer {TOKEN}x"}, {"Authorization": f"Basic {TOKEN}"}, {"X-Token": TOKEN},
    {"Cookie": f"token={TOKEN}"},
]  # fmt: skip
UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}  # fmt: skip


@pytest.fixture
def stranger(bento):
    with httpx.Client(base_url=bento.url, timeout=60, trust_env=False) as client:
        yield client


def test_only_one_port_listens_and_it_is_loopbacks(bento):
    process = psutil.Process(bento.process.pid)
    listening = [
        connection.laddr
        for part in (process, *process.children(recursive=True))
        for connection in part.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert [f"http://{address.ip}:{address.port}" for address in listening] == [bento.url]


@pytest.mark.parametrize("method", METHODS)
def test_every_route_asks_for_the_token(stranger, method):
    assert {stranger.request(method, path).status_code for path in PATHS} == {401}


@pytest.mark.parametrize(
    "target", ["//policy", "/livez/../policy", "/livez%2f..%2fpolicy", "/livez;/policy", "{}/policy"]
)
def test_odd_target_is_no_way_around_the_token(bento, target):
    client = http.client.HTTPConnection(bento.url.removeprefix("http://"), timeout=60)
    client.request("GET", target.format(bento.url))

    assert client.getresponse().status == 401
    client.close()


@pytest.mark.parametrize("headers", WRONG, ids=str)
def test_wrong_token_is_refused(stranger, headers):
    assert stranger.get("/policy", headers=headers).status_code == 401


def test_whole_request_without_the_token_is_refused(stranger):
    answer = stranger.post("/act", files={"image": JPEGS[0]}, data={"instruction": LEFT, "session": "stranger"})

    assert answer.status_code == 401


def test_health_and_the_page_are_open_for_reading_alone(bento, stranger):
    assert stranger.get("/livez").status_code == 200
    assert stranger.get("/readyz").status_code in {200, 503}
    assert stranger.get("/").status_code == 200
    assert TOKEN not in stranger.get("/").text
    assert {stranger.post(path).status_code for path in ("/", "/livez", "/readyz")} == {401}


@pytest.mark.parametrize("path", ["/", "/livez", "/policy"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "policy.example.evil", "", "a@127.0.0.1"])
def test_foreign_host_is_refused_even_with_the_token(bento, path, host):
    assert bento.client.get(path, headers={"Host": host}).status_code == 421


def test_named_host_is_accepted(bento):
    assert bento.client.get("/livez", headers={"Host": "policy.example"}).status_code == 200
    assert bento.client.get("/livez", headers={"Host": "other.example:8443"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"])
def test_foreign_origin_is_refused_even_with_the_token(bento, origin):
    for path in ("/", "/livez", "/policy"):
        assert bento.client.get(path, headers={"Origin": origin}).status_code == 403


def test_page_that_embeds_the_service_is_refused(bento):
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}

    assert bento.client.get("/livez", headers=headers).status_code == 403


def test_own_page_may_ask(bento):
    assert bento.client.get("/livez", headers={"Origin": bento.url, "Sec-Fetch-Site": "same-origin"}).is_success


@pytest.mark.parametrize("path", ["/", "/livez", "/act"])
def test_websocket_is_never_opened(bento, stranger, path):
    foreign = bento.client.get(path, headers=UPGRADE | {"Origin": "http://evil.example"})

    assert foreign.status_code == 403
    assert stranger.get("/act", headers=UPGRADE).status_code == 401
    assert bento.client.get(path, headers=UPGRADE).status_code != 101


def test_paths_of_strangers_leave_no_trace_in_the_counters(bento, stranger):
    for number in range(50):
        stranger.get(f"/guess-{number}")

    assert "guess-" not in bento.client.get("/metrics").text


def test_slow_body_does_not_keep_others_waiting(bento):
    host, port = bento.url.removeprefix("http://").split(":")
    head = f"POST /act HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 1000\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as slow:
        slow.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x".encode())
        assert bento.client.get("/livez").is_success
        answer = slow.recv(4096)  # it comes although the body does not

    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("token", [None, "", "short"])
def test_service_without_a_token_does_not_start(tmp_path, token):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DROVER_")}
    environment |= {"DROVER_HOME": str(tmp_path), "BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    if token is not None:
        environment["DROVER_SERVING_TOKEN"] = token
    command = [sys.executable, "-m", "infra.serving", "1"]  # a port that it never gets to
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "DROVER_SERVING_TOKEN" in done.stderr
