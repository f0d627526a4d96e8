"""Requests of bounded size, time, number and work."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from components.contracts import FrameSpec
from components.contracts.errors import PolicyError
from components.robot import outline_jpeg

MAX_FRAME_BYTES = 2 * 2**20
"""Of a JPEG. One of 1920x1080 at quality 90 without subsampling, with a noisy sensor, has 1.9 MB."""
MAX_FRAME_PIXELS = 1920 * 1080
"""2.25 times the recorder's 1280x720; a policy whose input is larger takes that size."""
WORK_PER_PIXEL = 4
"""Samples that the decoder may go over for each pixel of the largest frame: a baseline JPEG has 1.5 to 3 a pixel, a
progressive one of 1280x720 as Pillow writes it 8."""
MAX_BODY = MAX_FRAME_BYTES + 64 * 1024
"""One JPEG and the other form fields."""
BODY_S = 10.0
"""For a whole body to come: 2 MiB at 1.8 Mbit/s, an ordinary frame at 50 kbit/s."""
MAX_REQUESTS = 64
"""Requests whose bodies are read or that wait for the policy: 64 bodies or frames are 130 MiB, while one becomes the
other twice that."""
_FIXED_COST = 2**17
"""What every frame costs besides its decoding, in samples: about 1 ms."""
RETRY_AFTER_S = 1
_MAX_FIELDS = 8
_MAX_FIELD = 4096


def frame_cost(jpeg: bytes, spec: FrameSpec) -> int:
    """Judge a frame before it is decoded; linear in its bytes.

    Larger frames are refused, not decoded at a reduced size: a JPEG decoder's own reduction gives other values than
    the area average that training used.

    Args:
        jpeg: a whole file.
        spec: the policy's input.

    Returns:
        What decoding and resizing it costs, in samples; about 10 ns each.

    Raises:
        PolicyError: no JPEG as cameras write it, or beyond the bounds.
    """
    most = max(MAX_FRAME_PIXELS, spec.width * spec.height)
    if len(jpeg) > MAX_FRAME_BYTES:
        raise PolicyError(f"expected a JPEG of at most {MAX_FRAME_BYTES} bytes, got more; send a smaller frame")
    outline = outline_jpeg(jpeg, max_pixels=most)
    if outline.work > WORK_PER_PIXEL * most:
        raise PolicyError(
            f"expected a JPEG of at most {WORK_PER_PIXEL * most} samples over all scans, got {outline.work} in one of "
            f"{outline.width}x{outline.height}; send a smaller frame, or a baseline instead of a progressive JPEG"
        )
    return outline.work + outline.width * outline.height + _FIXED_COST


class BodyLimit:
    """ASGI middleware: a body is read whole, within limits, before anything parses it.

    The answer is 413 beyond the size, 408 beyond the time, 503 beyond the number.

    Args:
        app: what comes next.
        limit: bytes.
        seconds: for one body.
        requests: at once.
    """

    def __init__(self, app: Any, limit: int = MAX_BODY, seconds: float = BODY_S, requests: int = MAX_REQUESTS) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds
        self._free = requests

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._free == 0:
            answer = problem(503, "expected fewer requests at once; send it again after a second", RETRY_AFTER_S)
            await answer(scope, receive, send)
        else:
            self._free -= 1
            try:
                await self._bounded(scope, receive, send)
            finally:
                self._free += 1

    async def _bounded(self, scope: Any, receive: Any, send: Any) -> None:
        if _told_length(scope) > self._limit:
            await self._too_large()(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._read(receive)
        except TimeoutError:
            await problem(408, f"expected the whole request within {self._seconds:g} s")(scope, receive, send)
            return
        if body is None:
            return  # the client went away
        if len(body) > self._limit:
            await self._too_large()(scope, receive, send)
            return
        bodies = [body]
        del body  # a request may wait for long
        await self._app(scope, _replay(bodies, receive), send)

    async def _read(self, receive: Any) -> bytes | None:
        body, more = bytearray(), True
        while more and len(body) <= self._limit:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return bytes(body)

    def _too_large(self) -> JSONResponse:
        return problem(413, f"expected a request of at most {self._limit} bytes, got more; send a smaller frame")


class BoundedForm(APIRoute):
    """A route whose form has one file and few, short fields."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            if "form" in request.headers.get("content-type", ""):
                await request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD)
            return await handle(request)  # which finds the form parsed

        return bounded


def problem(status: int, message: str, retry_after_s: int | None = None) -> JSONResponse:
    """An answer that is not 200. 408 and 413 leave a body unread: the connection cannot go on."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if status in {408, 413}:
        headers["Connection"] = "close"
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def _told_length(scope: Any) -> int:
    told = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(told[:18]) if told.isdigit() else 0  # what comes is counted too


def _replay(bodies: list[bytes], receive: Any) -> Callable[[], Awaitable[Any]]:
    """Give the body to the application once, and keep it no longer."""

    async def replay() -> Any:
        if not bodies:
            return await receive()
        return {"type": "http.request", "body": bodies.pop(), "more_body": False}

    return replay
