"""One episode's way into the inbox: in parts, resumed at the part where it stopped, after any cut and on any day.

There is one way on after every trouble, be it a cut, an expired link, a lost answer or a killed robot: ask the gateway
again. It says which parts the store holds and gives fresh links for the rest.

What is not covered: going on inside a part. S3 takes none under 5 MiB, so a network that drops every connection
before 5 MiB are through never gets one across; that is an alarm, and nothing is lost.
"""

import base64
import hashlib
import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import urllib3

from components.contracts import UploadAnswer, UploadCompletion, UploadRequest, UploadTicket
from components.contracts.errors import GatewayError
from components.storage import read_bounded

from ._conditions import TokenBucket
from ._gateway import Gateway

_log = logging.getLogger(__name__)

_CHUNK = 2**16
_MAX_PARTS = 10_000
_MAX_IDLE_ROUNDS = 6
"""Rounds in a row that brought no part across; then the episode waits for the next pass."""
_BACKOFF_S = 3.0
_REFUSAL_LIMIT = 64 * 1024
_RENEW = frozenset({"incomplete", "not-found"})


class HeldError(Exception):
    """A condition ended: nothing more may be sent now."""


@dataclass(frozen=True)
class Outgoing:
    """A finished file, hashed."""

    path: Path
    sha256: str
    size: int

    @property
    def name(self) -> str:
        return self.path.stem


