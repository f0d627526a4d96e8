"""What stands before the policy: requests of bounded size, errors as JSON, a page that calls nobody."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from components.contracts import Frozen
from components.contracts.errors import ConfigurationError, EpisodeError, PolicyError
from components.robot import MAX_JPEG_BYTES

MAX_BODY = MAX_JPEG_BYTES + 64 * 1024
"""One JPEG and the other form fields."""

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Drover: the promoted policy</title>
<link rel="stylesheet" href="./static_content/swagger-ui.css">
<link rel="icon" type="image/png" href="./static_content/favicon-light-32x32.png"></head>
<body><div id="swagger-ui"></div>
<script src="./static_content/swagger-ui-bundle.js"></script>
<script src="./static_content/swagger-ui-standalone-preset.js"></script>
<script src="./static_content/swagger-initializer.js"></script></body></html>"""


class Problem(Frozen):
    """Every answer that is not 200."""

    error: str
    """What was expected, what came, what to do."""


class BodyLimit:
    """ASGI middleware: a body is read whole, up to a limit, before anything parses it; beyond it the answer is 413.

    Args:
        app: what comes next.
        limit: bytes.
    """

    def __init__(self, app: Any, limit: int = MAX_BODY) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client went away
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._limit:
                answer = _error(
                    413, f"expected a request of at most {self._limit} bytes, got more; send a smaller frame"
                )
                await answer(scope, receive, send)
                return
        replayed = False

        async def replay() -> Any:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, replay, send)


def make_app() -> FastAPI:
    """A FastAPI application that answers every mistake with `{"error": ...}` and its page without a foreign script."""
    app = FastAPI(
        title="Drover: the promoted policy", version="1", docs_url=None, redoc_url=None, openapi_url="/docs.json"
    )
    app.openapi_version = "3.0.3"  # BentoML's copy of Swagger UI reads no 3.1
    app.add_middleware(BodyLimit)

    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(_PAGE)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()[:5])
        return _error(
            422, f"expected multipart/form-data with image (a JPEG file), instruction and session, got: {faults}"
        )

    @app.exception_handler(PolicyError)
    @app.exception_handler(EpisodeError)
    async def refused(_: Request, error: Exception) -> JSONResponse:
        return _error(400, str(error))

    @app.exception_handler(ConfigurationError)
    async def not_ready(_: Request, error: Exception) -> JSONResponse:
        return _error(503, str(error))

    @app.exception_handler(HTTPException)
    async def unreadable(_: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail))

    return app


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status)
