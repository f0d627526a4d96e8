"""The application around the policy's routes: every mistake is answered as JSON."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from components.contracts import Frozen
from components.contracts.errors import ConfigurationError, EpisodeError, PolicyError

from ._bodies import BodyLimit, BoundedForm, problem
from ._page import HEADERS, PAGE
from ._sessions import BusyError


class Problem(Frozen):
    """Every answer of these routes that is not 200."""

    error: str
    """What was expected, what came, what to do."""


def make_app() -> FastAPI:
    """A FastAPI application that answers every mistake with `{"error": ...}`, and a page to try it by hand."""
    app = FastAPI(
        title="Drover: the promoted policy", version="1", docs_url=None, redoc_url=None, openapi_url="/docs.json"
    )
    app.router.route_class = BoundedForm
    app.add_middleware(BodyLimit)

    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(PAGE, headers=HEADERS)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()[:5])
        return problem(
            422, f"expected multipart/form-data with image (a JPEG file), instruction and session, got: {faults}"
        )

    @app.exception_handler(PolicyError)
    @app.exception_handler(EpisodeError)
    async def refused(_: Request, error: Exception) -> JSONResponse:
        return problem(400, str(error))

    @app.exception_handler(BusyError)
    async def busy(_: Request, error: BusyError) -> JSONResponse:
        return problem(error.status, str(error), error.retry_after_s)

    @app.exception_handler(ConfigurationError)
    async def not_ready(_: Request, error: ConfigurationError) -> JSONResponse:
        return problem(503, str(error))

    @app.exception_handler(HTTPException)
    async def unreadable(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail))

    return app
