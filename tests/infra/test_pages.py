from collections.abc import Iterator
from pathlib import Path

import pytest

from components.storage import FolderStore
from infra.pages import application

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[object]:
    from starlette.testclient import TestClient

    store = FolderStore(tmp_path / "objects")
    store.put("reports", "checks/ab12/index.html", b"<link rel=stylesheet href=static/a.css>")
    store.put("reports", "checks/ab12/static/a.css", b"p{}")
    store.put("reports", "evaluations/cd34/report.html", "<p>grüezi".encode())
    store.put("reports", "coverage/index.html", b"<p>heat")
    store.put("reports", "robots/r1/health.json", b"{}")
    store.put("models", "checks/secret.html", b"secret")
    (tmp_path / "objects" / "outside.html").write_text("outside")
    with TestClient(application(store), base_url="http://127.0.0.1") as client:
        yield client


def test_report_and_its_parts_are_shown(client) -> None:  # type: ignore[no-untyped-def]
    page = client.get("/checks/ab12/index.html")

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert client.get("/checks/ab12/static/a.css").headers["content-type"] == "text/css; charset=utf-8"
    assert client.get("/evaluations/cd34/report.html").text == "<p>grüezi"
    assert client.get("/coverage/index.html").text == "<p>heat"
    assert client.head("/checks/ab12/index.html").status_code == 200


def test_every_answer_confines_the_page(client) -> None:  # type: ignore[no-untyped-def]
    for path in ("/checks/ab12/index.html", "/nothing", "/healthz"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/", "/robots/r1/health.json", "/models/checks/secret.html", "/checks/../robots/r1/health.json",
        "/checks/%2e%2e/robots/r1/health.json", "/checks/..%2f..%2f..%2fmodels/checks/secret.html",
        "/checks/ab12/..%2f..%2f..%2foutside.html", "/checks//ab12/index.html", "/checks/ab12/%00index.html",
        "/checks/ab12/", "/checks", "/evaluations/.hidden", "/checks/" + "a/" * 20 + "x", "/checks/" + "x" * 500,
        "//checks/ab12/index.html", "/checks/ab12%5cindex.html",
    ],
)  # fmt: skip
def test_anything_else_is_not_there(client, path: str) -> None:  # type: ignore[no-untyped-def]
    answer = client.get(path)

    assert answer.status_code == 404
    assert "secret" not in answer.text
    assert "outside" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_but_reading_is_allowed(client, method: str) -> None:  # type: ignore[no-untyped-def]
    assert client.request(method, "/checks/ab12/index.html").status_code == 405
    assert client.get("/checks/ab12/index.html").status_code == 200
