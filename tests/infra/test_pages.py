import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.contracts import ObjectRef
from components.contracts.errors import StorageError
from components.storage import FolderStore, keep_page
from infra.pages import application

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[object]:
    from starlette.testclient import TestClient

    store = FolderStore(tmp_path / "objects")
    keep_page(store, "checks/ab12/index.html", b"<link rel=stylesheet href=static/a.css>")
    keep_page(store, "checks/ab12/static/a.css", b"p{}")
    keep_page(store, "evaluations/cd34/report.html", "<p>grüezi".encode())
    keep_page(store, "coverage/index.html", b"<p>heat")
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


@pytest.mark.parametrize("key", ["checks/ab12/index.html", "evaluations/cd34/report.html", "coverage/index.html"])
def test_page_that_was_changed_is_refused_until_it_is_drawn_again(client, tmp_path: Path, key: str) -> None:  # type: ignore[no-untyped-def]
    store = FolderStore(tmp_path / "objects")
    for changed in (store.get("reports", key) + b"<script>evil()</script>", b"", store.get("reports", key)[:-1]):
        store.put("reports", key, changed)
        answer = client.get(f"/{key}")
        assert answer.status_code == 409
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert "is not shown" in answer.text
        assert "evil" not in answer.text
    keep_page(store, key, b"<p>drawn again")
    assert client.get(f"/{key}").text == "<p>drawn again"


@pytest.mark.parametrize("form", ["checks/rules/{}.json", "evaluations/{}/report.json", "evaluations/trials/{}.jsonl"])
def test_document_is_compared_with_the_hash_in_its_name(client, tmp_path: Path, form: str) -> None:  # type: ignore[no-untyped-def]
    store, key = FolderStore(tmp_path / "objects"), form.format(hashlib.sha256(b"{}").hexdigest())
    store.put("reports", key, b"{}")
    assert client.get(f"/{key}").text == "{}"
    store.put("reports", key, b"{ }")
    assert client.get(f"/{key}").status_code == 409


@pytest.mark.parametrize("key", ["checks/planted.html", "evaluations/cd34/more.html", "coverage/x.js"])
def test_page_that_was_planted_is_refused_with_a_digest_beside_it_too(client, tmp_path: Path, key: str) -> None:  # type: ignore[no-untyped-def]
    store = FolderStore(tmp_path / "objects")
    store.put("reports", key, b"<script>evil()</script>")
    store.put("reports", f"{key}.sha256", hashlib.sha256(b"<script>evil()</script>").hexdigest().encode())
    store.put("models", f"pages/{key}.json", store.get("models", "pages/coverage/index.html.json"))
    answer = client.get(f"/{key}")

    assert (answer.status_code, "evil" in answer.text) == (409, False)


def test_page_whose_writers_are_killed_between_their_writes_is_shown_in_some_state(client, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    class Dying(FolderStore):
        def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> ObjectRef:
            if self.left == 0:
                raise StorageError("killed")
            self.left -= 1
            return super().put(bucket, key, data, if_absent=if_absent)

    seen = []
    for number, writes in enumerate((0, 1, 1, 2, 1, 3, 3)):
        store = Dying(tmp_path / "objects")
        store.left = writes
        with contextlib.suppress(StorageError):
            keep_page(store, "coverage/index.html", f"<p>{number}".encode())
        answer = client.get("/coverage/index.html")
        assert answer.status_code == 200
        seen.append(answer.text)
    assert seen == ["<p>heat", "<p>heat", "<p>heat", "<p>3", "<p>3", "<p>5", "<p>6"]
