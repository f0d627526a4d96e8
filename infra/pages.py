"""The page server: reports as a browser reads them, over loopback. `python -m infra.pages PORT`.

Pages refer to their parts (style sheets, plots) by relative address, which a presigned link to one object cannot serve.
Only GET and HEAD, only the bucket `reports`, only below `checks/` and `evaluations/`; nothing runs there but the page's
own inline script, and nothing is fetched from elsewhere. A page that was planted or changed is refused
(`read_page`).

What is not covered: who may look. Whoever is on this machine can.
"""

import asyncio
import logging
import re
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from components.contracts import Settings
from components.contracts.errors import IntegrityError, ObjectNotFoundError, StorageError
from components.storage import ObjectStore, connect, content_type, read_page

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
    "Cache-Control": "no-cache",
}


def application(store: ObjectStore) -> Starlette:
    """The ASGI application."""

    async def page(request: Request) -> Response:
        key = request.path_params["key"]
        if not _KEY.fullmatch(key):
            return PlainTextResponse("There is no such page.\n", 404, _HEADERS)
        try:
            data = await asyncio.to_thread(read_page, store, key, limit=_LIMIT)
        except ObjectNotFoundError:
            return PlainTextResponse("There is no such page.\n", 404, _HEADERS)
        except IntegrityError as error:
            _LOG.error("ALARM %s", error)  # the message says what to do
            return PlainTextResponse(f"{error}.\n", 409, _HEADERS)
        except StorageError:
            return PlainTextResponse("The object store does not answer; see `drover status`.\n", 503, _HEADERS)
        return Response(data, headers=_HEADERS, media_type=content_type(key))

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok\n", headers=_HEADERS)

    return Starlette(routes=[Route("/healthz", health), Route("/{key:path}", page)])


def main(port: int, host: str = "127.0.0.1") -> None:
    """Serve until a signal. Another host than loopback is for containers, whose ports are published on loopback."""
    uvicorn.run(
        application(connect(Settings())), host=host, port=port, log_level="warning", access_log=False, workers=1
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:3])
