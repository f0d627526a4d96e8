"""HTTP with bounds on time: a connection that moves next to nothing is cut, be it in headers, framing or body.

A socket's own timeout bounds one read. A server that sends a byte a second passes it for ever, so every read and write
here also counts against a least rate and, where a call has one, against its deadline. Redirects are never followed.

What is not covered: the resolver's time, which the system's own settings bound.
"""

import http.client
import io
import socket
import time
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

_PIECE = 2**14
"""Bytes of one write: small enough to pass within a window at the least rate."""


@dataclass(frozen=True)
class Pace:
    """The least that a connection has to do."""

    connect_s: float = 3.0
    answer_s: float = 60.0
    """Silence before the first byte of an answer: the server works."""
    least_bytes_s: float = 1024.0
    """Averaged over `window_s` of waiting for the network; what else takes time does not count."""
    window_s: float = 30.0
    call_s: float = 120.0
    """A small call in all, its answer's body included. Streamed bodies have the least rate alone."""


class TooSlowError(TimeoutError):
    """A transfer below its least rate, or a call beyond its deadline."""


class _Transfer:
    """One request and its answer, as far as time goes."""

    def __init__(self, pace: Pace, *, whole: bool) -> None:
        self._pace = pace
        self._deadline = time.monotonic() + pace.call_s if whole else None
        self._spent = self._moved = 0.0
        self._answered = False

    def time_left(self, *, reading: bool) -> float:
        """Seconds that the next read or write may take.

        Raises:
            TooSlowError: none.
        """
        left = self._pace.answer_s if self._is_silent(reading) else self._pace.window_s - self._spent
        if self._deadline is not None:
            left = min(left, self._deadline - time.monotonic())
        if left <= 0:
            raise self.too_slow(reading=reading)
        return left

    def too_slow(self, *, reading: bool) -> TooSlowError:
        """The bound that was not kept, in words."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return TooSlowError(f"expected a whole answer within {self._pace.call_s:g} s")
        if self._is_silent(reading):
            return TooSlowError(f"expected an answer within {self._pace.answer_s:g} s, not a byte came")
        return TooSlowError(
            f"expected at least {self._pace.least_bytes_s:g} bytes/s, {self._moved:g} bytes went over in "
            f"{self._pace.window_s:g} s"
        )

    def _is_silent(self, reading: bool) -> bool:
        return reading and not self._answered

    def note(self, size: int, took: float, *, reading: bool) -> None:
        """Count what one read or write moved; each full window begins the next."""
        if reading and not self._answered:
            self._answered, self._spent, self._moved = True, 0.0, float(size)
            return
        self._spent += took
        self._moved += size
        if self._moved >= self._pace.least_bytes_s * self._pace.window_s:
            self._spent = self._moved = 0.0


_current: ContextVar[_Transfer] = ContextVar("transfer")


class _Reader(io.RawIOBase):
    """A socket's bytes, each read within the transfer's time."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, transfer: _Transfer) -> None:
        self._raw, self._sock, self._transfer = raw, sock, transfer

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._transfer.time_left(reading=True))
        started = time.monotonic()
        try:
            size = cast("int | None", self._raw.readinto(buffer))
        except TimeoutError:
            raise self._transfer.too_slow(reading=True) from None
        self._transfer.note(size or 0, time.monotonic() - started, reading=True)
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_Reader(self.fp.detach(), sock, _current.get()))


class _PacedSending:
    """Parts common to both kinds of connection: bodies go out piece by piece, each within the transfer's time."""

    def send(self, data: Any) -> None:
        connection = cast("HTTPConnection", self)
        if connection.sock is None:
            connection.connect()
        transfer, view = _current.get(), memoryview(data)
        for start in range(0, max(len(view), 1), _PIECE):
            piece = view[start : start + _PIECE]
            connection.sock.settimeout(transfer.time_left(reading=False))
            started = time.monotonic()
            try:
                super().send(piece)  # type: ignore[misc]  # the connection's, which this is mixed into
            except TimeoutError:
                raise transfer.too_slow(reading=False) from None
            transfer.note(len(piece), time.monotonic() - started, reading=False)


class _PacedConnection(_PacedSending, HTTPConnection):
    response_class: Any = _Response


class _PacedSecureConnection(_PacedSending, HTTPSConnection):
    response_class: Any = _Response


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PacedConnection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _PacedSecureConnection


class Wire(urllib3.PoolManager):
    """Connections that keep a `Pace`. `preload_content=True` (the default) makes a small call with a deadline."""

    def __init__(self, pace: Pace | None = None, *, maxsize: int = 1) -> None:
        self.pace = pace or Pace()
        timeout = urllib3.Timeout(connect=self.pace.connect_s, read=self.pace.answer_s)
        super().__init__(timeout=timeout, retries=False, maxsize=maxsize)
        self.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, *, patient: bool = False, whole: bool | None = None, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """One request, never redirected and never repeated.

        Args:
            patient: no least rate: the server may keep the connection alive while it works.
            whole: the call has a deadline; None: unless its body is streamed (`preload_content=False`).
        """
        pace = replace(self.pace, least_bytes_s=0.0, window_s=self.pace.call_s) if patient else self.pace
        whole = bool(options.get("preload_content", True)) if whole is None else whole
        token = _current.set(_Transfer(pace, whole=whole))
        try:
            return super().urlopen(method, url, **options | {"redirect": False, "retries": False})
        finally:
            _current.reset(token)


def read_bounded(response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
    """A body of at most `limit` bytes, undecoded.

    Raises:
        urllib3.exceptions.HTTPError: it is longer, too slow, or cut off; the connection is closed.
    """
    data, whole = bytearray(), False
    try:
        while not whole and len(data) <= limit:
            chunk = response.read1(2**16, decode_content=False)
            data += chunk
            whole = not chunk
    finally:
        if not whole:
            response.close()
    if not whole:
        raise urllib3.exceptions.HTTPError(f"expected an answer of at most {limit} bytes, it is longer")
    response.release_conn()
    return bytes(data)
