"""The page server: reports as a browser reads them, over loopback. `python -m infra.pages PORT`.

Pages refer to their parts (style sheets, plots) by relative address, which a link to one object cannot serve.
Only GET and HEAD, only the bucket `reports`, only below `checks/`, `coverage/` and `evaluations/`; nothing runs there
but the page's own inline script, and nothing is fetched from elsewhere. A page that was planted or changed is refused
(`read_page`).

Every page asks for a password (HTTP Basic, any user). A browser sends it to this port alone; a cookie would go to every
server on this machine's other ports. A link that a command prints carries it: `/sign-in` makes the browser remember it,
and goes on to the page. Without it a page says how to sign in.

What is not covered: one password is for everybody and every page, until `<home>/credentials.json` is made anew.
"""

import asyncio
import hmac
import logging
import re
import sys
from collections.abc import Mapping

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from components.contracts import Settings, plain_logs
from components.contracts.errors import ConfigurationError, IntegrityError, ObjectNotFoundError, StorageError
from components.storage import ObjectStore, connect, content_type, read_page
from components.web import LOOPBACK_HOSTS, SameOrigin, basic_password

_LOG = logging.getLogger(__name__)
_KEY = re.compile(r"(checks|coverage|evaluations)(/[A-Za-z0-9_][A-Za-z0-9._-]{0,120}){1,8}")
_LIMIT = 64 * 2**20
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}
_MISSING = "There is no such page.\n"
_SIGN_IN = "Sign in first: run `drover status` and open the link that it prints; then open this page again.\n"
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="Drover: drover status prints the password", charset="UTF-8"'}


def application(store: ObjectStore, password: str) -> SameOrigin:
    """The ASGI application.

    Raises:
        ConfigurationError: the password is empty.
    """
    if not password:
        raise ConfigurationError("expected a password in DROVER_PAGES_TOKEN, found none: `drover up` makes one")
    pages = _Pages(store, password)
    routes = [Route("/healthz", _health), Route("/sign-in", pages.sign_in), Route("/{key:path}", pages.page)]
    return SameOrigin(Starlette(routes=routes), LOOPBACK_HOSTS)


class _Pages:
    """The pages that ask for the password."""

    def __init__(self, store: ObjectStore, password: str) -> None:
        self._store, self._password = store, password

    async def sign_in(self, request: Request) -> Response:
        """Ask a browser for the password, which it then sends with every request, and show what was asked for."""
        if not _knows(request, self._password):
            return _text(_SIGN_IN, 401, _CHALLENGE)
        key = request.query_params.get("page", "")
        if not key:
            return _text("You are signed in: links to pages of this server open now.\n")
        if not _KEY.fullmatch(key):
            return _text(_MISSING, 404)
        # Absolute: a browser takes the password along into a relative address, and then does not send it unasked.
        return RedirectResponse(f"{request.base_url}{key}", 303, _HEADERS)

    async def page(self, request: Request) -> Response:
        if not _knows(request, self._password):
            return _text(_SIGN_IN, 401)
        key = request.path_params["key"]
        if not _KEY.fullmatch(key):
            return _text(_MISSING, 404)
        try:
            data = await asyncio.to_thread(read_page, self._store, key, limit=_LIMIT)
        except ObjectNotFoundError:
            return _text(_MISSING, 404)
        except IntegrityError as error:
            _LOG.error("ALARM %s", error)  # the message says what to do
            return _text(f"{error}.\n", 409)
        except StorageError:
            return _text("The object store does not answer; see `drover status`.\n", 503)
        return Response(data, headers=_HEADERS, media_type=content_type(key))


async def _health(_: Request) -> Response:
    return _text("ok\n")


def _text(message: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(message, status, _HEADERS | dict(headers or {}))


def _knows(request: Request, password: str) -> bool:
    """Check that the request carries the password; the user's name does not matter."""
    sent = basic_password(request.headers.getlist("authorization"))
    return sent is not None and hmac.compare_digest(sent.encode(), password.encode())


def main(port: int, host: str = "127.0.0.1") -> None:
    """Serve until a signal. Another host than loopback is for containers, whose ports are published on loopback."""
    settings = Settings()
    password = settings.pages_token.get_secret_value() if settings.pages_token else ""
    uvicorn.run(
        application(connect(settings), password),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        workers=1,
    )


if __name__ == "__main__":
    plain_logs()
    main(int(sys.argv[1]), *sys.argv[2:3])
