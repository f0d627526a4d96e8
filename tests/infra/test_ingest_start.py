"""Uploads start ingest: many are one event, none is left behind, and Prefect may be away."""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from infra import _ingest_start, _processes
from infra._ingest_start import IngestStart

ROOT = Path(__file__).parents[2]
AUTH = "drover:5ec:ret"


class Prefect:
    """The three calls of Prefect's API that are made, over real HTTP."""

    def __init__(self, port: int = 0) -> None:
        self.events: list[dict[str, object]] = []
        self.asked, self.waiting, self.deployed = 0, 0, True
        self.credentials: set[str | None] = set()
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.path == "/api/deployments/name/ingest-episodes/on-upload"
                self._answer(200 if told.deployed else 404, {})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.asked += 1
                if self.path == "/api/events":
                    told.events += body
                    self._answer(204, None)
                else:
                    assert self.path == "/api/flow_runs/count"
                    self._answer(200, told.waiting)

            def _answer(self, status: int, document: object) -> None:
                told.credentials.add(self.headers["Authorization"])
                data = b"" if document is None else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.api = f"http://127.0.0.1:{self._server.server_port}/api"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> "Prefect":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def prefect() -> Iterator[Prefect]:
    with Prefect() as prefect:
        yield prefect


@pytest.fixture
def start(prefect: Prefect) -> Iterator[IngestStart]:
    start = IngestStart(prefect.api, auth=SecretStr(AUTH), gap_s=0.2)
    yield start
    start.close()


def _until(condition: object) -> None:
    assert _processes.wait_until(condition, 20.0)  # type: ignore[arg-type]


def test_burst_of_uploads_is_an_event_or_two(prefect: Prefect, start: IngestStart) -> None:
    for _ in range(128):
        start.tell()
    _until(lambda: prefect.events)
    start.tell()
    _until(lambda: len(prefect.events) == 2)

    assert {event["event"] for event in prefect.events} == {"drover.inbox.filled"}
    assert prefect.credentials == {"Basic " + base64.b64encode(AUTH.encode()).decode()}


def test_run_that_waits_already_will_see_the_upload(prefect: Prefect, start: IngestStart) -> None:
    prefect.waiting = 1
    start.tell()
    _until(lambda: prefect.asked == 1)
    assert prefect.events == []

    prefect.waiting = 0  # it runs now, and has perhaps looked already
    start.tell()
    _until(lambda: len(prefect.events) == 1)


def test_event_that_nobody_would_hear_is_kept_until_somebody_does(prefect: Prefect, start: IngestStart) -> None:
    prefect.deployed = False
    start.tell()
    _until(lambda: prefect.asked >= 2)
    assert prefect.events == []

    prefect.deployed = True
    _until(lambda: len(prefect.events) == 1)


def test_prefect_away_is_asked_again_and_nobody_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = IngestStart(f"http://127.0.0.1:{port}/api", gap_s=0.05)
    for _ in range(1000):
        start.tell()
    _until(lambda: "asked again" in caplog.text)
    with Prefect(port) as later:
        _until(lambda: len(later.events) == 1)
        start.close()
    assert not start.is_alive()


def test_without_prefect_nothing_is_asked() -> None:
    start = IngestStart(None)
    start.tell()
    start.close()

    assert not start.is_alive()


def test_the_event_is_the_one_that_the_deployment_listens_to() -> None:
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    (listening,) = [entry for entry in document["deployments"] if entry.get("triggers")]
    (trigger,) = listening["triggers"]

    assert listening["name"] == _ingest_start.DEPLOYMENT
    assert listening["entrypoint"].endswith("ingest_episodes")
    assert trigger["expect"] == [_ingest_start.EVENT]
    assert trigger["match"] == {"prefect.resource.id": _ingest_start.RESOURCE}
    assert listening["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