class Sender:
    """Sends episodes through one gateway, one at a time.

    Args:
        gateway: whom to ask.
        opened: told the ticket of each round, so that it is remembered.
        hold: asked before each part; why nothing may be sent now, or None.
        bucket: the bandwidth limit, if there is one.
        clock: monotonic, s.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        opened: Callable[[Outgoing, UploadTicket], None] = lambda _episode, _ticket: None,
        hold: Callable[[], str | None] = lambda: None,
        bucket: TokenBucket | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gateway, self._opened, self._hold = gateway, opened, hold
        self._bucket, self._clock, self._sleep = bucket, clock, sleep
        self.bytes_sent = 0
        """Of files, handed to the network: what was sent twice counts twice."""

    def ask(self, episode: Outgoing) -> UploadAnswer:
        """Where it stands, sending nothing. Raises GatewayError."""
        return self._gateway.upload(UploadRequest(name=episode.name, sha256=episode.sha256, size=episode.size))

    def send(self, episode: Outgoing, answer: UploadAnswer | None = None) -> tuple[UploadAnswer, bool]:
        """Bring it into the inbox.

        Args:
            episode: what to send.
            answer: where it stands, if that was asked for just now.

        Returns:
            The last answer, `waiting` or `settled`, and whether it was completed now.

        Raises:
            GatewayError: refused, away, or `stuck`: round after round brought no part across.
            HeldError: a condition ended; the parts so far are kept by the store.
            OSError: the file cannot be read.
        """
        answer, completed, most, idle = answer or self.ask(episode), False, -1, 0
        while answer.state == "open":
            ticket = checked_ticket(answer, episode.size)
            self._opened(episode, ticket)
            if len(ticket.done) > most:
                most, idle = len(ticket.done), 0
            else:
                idle += 1
                if idle >= _MAX_IDLE_ROUNDS:
                    raise GatewayError(
                        "stuck",
                        f"{episode.name}: {idle} tries brought no part of {ticket.part_bytes} bytes across, {most} of "
                        f"{_parts(episode.size, ticket.part_bytes)} are there; is the network too weak?",
                        again=True,
                    )
                self._sleep(random.uniform(0.5, 1.0) * min(_BACKOFF_S, 0.1 * 2**idle))
            if self._send_parts(episode, ticket):
                answer, completed = self._complete(episode, ticket)
            else:
                answer = self.ask(episode)
        return answer, completed

    def _complete(self, episode: Outgoing, ticket: UploadTicket) -> tuple[UploadAnswer, bool]:
        try:
            done = UploadCompletion(
                name=episode.name, sha256=episode.sha256, size=episode.size, upload_id=ticket.upload_id
            )
            return self._gateway.complete(done), True
        except GatewayError as error:
            if error.code not in _RENEW:
                raise
            _log.info("%s: %s; asking again", episode.name, error)
            return self.ask(episode), False

    def _send_parts(self, episode: Outgoing, ticket: UploadTicket) -> bool:
        """Whether every part is there now."""
        with episode.path.open("rb") as file:
            for link in ticket.links:
                if reason := self._hold():
                    raise HeldError(reason)
                start = (link.number - 1) * ticket.part_bytes
                try:
                    why = self._put(link.url, file, start, link.size)
                except (urllib3.exceptions.HTTPError, urllib3.exceptions.LocationValueError, ConnectionError) as error:
                    why = f"the connection was cut ({type(error).__name__})"
                if why:
                    _log.info("%s: part %d: %s; asking again", episode.name, link.number, why)
                    return False
        return len(ticket.done) + len(ticket.links) == _parts(episode.size, ticket.part_bytes)

    def _put(self, url: str, file: BinaryIO, start: int, size: int) -> str | None:
        """Why the store did not take the part, or did not confirm its bytes; None: it did."""
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in _chunks(file, start, size):
            digest.update(chunk)
        response = self._gateway.http.urlopen(
            "PUT",
            url,
            body=self._measured(_chunks(file, start, size)),
            headers={"Content-MD5": base64.b64encode(digest.digest()).decode(), "Content-Length": str(size)},
            preload_content=False,
        )
        words = read_bounded(response, _REFUSAL_LIMIT)
        if response.status != 200:
            return f"{response.status} {words[:200]!r}"
        etag = response.headers.get("ETag", "").strip('"').lower()
        if etag == digest.hexdigest() and not words:
            return None
        return f"200 with the ETag {etag[:40]!r}, which does not confirm MD5 {digest.hexdigest()}"  # the gateway knows

    def _measured(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            if self._bucket and (delay := self._bucket.delay(len(chunk), self._clock())):
                self._sleep(delay)
            self.bytes_sent += len(chunk)
            yield chunk


def checked_ticket(answer: UploadAnswer, size: int) -> UploadTicket:
    """The ticket of an open upload, if it describes these bytes.

    Raises:
        GatewayError: `malformed`: no ticket, parts that are none of the file's, or links to other than http and https.
    """
    ticket = answer.ticket
    if ticket is None:
        raise GatewayError("malformed", "the gateway says `open` and gives no ticket; nothing was sent")
    count = _parts(size, ticket.part_bytes)
    pairs = [(part.number, part.size) for part in ticket.done] + [(link.number, link.size) for link in ticket.links]
    sizes = dict(pairs)
    if count > _MAX_PARTS or len(pairs) != len(sizes) or not all(number <= count for number in sizes):
        raise GatewayError("malformed", f"the gateway's ticket is not one for {count} parts; nothing was sent")
    if any(found != _size_of(number, size, ticket.part_bytes) for number, found in sizes.items()):
        raise GatewayError("malformed", "the gateway's ticket has parts of other sizes than the file; nothing was sent")
    for link in ticket.links:
        try:
            parts = urlsplit(link.url)
            sound = parts.scheme in {"http", "https"} and bool(parts.hostname)
        except ValueError:
            sound = False
        if not sound:
            raise GatewayError(
                "malformed", f"the gateway's link {link.url[:60]!r} is not http or https; nothing was sent"
            )
    return ticket


def _parts(size: int, part_bytes: int) -> int:
    return math.ceil(size / part_bytes)


def _size_of(number: int, size: int, part_bytes: int) -> int:
    return min(part_bytes, size - (number - 1) * part_bytes)


def _chunks(file: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    """A stretch of the file."""
    file.seek(start)
    while size:
        chunk = file.read(min(_CHUNK, size))
        if not chunk:
            raise OSError(f"{file.name} became shorter while it was read")
        size -= len(chunk)
        yield chunk
