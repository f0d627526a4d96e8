"""Each port of the stack's Ray, asked by somebody who has neither its token nor its certificate."""

import base64
import contextlib
import os
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from components.contracts import Settings
from components.contracts.errors import StackError
from infra import _ray
from infra._certificates import write_certificates
from infra.local import some_parts
from tests.infra.stranger import HTTP, NEEDS_ROOT, PREFACE, as_nobody, ask, client, family, is_http2, listening

pytestmark = pytest.mark.timeout(600)
EVIL = {"Host": "evil.example", "Origin": "http://evil.example"}
ROLES = ("gcs_server", "dashboard.py", "raylet", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::", "-c")
PORTS = {"gcs_server": 1, "dashboard.py": 1, "raylet": 2, "ray::DashboardAgent": 2, "ray::RuntimeEnvAgent": 1}
"""Of each process; every worker and driver has one."""
DRIVER = """
import ray, sys, tenacity
until_its_node_is_there = tenacity.retry(stop=tenacity.stop_after_delay(120), wait=tenacity.wait_fixed(1), reraise=True)
until_its_node_is_there(ray.init)(address=sys.argv[1], log_to_driver=False)
@ray.remote
class Held:
    def answer(self):
        return "held"
held = Held.options(name="a-name").remote()
print(ray.get(held.answer.remote()), flush=True)
for _ in sys.stdin:
    print(ray.get(held.answer.remote()), flush=True)
"""
OPEN = {
    "/",
    "/favicon.ico",
    "/api/gcs_healthz",
    "/api/authentication_mode",
    "/api/local_raylet_healthz",
    "/api/healthz",
    "/-/healthz",
}
"""Paths that Ray answers to everyone: its own files, whether it is well, that it wants a token."""
READS = (
    *OPEN, "/metrics", "/nodes?view=summary", "/logical/actors", "/api/version", "/api/cluster_status", "/api/jobs/",
    "/api/v0/actors", "/api/v0/tasks", "/api/v0/logs", "/api/v0/logs/file", "/api/component_activities", "/logs",
    "/worker/traceback?pid=1", "/worker/cpu_profile?pid=1", "/memory_profile?pid=1", "/timezone", "/events",
    "/static/..%2f..%2fdashboard.py", "/api/serve/applications/", "/api/prometheus_health", "/api/grafana_health",
    "/usage_stats_enabled", "/index.html",
)  # fmt: skip
WRITES = (
    ("POST", "/api/jobs/", '{"entrypoint": "id"}'), ("POST", "/api/job_agent/jobs/", '{"entrypoint": "id"}'),
    ("POST", "/api/authenticate", ""), ("PUT", "/api/serve/applications/", "{}"), ("DELETE", "/api/jobs/x", ""),
    ("PUT", "/api/packages/gcs/x.zip", "x"), ("POST", "/get_or_create_runtime_env", ""), ("PATCH", "/api/jobs/x", "{}"),
    ("POST", "/delete_runtime_env_if_possible", ""), ("POST", "/get_runtime_envs_info", ""),
)  # fmt: skip


@dataclass(frozen=True)
class Head:
    settings: Settings
    ports: dict[int, str]
    """Port -> the role of its process."""
    driver: subprocess.Popen[str]

    def of(self, *roles: str) -> list[int]:
        return [port for port, role in self.ports.items() if role in roles]

    @property
    def http(self) -> list[int]:
        """Those that answer HTTP to its owner."""
        token = {"Authorization": f"Bearer {self.token}"}
        found = []
        for port in self.ports:
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{port}/", headers=token, timeout=20)
                found.append(port)
        return found

    @property
    def token(self) -> str:
        assert self.settings.ray_token_file is not None
        return self.settings.ray_token_file.read_text()

    @property
    def certificates(self) -> Path:
        assert self.settings.ray_certificates is not None
        return self.settings.ray_certificates

    def works(self) -> bool:
        assert self.driver.stdin is not None
        assert self.driver.stdout is not None
        self.driver.stdin.write("\n")
        self.driver.stdin.flush()
        return self.driver.stdout.readline() == "held\n"


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with some_parts(Settings(home=tmp_path_factory.mktemp("home")), "ray", "ray-page") as running:
        settings, pid = running.settings, running.pid("ray")
        assert pid is not None
        left_behind = {"RAY_AUTH_TOKEN": "of another Ray"}
        env = os.environ | left_behind | settings.ray_access | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        command = [sys.executable, "-c", DRIVER, str(settings.ray_address)]
        told = tmp_path_factory.mktemp("driver") / "errors"
        with (
            told.open("w") as errors,
            subprocess.Popen(
                command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            ) as driver,
        ):
            assert driver.stdout is not None
            assert driver.stdout.readline() == "held\n", told.read_text()
            found = listening(family(pid) | {driver.pid})
            yield Head(settings, {port: _role(pids) for port, pids in found.items()}, driver)
            driver.terminate()


def _role(pids: set[int]) -> str:
    (pid,) = pids
    words = psutil.Process(pid).cmdline()
    return next(
        (role for role in ROLES if any(word.rpartition("/")[2].startswith(role) for word in words[:3])), " ".join(words)
    )


@pytest.mark.slow
def test_ports_of_a_running_ray_are_those_that_are_tried_here(head: Head) -> None:
    found = Counter(head.ports.values())
    workers = found.pop("ray::")

    assert workers >= 1
    assert found == PORTS | {"-c": 1}
    assert len(head.http) == 3
    assert set(head.http) <= set(head.of("dashboard.py", "ray::DashboardAgent", "ray::RuntimeEnvAgent"))


@pytest.mark.slow
def test_stranger_gets_nothing_from_rays_grpc_ports(head: Head, tmp_path: Path) -> None:
    ports = sorted(set(head.ports) - set(head.http))
    write_certificates(tmp_path, "somebody else's")
    callers = [client(http2=True), client(tmp_path, http2=True), client()]

    def attack() -> list[str]:
        said = [ask(port, words, tls=tls) for port in ports for words in (HTTP, PREFACE) for tls in (None, *callers)]
        return [answer.decode("latin-1") for answer in said if answer]

    assert as_nobody(attack) == []
    assert all(is_http2(ask(port, PREFACE, tls=client(head.certificates, http2=True))) for port in ports)


@pytest.mark.slow
def test_request_that_would_end_ray_does_not_reach_it(head: Head) -> None:
    method, authority = "/ray.rpc.syncer.RaySyncer/StartSync", (head.certificates / "ca.crt").read_bytes()
    for port in head.of("gcs_server", "raylet"):
        address, tls = f"127.0.0.1:{port}", grpc.ssl_channel_credentials(authority)
        for channel in (grpc.insecure_channel(address), grpc.secure_channel(address, tls)):
            with channel, pytest.raises(grpc.RpcError) as refusal:
                list(channel.stream_stream(method)(iter([b""]), timeout=20))
            assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE

    assert head.works()


@pytest.mark.slow
def test_certificate_without_the_token_is_refused(head: Head) -> None:
    files = [(head.certificates / name).read_bytes() for name in ("ca.crt", "node.key", "node.crt")]
    with grpc.secure_channel(str(head.settings.ray_address), grpc.ssl_channel_credentials(*files)) as channel:
        for metadata in ([], [("authorization", "Bearer 00")]):
            with pytest.raises(grpc.RpcError) as refusal:
                channel.unary_unary("/ray.rpc.InternalKVGcsService/InternalKVKeys")(b"", timeout=20, metadata=metadata)
            assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.slow
@pytest.mark.parametrize("headers", [{}, EVIL], ids=["loopback", "rebound"])
@pytest.mark.parametrize("token", ["", "Bearer 00"], ids=["no token", "wrong token"])
def test_http_without_the_token_is_refused(head: Head, headers: dict[str, str], token: str) -> None:
    headers = headers | ({"Authorization": token} if token else {})
    for port in head.http:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as page:
            answers = [page.get(path) for path in READS]
            answers += [page.request(method, path, content=body) for method, path, body in WRITES]
            asked_first = page.options("/api/jobs/", headers={"Access-Control-Request-Method": "POST"})
        taken = {answer.request.url.path for answer in answers if answer.status_code not in {401, 403, 404, 405}}
        assert taken <= OPEN
        if port not in head.of("ray::DashboardAgent"):  # that one allows every origin, and answers no page
            assert not any("Access-Control-Allow-Origin" in answer.headers for answer in (*answers, asked_first))
        told = " ".join(answer.text for answer in answers if answer.request.url.path not in {"/", "/favicon.ico"})
        assert not any(secret in told for secret in (str(head.settings.home), "a-name", head.token, "session_"))

    mine = httpx.get(
        f"{head.settings.ray_dashboard_url}/api/v0/actors",
        headers={"Authorization": f"Bearer {head.token}"},
        timeout=60,
    )
    assert "a-name" in mine.text


@pytest.mark.slow
def test_page_gets_no_answer_from_rays_agent_even_with_the_token(head: Head) -> None:
    (port,) = set(head.http) & set(head.of("ray::DashboardAgent"))
    for pass_ in ({"Authorization": f"Bearer {head.token}"}, {"Cookie": f"ray-authentication-token={head.token}"}):
        for origin in ("http://evil.example", "http://127.0.0.1:1", "null"):
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=pass_ | {"Origin": origin}) as page:
                answers = [page.get("/api/job_agent/jobs/x/logs"), page.get("/api/local_raylet_healthz")]
                answers += [page.post("/api/job_agent/jobs/", content='{"entrypoint": "id"}')]
            assert {answer.status_code for answer in answers} <= {403, 405}


