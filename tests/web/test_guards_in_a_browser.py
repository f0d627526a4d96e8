"""A page of another origin in a real browser reaches an application without the guard, and none behind it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from components.web import SameOrigin
from infra import _processes
from tests.browser import attack_from_a_page


class Recorder:
    """An application that does whatever it is asked, for any origin, and keeps what it was asked."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/favicon.ico":
            return
        if scope["type"] == "websocket":
            self.seen.append("websocket")
            await receive()
            await send({"type": "websocket.accept", "subprotocol": "prefect"})
            return
        body = (await receive()).get("body", b"")
        self.seen.append(f"{scope['method']} {body.decode()}".strip())
        headers = [(b"content-type", b"text/javascript"), (b"access-control-allow-origin", b"*")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"1"})


@contextmanager
def served(app: Any) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert _processes.wait_until(lambda: server.started, 30)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def _attack(origin: str, profile: Path, host: str) -> str:
    return attack_from_a_page(
        origin, profile, bodies=[("/do", '{"x": 1}')], paths=["/read"], sockets=["/line"], host=host
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])  # another site; the same one, another port
def test_page_of_another_origin_reaches_nothing_behind_the_guard(tmp_path: Path, host: str) -> None:
    recorder = Recorder()
    with served(SameOrigin(recorder)) as origin:
        seen = _attack(origin, tmp_path, host)

    assert recorder.seen == []
    for word in ("READ", "OPENED", "[script: loaded]"):
        assert word not in seen


def test_without_the_guard_the_same_page_does_what_it_wants(tmp_path: Path) -> None:
    recorder = Recorder()
    with served(recorder) as origin:
        seen = _attack(origin, tmp_path, "localhost")

    assert recorder.seen.count('POST {"x": 1}') >= 4
    assert "websocket" in recorder.seen
    for word in ("READ 1", "OPENED", "[script: loaded]"):
        assert word in seen
