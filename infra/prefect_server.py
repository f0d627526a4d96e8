"""Prefect's server for this stack: `python -m infra.prefect_server PORT [HOST [NAME ...]]`.

The same application, services and options as `prefect server start` with one worker. In front of it stands the guard
of every server of the stack: requests that name a foreign host or come from a foreign page are refused. Prefect itself
asks for its auth string on every path of its API but two health checks, WebSockets included. Its pages are anybody's;
they ask for the auth string and keep it in the browser.

The upload gateway, which robots reach, has a lesser credential of its own: it may tell Prefect that something waits,
and do nothing else.

NAME: what else clients call this server, e.g. `prefect` between containers.
"""

import base64
import os
import sys
from collections.abc import MutableMapping
from hmac import compare_digest
from typing import Any

import uvicorn
from starlette.responses import PlainTextResponse

from components.contracts import plain_logs
from components.contracts.errors import ConfigurationError
from components.web import LOOPBACK_HOSTS, App, Receive, SameOrigin, Scope, Send

from ._ingest_start import DEPLOYMENT, FLOW

_AUTH = "PREFECT_SERVER_API_AUTH_STRING"
_GATEWAY_AUTH = "DROVER_PREFECT_GATEWAY_AUTH"
_FOR_GATEWAY = frozenset(
    {
        ("POST", "/api/events"),
        ("POST", "/api/flow_runs/count"),
        ("GET", f"/api/deployments/name/{FLOW}/{DEPLOYMENT}"),
    }
)
"""The requests of `IngestStart`."""
_DOCS = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"})
"""FastAPI's own, left out: their scripts come from another host, into the origin that keeps the auth string."""
_HEADERS = (
    (
        b"content-security-policy",
        (
            b"default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
            b"img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
            b"connect-src 'self' data: blob:; object-src 'none'; frame-src 'none'; "
            b"frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
"""Artifacts may hold HTML, and the pages would report their use to their makers: neither reaches beyond this server."""


def _confined(app: App) -> App:
    """Prefect's application without FastAPI's pages, and with its own ones kept to what this server serves."""

    async def confined(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_confined(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        if scope["type"] != "http":
            await app(scope, receive, send)
        elif scope["path"].rstrip("/") in _DOCS:
            await PlainTextResponse("There is no such page.\n", 404)(scope, receive, send)
        else:
            await app(scope, receive, send_confined)

    return confined


class GatewayCredential:
    """Let the upload gateway's credential count as the auth string for the few operations that it needs."""

    def __init__(self, app: App, gateway: str, auth_string: str) -> None:
        self._app = app
        self._gateway, self._owner = _basic(gateway), _basic(auth_string)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["method"], scope["path"]) in _FOR_GATEWAY:
            scope["headers"] = [
                (name, self._owner if name == b"authorization" and compare_digest(value, self._gateway) else value)
                for name, value in scope["headers"]
            ]
        await self._app(scope, receive, send)


def _basic(auth_string: str) -> bytes:
    return b"Basic " + base64.b64encode(auth_string.encode())


def main(port: int, host: str = "127.0.0.1", *names: str) -> None:
    """Serve until a signal. Another host than loopback is for containers, whose ports are published on loopback.

    Raises:
        ConfigurationError: no auth string is set; the server would run code for anybody.
    """
    auth_string = os.environ.get(_AUTH)
    if not auth_string:
        raise ConfigurationError(f"expected a secret `user:password` in {_AUTH}, found none: `drover up` makes one")
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    settings = get_current_settings().server
    app = _confined(create_app(final=True))
    if gateway := os.environ.get(_GATEWAY_AUTH):
        app = GatewayCredential(app, gateway, auth_string)
    uvicorn.run(
        SameOrigin(app, LOOPBACK_HOSTS | set(names)),
        host=host,
        port=port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )


if __name__ == "__main__":
    plain_logs()
    main(int(sys.argv[1]), *sys.argv[2:])
