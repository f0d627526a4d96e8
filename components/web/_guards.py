"""ASGI wrappers that refuse a request before the application behind them sees it."""

import base64
import hmac
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

_SAFE = frozenset({"GET", "HEAD"})


class SameOrigin:
    """Refuse requests whose `Host` is foreign (421), and those that a foreign page made (403).

    A name that an attacker lets resolve to 127.0.0.1 (DNS rebinding) fails the first test. A page of another origin
    fails the second: by its `Origin`, or, where a browser sends none, by its `Sec-Fetch-Site` header. Another port of
    this machine is another origin. Following a link from elsewhere to a page is allowed; embedding it is not.

    Args:
        app: the ASGI application.
        hosts: names that clients know this server by, without ports, IPv6 addresses without brackets.
        advice: what a client whose `Host` is refused should do.
        problem: media type and body of a refusal, of its status and message; plain text otherwise.
    """

    def __init__(
        self,
        app: App,
        hosts: Collection[str] = LOOPBACK_HOSTS,
        *,
        advice: str = "",
        problem: Callable[[int, str], tuple[str, bytes]] | None = None,
    ) -> None:
        self._app = app
        self._advice = f"; {advice}" if advice else ""
        self._problem = problem or _plain
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and (refusal := self._refusal(scope)):
            await _refuse(scope, send, *refusal, problem=self._problem)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        host = _only(scope, b"host")
        if host is None or _host_name(host) not in self._hosts:
            return 421, f"expected a Host header that names this server{self._advice}"
        origins = _values(scope, b"origin")
        if origins and (len(origins) > 1 or not _is_origin_of(origins[0], host)):
            return 403, "requests from pages of another origin are refused"
        site = _only(scope, b"sec-fetch-site")
        if site in {"cross-site", "same-site"} and not _follows_a_link(scope):
            return 403, "requests from pages of another origin are refused"
        return None


class BearerToken:
    """Refuse requests without `Authorization: Bearer <token>` (401).

    Args:
        app: the ASGI application.
        token: the secret.
        open_paths: paths that anyone may GET, such as health checks.
    """

    def __init__(self, app: App, token: str, open_paths: Collection[str] = ()) -> None:
        if not token:
            raise ValueError("expected a token, got an empty one")
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and not self._may_pass(scope):
            await _refuse(scope, send, 401, "expected the header `Authorization: Bearer <token>`")
        else:
            await self._app(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        if scope["type"] == "http" and scope["method"] in _SAFE and scope["path"] in self._open_paths:
            return True
        given = _only(scope, b"authorization")
        return given is not None and hmac.compare_digest(given.encode("latin-1"), self._expected)


def basic_password(authorization: Sequence[str]) -> str | None:
    """The password of HTTP Basic, whatever the user's name.

    Args:
        authorization: the values of all `Authorization` headers of a request.

    Returns:
        None unless there is exactly one, of that scheme, in UTF-8.
    """
    scheme, _, coded = (authorization[0] if len(authorization) == 1 else "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        _, _, password = base64.b64decode(coded.strip(), validate=True).partition(b":")
        return password.decode()
    except ValueError:  # binascii.Error and UnicodeDecodeError are
        return None


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _only(scope: Scope, name: bytes) -> str | None:
    """The header's value; None if it is absent or given twice."""
    values = _values(scope, name)
    return values[0] if len(values) == 1 else None


def _host_name(host: str) -> str | None:
    """The name in a `Host` header, in lower case; None for anything that is not `name` or `name:port`."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises if it is no number
    except ValueError:
        return None
    return parts.hostname if parts.netloc == host and "@" not in host else None


def _is_origin_of(origin: str, host: str) -> bool:
    scheme, separator, netloc = origin.partition("://")
    return separator == "://" and scheme in {"http", "https"} and netloc.lower() == host.lower()


def _follows_a_link(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] in _SAFE
        and _only(scope, b"sec-fetch-mode") == "navigate"
        and _only(scope, b"sec-fetch-dest") == "document"
    )


def _plain(_status: int, message: str) -> tuple[str, bytes]:
    return "text/plain; charset=utf-8", f"{message}\n".encode()


async def _refuse(
    scope: Scope,
    send: Send,
    status: int,
    message: str,
    *,
    problem: Callable[[int, str], tuple[str, bytes]] = _plain,
) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": message})
        return
    kind, body = problem(status, message)
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
