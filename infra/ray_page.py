"""Ray's dashboard for a browser: `python -m infra.ray_page PORT DASHBOARD_PORT TOKEN_FILE`.

Ray's own sign-in keeps its token in a cookie, and a browser sends the cookies of 127.0.0.1 to every port there, those
of other users' servers too. This server asks for the token as a password instead (HTTP Basic, any user), which a
browser sends to this port alone, compares it with Ray's before anything is answered (Ray itself asks for none before
its page and icons), and passes it on as Ray wants it. It lets no cookie through.

What is not covered: WebSockets and uploads, which no page of the dashboard needs.
"""

import hmac
import logging
import sys
from collections.abc import Iterable
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from components.contracts import plain_logs
from components.web import LOOPBACK_HOSTS, SameOrigin, basic_password

from ._health import LOOPBACK

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="Ray: drover status --secrets prints the password", charset="UTF-8"'}
_SIGN_IN = "Sign in with the password that `drover status --secrets` prints; any user name will do.\n"
_ASKED = frozenset({"accept", "accept-encoding", "accept-language", "if-modified-since", "if-none-match", "range"})
_ANSWERED = frozenset(
    {"accept-ranges", "cache-control", "content-encoding", "content-length", "content-range", "content-type", "etag",
     "last-modified", "vary"}
)  # fmt: skip
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; frame-ancestors 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def application(dashboard: str, token_file: Path) -> SameOrigin:
    """The ASGI application in front of the dashboard at this URL, whose token is in this file."""
    # A client of its own for each server: Ray's answers are passed on as they are, cookies never kept.
    client = httpx.AsyncClient(base_url=dashboard, timeout=60.0, trust_env=False, follow_redirects=False)

    async def forward(request: Request) -> Response:
        password = _password(request, token_file)
        if password is None:
            return PlainTextResponse(_SIGN_IN, 401, _CHALLENGE)
        path = request.scope["raw_path"] + (b"?" + request.scope["query_string"]).rstrip(b"?")
        headers = _only(request.headers.items(), _ASKED) | {"Authorization": f"Bearer {password}"}
        client.cookies.clear()
        try:
            asked = client.build_request(request.method, httpx.URL(raw_path=path), headers=headers)
            answer = await client.send(asked, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return PlainTextResponse("Ray's dashboard does not answer; see `drover status`.\n", 503, _HEADERS)
        if answer.status_code in {401, 403}:
            await answer.aclose()
            return PlainTextResponse(_SIGN_IN, 401, _CHALLENGE)
        headers = _only(answer.headers.items(), _ANSWERED) | _HEADERS
        return StreamingResponse(
            answer.aiter_raw(), answer.status_code, headers, background=BackgroundTask(answer.aclose)
        )

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def mode(request: Request) -> Response:
        """Keep Ray's page from asking for the token, which is there already."""
        if _password(request, token_file) is None:
            return PlainTextResponse(_SIGN_IN, 401, _CHALLENGE)
        return Response('{"authentication_mode":"disabled"}', media_type="application/json")

    routes = [
        Route("/healthz", health),
        Route("/api/authentication_mode", mode),
        Route("/{path:path}", forward),  # GET and HEAD: what changes something is for `ray`'s own commands
    ]
    return SameOrigin(Starlette(routes=routes), LOOPBACK_HOSTS)


def _only(headers: Iterable[tuple[str, str]], names: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() in names}


def _password(request: Request, token_file: Path) -> str | None:
    """The password that the request carries, if it is Ray's token. Ray makes the file after this server has started."""
    sent = basic_password(request.headers.getlist("authorization"))
    try:
        token = token_file.read_text().strip()
    except OSError:
        return None
    return sent if sent and token and hmac.compare_digest(sent.encode(), token.encode()) else None


def main(port: int, dashboard_port: int, token_file: Path) -> None:
    """Serve until a signal."""
    uvicorn.run(
        application(f"{LOOPBACK}:{dashboard_port}", token_file),
        host="127.0.0.1",
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=128,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    plain_logs()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
