import base64
import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.contracts import ObjectRef
from components.contracts.errors import ConfigurationError, StorageError
from components.storage import FolderStore, keep_page
from infra.pages import application

PASSWORD = "d0e5"
PAGE = "/checks/ab12/index.html"
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
    with TestClient(application(store, PASSWORD), base_url="http://127.0.0.1:8080") as client:
        client.auth = ("drover", PASSWORD)
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


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "authorization",
    [
        None, "", "Basic", "Basic !", "Basic \xff", "Bearer d0e5", "Digest username=drover", "d0e5", _basic("d0e5"),
        _basic("drover:"), _basic("drover:d0e"), _basic("drover:d0e5x"), _basic("drover:D0E5"), _basic("drover: d0e5"),
        _basic("x:y:d0e5"), _basic("drover:gr\u00fcezi"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [PAGE, "/checks/ab12/static/a.css", "/nothing", "/"])
def test_request_without_the_password_is_told_how_to_sign_in(client, path: str, authorization: str | None) -> None:  # type: ignore[no-untyped-def]
    client.auth = None
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}

    answer = client.get(path, headers=headers)

    assert answer.status_code == 401
    assert "drover status" in answer.text
    assert "www-authenticate" not in answer.headers  # the page, not a browser's own question, which says less
    assert "p{}" not in answer.text


def test_password_given_twice_is_not_one(client) -> None:  # type: ignore[no-untyped-def]
    client.auth = None
    answer = client.get(PAGE, headers=[("Authorization", _basic("x:y")), ("Authorization", _basic(f"x:{PASSWORD}"))])

    assert answer.status_code == 401


def test_sign_in_asks_a_browser_for_the_password_and_goes_on_to_a_page_of_this_server_alone(client) -> None:  # type: ignore[no-untyped-def]
    asked = client.get("/sign-in?page=checks/ab12/index.html", follow_redirects=False)
    assert asked.status_code == 303
    assert asked.headers["location"] == "http://127.0.0.1:8080/checks/ab12/index.html"
    assert client.get("/sign-in").status_code == 200
    for page in ("//evil.example/x", "https://evil.example/checks/x", "/checks/x", "..//x", "checks/x?y", "checks/%0d"):
        assert client.get("/sign-in", params={"page": page}, follow_redirects=False).status_code == 404

    client.auth = None
    refused = client.get("/sign-in?page=checks/ab12/index.html", follow_redirects=False)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic realm=")
    assert "location" not in refused.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "rebound.example:8080"}, 421),
        ({"Host": "127.0.0.1.nip.io:8080"}, 421),
        ({"Origin": "http://127.0.0.1:4200"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
    ],
)
def test_page_of_another_origin_may_link_here_and_do_nothing_else(client, headers: dict[str, str], status: int) -> None:  # type: ignore[no-untyped-def]
    assert client.get(PAGE, headers=headers).status_code == status


def test_server_without_a_password_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="DROVER_PAGES_TOKEN"):
        application(FolderStore(tmp_path), "")


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
