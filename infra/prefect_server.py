"""Prefect's server for this stack: `python -m infra.prefect_server PORT [HOST [NAME ...]]`.

The same application, services and options as `prefect server start` with one worker. In front of it stands the guard
of every server of the stack: requests that name a foreign host or come from a foreign page are refused. Prefect itself
asks for its auth string on every path of its API but two health checks, WebSockets included. Its pages are anybody's;
they ask for the auth string and keep it in the browser.

NAME: what else clients call this server, e.g. `prefect` between containers.
"""

import os
import sys
from collections.abc import MutableMapping
from typing import Any

import uvicorn
from starlette.responses import PlainTextResponse

from components.contracts.errors import ConfigurationError
from components.web import LOOPBACK_HOSTS, App, Receive, SameOrigin, Scope, Send

_AUTH = "PREFECT_SERVER_API_AUTH_STRING"
_DOCS = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"})
"""FastAPI's own, left out: their scripts come from another host, into the origin that keeps the auth string."""
_HEADERS = (
    (
        b"content-security-policy",
        (
            b"default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
            b"img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
            b"connect-src 'self' data: blob:; object-src 'none'; frame-src 'none'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
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


def main(port: int, host: str = "127.0.0.1", *names: str) -> None:
    """Serve until a signal. Another host than loopback is for containers, whose ports are published on loopback.

    Raises:
        ConfigurationError: no auth string is set; the server would run code for anybody.
    """
    if not os.environ.get(_AUTH):
        raise ConfigurationError(f"expected a secret `user:password` in {_AUTH}, found none: `drover up` makes one")
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    settings = get_current_settings().server
    uvicorn.run(
        SameOrigin(_confined(create_app(final=True)), LOOPBACK_HOSTS | set(names)),
        host=host,
        port=port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