@pytest.mark.slow
def test_dashboard_for_a_browser_asks_for_the_token_and_lets_no_cookie_through(head: Head) -> None:
    with httpx.Client(base_url=str(head.settings.ray_page_url), timeout=60) as stranger:
        for headers in (
            {},
            {"Authorization": f"Bearer {head.token}"},
            {"Cookie": f"ray-authentication-token={head.token}"},
            {"Authorization": "Basic " + base64.b64encode(b"ray:wrong").decode()},
        ):
            for path in READS:
                refused = stranger.get(path, headers=headers)
                assert refused.status_code == 401
                assert refused.headers["WWW-Authenticate"].startswith("Basic ")
        for headers, status in (({"Host": "evil.example"}, 421), ({"Origin": "http://127.0.0.1:1"}, 403)):
            assert stranger.get("/", headers=headers, auth=("", head.token)).status_code == status

    with httpx.Client(base_url=str(head.settings.ray_page_url), auth=("", head.token), timeout=60) as owner:
        assert "a-name" in owner.get("/api/v0/actors").text
        assert 'id="root"' in owner.get("/").text
        answers = [owner.get(path) for path in READS]
        answers += [owner.request(method, path, content=body) for method, path, body in WRITES]
    assert {answer.status_code for answer in answers[len(READS) :]} == {405}
    assert not any("Set-Cookie" in answer.headers or head.token in answer.text for answer in answers)


@pytest.mark.slow
def test_token_certificates_and_sockets_are_their_owners_alone(head: Head) -> None:
    secrets = [head.settings.home / "ray-token", *head.certificates.iterdir()]

    assert len(secrets) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert stat.S_IMODE(_ray.ray_folder(head.settings.home).parent.stat().st_mode) == 0o700


@pytest.mark.slow
def test_longest_socket_of_ray_fits_the_room_that_is_kept_for_it(head: Head) -> None:
    folder = _ray.ray_folder(head.settings.home)
    names = [str(path).removeprefix(str(folder)) for path in folder.glob("session_2*/sockets/*") if path.is_socket()]

    assert any(name.endswith("/dash_MetricsHead") for name in names)
    assert max(map(len, names)) <= _ray._SOCKET_ROOM


@NEEDS_ROOT
def test_folder_that_another_user_made_first_is_refused(tmp_path: Path) -> None:
    his, link = tmp_path / "his", tmp_path / "link"
    his.mkdir(mode=0o777)
    os.chown(his, 65_534, 65_534)
    link.symlink_to(tmp_path)

    for folder in (his, link):
        with pytest.raises(StackError, match="another user's or a link"):
            _ray.make_private(folder)


def test_own_folder_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o777)
    _ray.make_private(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
