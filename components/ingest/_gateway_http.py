"""The gateway's HTTP: requests in, answers or GatewayProblems out. The only file here that loads FastAPI."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from components.contracts import (
    EnrolledRobot,
    Enrolment,
    EnrolmentRequest,
    Frozen,
    GatewayProblem,
    ReportAnswer,
    SignedReport,
    UploadAnswer,
    UploadCompletion,
    UploadRequest,
)
from components.contracts.errors import DroverError, InvalidDocumentError
from components.storage import S3Store

from ._arrivals import Arrivals
from ._gateway import GatewayLimits
from ._invitations import accept
from ._problems import Code, Refused
from ._registry import enrolled_robot
from ._reports import ReportRates, accept_report
from ._tokens import Doorkeeper

_LOG = logging.getLogger(__name__)
_MESSAGE_CHARACTERS = 400
F = TypeVar("F", bound=Frozen)


def build_app(
    store: S3Store,
    links: S3Store,
    limits: GatewayLimits,
    on_waiting: Callable[[str], None],
    now: Callable[[], datetime],
) -> FastAPI:
    """What `gateway_app` says."""
    gateway = _Gateway(store, links, limits, on_waiting, now)
    app = FastAPI(title="Drover's upload gateway", docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    app.add_api_route("/healthz", gateway.health, methods=["GET"])
    for path, handler, asked, answered in (
        ("/v1/enrolments", gateway.enrol, EnrolmentRequest, Enrolment),
        ("/v1/uploads", gateway.upload, UploadRequest, UploadAnswer),
        ("/v1/uploads/complete", gateway.complete, UploadCompletion, UploadAnswer),
        ("/v1/reports", gateway.report, SignedReport, ReportAnswer),
    ):
        body = {"required": True, "content": {"application/json": {"schema": asked.model_json_schema()}}}
        described: dict[int | str, dict[str, Any]] = {200: {"model": answered}, "default": {"model": GatewayProblem}}
        app.add_api_route(path, handler, methods=["POST"], responses=described, openapi_extra={"requestBody": body})
    app.add_exception_handler(404, gateway.no_such_page)
    app.add_exception_handler(405, gateway.no_such_page)
    app.add_exception_handler(Exception, gateway.failed)
    return app


class _Gateway:
    """The requests of one process."""

    def __init__(
        self,
        store: S3Store,
        links: S3Store,
        limits: GatewayLimits,
        on_waiting: Callable[[str], None],
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._limits, self._on_waiting, self._now = store, limits, on_waiting, now
        self._arrivals = Arrivals(store, links, limits.uploads, now)
        self._door = Doorkeeper(
            lambda robot: _enrolled(store, robot),
            now=lambda: now().timestamp(),
            per_robot=limits.requests_per_robot,
            in_all=limits.requests,
        )
        self._rates = ReportRates(limits.reports_per_hour, lambda: now().timestamp())
        self._in_work = 0
        self._arriving: Counter[str] = Counter()
        """Address -> requests whose bodies are on their way."""

    async def health(self) -> Response:
        """That it answers; not whether the store does."""
        return _json(b'{"ok":true}', 200)

    async def enrol(self, request: Request) -> Response:
        authorization, path = request.headers.get("authorization"), request.scope["path"]

        def work(body: bytes) -> Frozen:
            asked = _parsed(EnrolmentRequest, body)
            self._door.check_possession(authorization, asked, path=path, body=body)
            return accept(self._store, asked, now=self._now())

        return await self._answer(request, work)

    async def upload(self, request: Request) -> Response:
        authorization, path = request.headers.get("authorization"), request.scope["path"]

        def work(body: bytes) -> Frozen:
            robot = self._door.admit(authorization, method="POST", path=path, body=body)
            return self._arrivals.open(robot, _parsed(UploadRequest, body))

        return await self._answer(request, work)

    async def complete(self, request: Request) -> Response:
        authorization, path = request.headers.get("authorization"), request.scope["path"]

        def work(body: bytes) -> Frozen:
            robot = self._door.admit(authorization, method="POST", path=path, body=body)
            answer = self._arrivals.complete(robot, _parsed(UploadCompletion, body))
            self._tell(robot, answer)
            return answer

        return await self._answer(request, work)

    async def report(self, request: Request) -> Response:
        authorization, path = request.headers.get("authorization"), request.scope["path"]

        def work(body: bytes) -> Frozen:
            name = self._door.admit(authorization, method="POST", path=path, body=body)
            signed = _parsed(SignedReport, body)
            self._rates.note(name)
            robot = enrolled_robot(self._store, name)
            if robot is None:
                raise Refused("unauthenticated", f"{name} is not enrolled any more")
            return accept_report(self._store, robot, signed)

        return await self._answer(request, work)

    async def no_such_page(self, request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        return self._problem("not-found", "expected one of the gateway's paths and its method", status)

    async def failed(self, _request: Request, error: Exception) -> Response:
        """A fault of ours."""
        _LOG.error("a request failed: %s", type(error).__name__, exc_info=error)
        return self._problem("store", "the gateway failed; try again later", 500)

    def _tell(self, robot: str, answer: UploadAnswer) -> None:
        if answer.state != "waiting":
            return
        try:
            self._on_waiting(robot)
        except Exception:  # noqa: BLE001 - the upload is safe whoever was to hear of it
            _LOG.exception("the start of ingest could not be asked for; its schedule will do")

    async def _answer(self, request: Request, work: Callable[[bytes], Frozen]) -> Response:
        """Read, do, answer: every refusal and every failure of the store is a problem that the robot understands."""
        try:
            body = await self._body(request)
            done = await self._work(work, body)
            return _json(done.canonical_json(), 200)
        except Refused as refusal:
            return self._problem(refusal.code, str(refusal), refusal.status)
        except ClientDisconnect:
            return self._problem("malformed", "the request ended early", 400)  # nobody hears it
        except DroverError as error:
            _LOG.warning("%s: %s", request.scope["path"], error)
            return self._problem("store", "the object store does not do it just now: try again", 503)

    async def _work(self, work: Callable[[bytes], Frozen], body: bytes) -> Frozen:
        if self._in_work >= self._limits.at_once:
            raise Refused("busy", "too many requests at once: try again", status=503)
        self._in_work += 1
        try:
            return await run_in_threadpool(work, body)
        finally:
            self._in_work -= 1

    async def _body(self, request: Request) -> bytes:
        """Whole. While it is on its way it counts against its address, and takes no place in `at_once`."""
        address = request.client.host if request.client else ""
        if self._arriving[address] >= self._limits.bodies_per_address:
            raise Refused("busy", "too many unfinished requests of this address: try again", status=503)
        self._arriving[address] += 1
        try:
            return await self._read(request)
        finally:
            self._arriving[address] -= 1
            if not self._arriving[address]:
                del self._arriving[address]

    async def _read(self, request: Request) -> bytes:
        limit, body = self._limits.body_bytes, bytearray()
        try:
            async with asyncio.timeout(self._limits.body_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise Refused("malformed", f"expected a body of at most {limit} bytes", status=413)
        except TimeoutError:
            raise Refused("malformed", f"the body took longer than {self._limits.body_s:g} s", status=408) from None
        return bytes(body)

    def _problem(self, code: Code, message: str, status: int) -> Response:
        problem = GatewayProblem(code=code, message=message[:_MESSAGE_CHARACTERS], now=self._now())
        return _json(problem.canonical_json(), status)


def _enrolled(store: S3Store, robot: str) -> EnrolledRobot | None:
    """None also for an entry that counts for nothing, such as one with a key for which signatures can be forged."""
    try:
        return enrolled_robot(store, robot)
    except InvalidDocumentError as error:
        _LOG.error("ALARM gateway: %s is not let in: %s", robot, error)
        return None


def _parsed(kind: type[F], body: bytes) -> F:
    try:
        return kind.parse(body, source="the request")
    except InvalidDocumentError as error:
        raise Refused("malformed", str(error)) from None


def _json(content: bytes, status: int) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if status in {429, 503}:
        headers["Retry-After"] = "2"
    return Response(content, status, headers, media_type="application/json")
