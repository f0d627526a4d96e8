"""What only a server can get wrong."""

import http.server
import os
import socket
import subprocess
import sys
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from components.contracts import Settings
from components.contracts.errors import (
    AlreadyExistsError,
    BrokenUploadError,
    ConfigurationError,
    ObjectNotFoundError,
    StorageError,
)
from components.storage import BUCKETS, S3Store, connect, keep_page, page_url, prepare
from components.storage._s3 import PART_BYTES

pytestmark = pytest.mark.s3


@pytest.fixture
def key() -> str:
    return f"t-{uuid.uuid4().hex}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_server_away_gives_an_error_that_says_where_and_what_to_do(tmp_path: Path) -> None:
    endpoint = f"127.0.0.1:{_free_port()}"
    store = S3Store(endpoint, "key", "secret", patience=0.5)
    (tmp_path / "file").write_bytes(b"1")

    for call in (
        lambda: store.get("models", "x"),
        lambda: store.put("models", "x", b"1"),
        lambda: store.put_file("models", "x", tmp_path / "file"),
        lambda: store.stat("models", "x"),
        lambda: list(store.list("models")),
        lambda: store.remove("models", "x"),
        lambda: prepare(store),
    ):
        with pytest.raises(StorageError, match=rf"{endpoint}.*nobody answers.*drover status") as caught:
            call()
        assert not isinstance(caught.value, ObjectNotFoundError)


def test_wrong_secret_is_named(s3: Settings, key: str) -> None:
    store = S3Store(str(s3.s3_endpoint), str(s3.s3_key), "not-the-secret")

    with pytest.raises(StorageError, match="key or secret is wrong; look at DROVER_S3_KEY"):
        store.get("models", key)


def test_missing_bucket_is_named(platform: S3Store, key: str) -> None:
    with pytest.raises(ObjectNotFoundError, match="drover up"):
        platform.get(key, "x")


def test_no_store_configured_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="drover up"):
        connect(Settings(home=tmp_path))
    with pytest.raises(ConfigurationError, match="DROVER_ROBOT_S3_KEY"):
        connect(Settings(home=tmp_path, s3_endpoint="127.0.0.1:1", s3_key="k", s3_secret="s"), identity="robot")


def test_robots_agent_reads_releases(platform: S3Store, robot: S3Store, key: str) -> None:
    platform.put("releases", key, b"1")
    assert robot.get("releases", key) == b"1"
    assert robot.stat("releases", key) is not None
    assert robot.stat("releases", key + "-not-there") is None
    assert [info.key for info in robot.list("releases", key)] == [key]


def test_robots_agent_is_denied_everything_else(platform: S3Store, robot: S3Store, key: str) -> None:
    for bucket in ("inbox", "receipts", "reports", "episodes", "quarantine", "datasets", "models"):
        platform.put(bucket, key, b"secret")
        for read in (robot.get, robot.stat, lambda b, k: list(robot.list(b, k)), robot.remove):
            with pytest.raises(StorageError, match="not allowed"):
                read(bucket, key)
    for bucket in BUCKETS:
        with pytest.raises(StorageError, match="not allowed"):
            robot.put(bucket, key + "-mine", b"1")
        with pytest.raises(StorageError, match="not allowed"):
            robot.remove(bucket, key)
    for bucket in ("inbox", "receipts", "reports", "episodes", "quarantine", "datasets", "models"):
        assert platform.get(bucket, key) == b"secret"


def test_page_written_opens_as_a_page(platform: S3Store, key: str) -> None:
    platform.put("reports", f"{key}/index.html", "<p>grüezi".encode())

    with urllib.request.urlopen(platform.link("reports", f"{key}/index.html", hours=1)) as answer:  # noqa: S310
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.read().decode() == "<p>grüezi"


def test_link_longer_than_a_week_is_refused(platform: S3Store, key: str) -> None:
    with pytest.raises(StorageError, match="between 1 s and 7 days"):
        platform.link("reports", key, hours=169)


def test_page_address_is_the_page_servers_where_there_is_one(s3: Settings, platform: S3Store) -> None:
    with_pages = s3.model_copy(update={"pages_url": "http://127.0.0.1:1/", "pages_token": SecretStr("a/b")})
    without = s3.model_copy(update={"pages_url": None})

    assert page_url(with_pages, platform, "checks/x/index.html") == "http://127.0.0.1:1/checks/x/index.html"
    assert (
        page_url(with_pages, platform, "checks/x/index.html", sign_in=True)
        == "http://drover:a%2Fb@127.0.0.1:1/sign-in?page=checks/x/index.html"
    )
    keep_page(platform, "checks/x/index.html", b"<p>x")
    assert "X-Amz-Signature" in page_url(without, platform, "checks/x/index.html")


_FORKING = """
import multiprocessing, sys
from components.contracts import Settings
from components.storage import connect

store, key = connect(Settings()), sys.argv[1]
store.put("models", key, b"parent")

def write(n):
    store.put("models", f"{key}-{n}", b"child")

children = [multiprocessing.get_context("fork").Process(target=write, args=(n,)) for n in range(3)]
for child in children:
    child.start()
for _ in range(20):
    assert store.get("models", key) == b"parent"
for child in children:
    child.join(30)
sys.exit(str([child.exitcode for child in children]))
"""


