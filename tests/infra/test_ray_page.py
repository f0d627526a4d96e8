"""The dashboard's server asks for the right password before it asks Ray for anything."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from infra.ray_page import application

TOKEN = "5a" * 32
PATHS = ["/", "/favicon.ico", "/static/js/main.js", "/api/authentication_mode", "/api/v0/actors", "//x", "/%2e%2e/x"]
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")


class Dashboard(ThreadingHTTPServer):
    """Answers everything, as Ray does for its page's own files, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        super().__init__(("127.0.0.1", 0), _Answers)


class _Answers(BaseHTTPRequestHandler):
    server: Dashboard

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"file")

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    with Dashboard() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(dashboard: Dashboard, tmp_path: Path) -> Iterator[httpx.Client]:
    from starlette.testclient import TestClient

    (tmp_path / "token").write_text(TOKEN)
    served = application(f"http://127.0.0.1:{dashboard.server_port}", tmp_path / "token")
    with TestClient(served, base_url="http://127.0.0.1:8265") as client:
        yield client


@pytest.mark.parametrize("password", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", "gr\u00fcezi"])
def test_no_file_is_served_for_a_wrong_password(
    client: httpx.Client, dashboard: Dashboard, password: str | None
) -> None:
    auth = None if password is None else ("drover", password)
    answers = [client.get(path, auth=auth) for path in PATHS]

    assert {answer.status_code for answer in answers} == {401}
    assert all(answer.headers["www-authenticate"].startswith("Basic ") for answer in answers)
    assert dashboard.asked == []


def test_right_password_gets_the_page_and_is_passed_on_as_rays_token(
    client: httpx.Client, dashboard: Dashboard
) -> None:
    page, mode = (client.get(path, auth=("drover", TOKEN)) for path in ("/", "/api/authentication_mode"))

    assert (page.status_code, page.text) == (200, "file")
    assert (mode.status_code, mode.json()) == (200, {"authentication_mode": "disabled"})
    assert dashboard.asked == [("/", f"Bearer {TOKEN}")]


def test_without_rays_token_nobody_gets_anything(client: httpx.Client, dashboard: Dashboard, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("")
    empty = client.get("/", auth=("drover", ""))
    (tmp_path / "token").unlink()

    assert [empty.status_code, client.get("/", auth=("drover", TOKEN)).status_code] == [401, 401]
    assert client.get("/healthz").status_code == 200
    assert dashboard.asked == []
