"""Requests with foreign hosts and origins, and without the token, in front of an application that serves everything."""

import asyncio
from typing import Any

import pytest

from components.web import BearerToken, SameOrigin

HERE = "127.0.0.1:4200"
HOST = {"host": HERE}


async def serve_everything(scope: Any, _receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})


def ask(app: Any, headers: Any, method: str = "GET", path: str = "/") -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of an answer; headers as a dict or as pairs."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    scope = {"type": "http", "method": method, "path": path, "headers": encoded}
    start, body = _sent(app, scope)
    return start["status"], dict(start["headers"]), body["body"]


def opens(app: Any, headers: dict[str, str]) -> bool:
    """Open a WebSocket; True if it is accepted."""
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    (message,) = _sent(app, {"type": "websocket", "path": "/ws", "headers": encoded})
    assert message["type"] in {"websocket.accept", "websocket.close"}
    return message["type"] == "websocket.accept"


def _sent(app: Any, scope: dict[str, Any]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        raise AssertionError("a refusal reads nothing")

    asyncio.run(app(scope, receive, send))
    return sent


GUARDED = SameOrigin(serve_everything)


@pytest.mark.parametrize("host", [HERE, "localhost:4200", "LOCALHOST", "[::1]:4200", "127.0.0.1"])
def test_request_to_this_machine_is_served(host):
    assert ask(GUARDED, {"host": host})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:4200",
        "127.0.0.1.evil.example",
        "evil@127.0.0.1",
        "127.0.0.1:4200@evil",
        "",
        "127.0.0.1:port",
        "127.0.0.1/x",
        "127.0.0.1?x",
        "[::1",
        "127.0.0.2",
    ],
)
def test_request_with_a_foreign_host_is_refused(host):
    status, _, body = ask(GUARDED, {"host": host}, "POST")
    assert (status, body) == (421, b"expected a Host header that names this server\n")


def test_request_with_two_hosts_or_none_is_refused():
    assert ask(GUARDED, [("host", "127.0.0.1"), ("Host", "evil.example")])[0] == 421
    assert ask(GUARDED, [])[0] == 421


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "http://127.0.0.1:9999",
        "http://127.0.0.1",
        "file://",
        "http://localhost:4200",
        "http://127.0.0.1:4200.evil.example",
        "chrome-extension://127.0.0.1:4200",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_request_from_a_page_of_another_origin_is_refused(origin, method):
    assert ask(GUARDED, {**HOST, "origin": origin}, method)[0] == 403


def test_request_from_our_own_page_is_served():
    assert ask(GUARDED, {**HOST, "origin": f"http://{HERE}", "sec-fetch-site": "same-origin"}, "POST")[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize(("mode", "dest"), [("no-cors", "script"), ("no-cors", "image"), ("navigate", "iframe")])
def test_resource_embedded_by_a_foreign_page_is_refused(site, mode, dest):
    assert ask(GUARDED, {**HOST, "sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest})[0] == 403


def test_link_from_elsewhere_is_followed_but_a_form_is_refused():
    headers = {**HOST, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert ask(GUARDED, headers)[0] == 200
    assert ask(GUARDED, headers, "POST")[0] == 403


def test_websocket_of_a_foreign_page_is_closed_before_it_opens():
    assert opens(GUARDED, {**HOST, "origin": f"http://{HERE}"})
    assert not opens(GUARDED, {**HOST, "origin": "http://evil.example"})
    assert not opens(GUARDED, {"host": "evil.example"})


def test_name_that_the_operator_configured_is_served_alone():
    public = SameOrigin(serve_everything, {"drover.example"})
    assert ask(public, {"host": "drover.example"})[0] == 200
    assert ask(public, {"host": "127.0.0.1"})[0] == 421


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer ", "Bearer wrong", "bearer secret", "Basic secret", "Bearer sécret"]
)
def test_request_without_the_token_is_refused(given):
    app = BearerToken(serve_everything, "secret")
    headers = {} if given is None else {"authorization": given}
    status, answered, _ = ask(app, headers)
    assert (status, answered[b"www-authenticate"]) == (401, b"Bearer")
    assert not opens(app, headers)


def test_request_with_the_token_is_served_and_open_paths_need_none():
    app = BearerToken(serve_everything, "secret", open_paths={"/healthz"})
    assert ask(app, {"authorization": "Bearer secret"}, "POST")[0] == 200
    assert opens(app, {"authorization": "Bearer secret"})
    assert ask(app, {}, path="/healthz")[0] == 200
    assert ask(app, {}, "POST", path="/healthz")[0] == 401


def test_answer_to_a_refused_head_request_has_no_body():
    status, _, body = ask(BearerToken(serve_everything, "secret"), {}, "HEAD")
    assert (status, body) == (401, b"")


def test_empty_token_is_refused_when_the_server_starts():
    with pytest.raises(ValueError, match="expected a token"):
        BearerToken(serve_everything, "")


def test_refusal_is_in_the_servers_own_words_where_it_has_some():
    guarded = SameOrigin(
        serve_everything, advice="ask its operator", problem=lambda status, text: ("a/b", f"{status}:{text}".encode())
    )

    status, headers, body = ask(guarded, {"host": "rebound.example"})

    assert status == 421
    assert headers[b"content-type"] == b"a/b"
    assert body == b"421:expected a Host header that names this server; ask its operator"