def test_forked_child_uses_connections_of_its_own(s3: Settings, platform: S3Store, key: str) -> None:
    """In a fresh interpreter: a process that has run a Prefect flow can have no child that forks and exits well."""
    assert s3.s3_secret is not None
    own = {
        "DROVER_HOME": str(s3.home),
        "DROVER_S3_ENDPOINT": str(s3.s3_endpoint),
        "DROVER_S3_KEY": str(s3.s3_key),
        "DROVER_S3_SECRET": s3.s3_secret.get_secret_value(),
    }

    forking = subprocess.run(
        [sys.executable, "-c", _FORKING, key], env=os.environ | own, capture_output=True, text=True, check=False
    )

    assert forking.stderr == "[0, 0, 0]\n"
    assert [platform.get("models", f"{key}-{n}") for n in range(3)] == [b"child"] * 3


class _Proxy(http.server.BaseHTTPRequestHandler):
    """A server between us and the store that can lose answers, fail, or drop the condition."""

    upstream: str
    lose_answers: int = 0
    fail: int = 0
    ignore_condition: str | None = None
    completions: tuple[str, ...] = ()
    """What happens to the next completions of uploads: `lost` is done and not answered, `broken` is refused,
    `begun` is not done and answered by a 200 that is cut off."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def _forward(self) -> None:
        import urllib3

        cls = type(self)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if cls.fail:
            cls.fail -= 1
            self._answer(503, b"", {})
            return
        completes = self.command == "POST" and "uploadId" in self.path
        fault, cls.completions = (cls.completions[:1], cls.completions[1:]) if completes else ((), cls.completions)
        if fault == ("broken",):
            self._answer(400, b"<Error><Code>InvalidPart</Code></Error>", {"x-amz-request-id": "1"})
            return
        if fault == ("begun",):
            self._answer(200, b"", {"x-amz-request-id": "1"})
            return
        headers = dict(self.headers.items())
        if cls.ignore_condition == "all" or (cls.ignore_condition == "multipart" and "uploadId" in self.path):
            headers.pop("If-None-Match", None)
        url = f"http://{cls.upstream}{self.path}"
        answer = urllib3.PoolManager().request(self.command, url, body=body, headers=headers, retries=False)
        if fault == ("lost",):
            self.close_connection = True
            return
        if cls.lose_answers and self.command in {"PUT", "POST"} and "uploads" not in self.path:
            cls.lose_answers -= 1
            self.close_connection = True
            return
        self._answer(answer.status, answer.data, dict(answer.headers))

    def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", headers.get("Content-Length", str(len(data))))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward  # noqa: N815


@contextmanager
def _through_proxy(settings: Settings, **faults: Any) -> Iterator[S3Store]:
    """The real store behind a server with faults. The Host header is the store's, so that signatures hold."""
    handler = type("Handler", (_Proxy,), {"upstream": settings.s3_endpoint, **faults})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        assert settings.s3_key is not None
        assert settings.s3_secret is not None
        try:
            yield S3Store(f"127.0.0.1:{server.server_port}", settings.s3_key, settings.s3_secret.get_secret_value())
        finally:
            server.shutdown()
            thread.join()


def test_server_that_fails_for_a_moment_is_asked_again(s3: Settings, platform: S3Store, key: str) -> None:
    with _through_proxy(s3, fail=2) as store:
        store.put("models", key, b"1", if_absent=True)

    assert platform.get("models", key) == b"1"


def test_lost_answer_to_own_write_counts_as_success(s3: Settings, key: str) -> None:
    with _through_proxy(s3, lose_answers=1) as store:
        store.put("models", key, b"1", if_absent=True)

        assert store.get("models", key) == b"1"


@pytest.mark.parametrize("completions", [("broken", "broken"), ("lost", "broken"), ("begun",)], ids=" and then ".join)
def test_file_whose_upload_a_killed_server_broke_is_sent_anew_or_found_done(
    s3: Settings, platform: S3Store, key: str, tmp_path: Path, completions: tuple[str, ...]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(PART_BYTES + 1))
    with _through_proxy(s3, completions=completions) as store:
        store.put_file("models", key, path)

    assert platform.get("models", key) == path.read_bytes()
    assert platform.open_uploads("models", key) == []


def test_upload_that_stays_broken_is_an_error_and_leaves_nothing(
    s3: Settings, platform: S3Store, key: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(PART_BYTES + 1))
    with _through_proxy(s3, completions=("broken",) * 3) as store, pytest.raises(BrokenUploadError, match="begin anew"):
        store.put_file("models", key, path)

    assert platform.stat("models", key) is None
    assert platform.open_uploads("models", key) == []


def test_lost_answer_onto_other_bytes_counts_as_refusal(s3: Settings, platform: S3Store, key: str) -> None:
    platform.put("models", key, b"another's")

    with _through_proxy(s3, lose_answers=1) as store, pytest.raises(AlreadyExistsError):
        store.put("models", key, b"mine", if_absent=True)

    assert platform.get("models", key) == b"another's"


@pytest.mark.parametrize("ignored", ["all", "multipart"])
def test_server_that_ignores_conditions_is_refused(s3: Settings, platform: S3Store, ignored: str) -> None:
    with (
        _through_proxy(s3, ignore_condition=ignored) as store,
        pytest.raises(StorageError, match=r"ignores If-None-Match.*both would win.*SeaweedFS"),
    ):
        prepare(store)

    assert list(platform.list("datasets", "probe/")) == []
