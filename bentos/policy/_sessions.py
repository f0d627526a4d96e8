"""Sessions: what the policy remembers of each robot's episode, bounded in number, age and requests."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from components.contracts.errors import DroverError
from components.robot import Runtime, Session


class BusyError(DroverError):
    """There is no place for this request now; `retry_after_s` later there may be.

    Args:
        message: what was expected, and what to do.
        retry_after_s: seconds.
        status: 429 where this client has too much open, 503 where all have.
    """

    def __init__(self, message: str, retry_after_s: int, *, status: int = 429) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.status = status


class Turn(NamedTuple):
    """One request's turn with its session."""

    session: Session
    restarted: bool
    """The episode begins although neither `reset` nor another instruction asked for it: nothing was remembered."""


@dataclass(eq=False)
class _Slot:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    session: Session | None = None
    requests: int = 0
    """In work or waiting."""
    used_at: float = 0.0


class Sessions:
    """By name. A live session is never given up for another: beyond the limit, new names are refused.

    For one event loop. Requests of one session are answered one after another, in the order in which they came, so
    that a robot with one session is never ahead of another by more than one request.

    Args:
        runtime: whose memory it is.
        most: sessions that are kept.
        ttl_s: seconds without a request after which a session is forgotten.
        requests: of one session at once.
        clock: seconds, never backwards.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        most: int = 256,
        ttl_s: float = 600,
        requests: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runtime = runtime
        self._most = most
        self._ttl_s = ttl_s
        self._requests = requests
        self._clock = clock
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        """The least recently used first."""

    @asynccontextmanager
    async def turn(self, name: str, instruction: str, *, reset: bool) -> AsyncIterator[Turn]:
        """Wait for a session and use it. A new name, another instruction or `reset` begins an episode.

        An exception within leaves the session as it was.

        Raises:
            PolicyError: the policy cannot take this instruction.
            BusyError: too many sessions are live, or too many requests are in this one.
        """
        slot = self._slot(name)
        slot.requests += 1
        try:
            async with slot.lock:
                session = slot.session
                restarted = session is None and not reset
                if session is None or reset or session.instruction != instruction:
                    session = self.runtime.session(instruction)
                yield Turn(session, restarted)
                slot.session = session
        finally:
            slot.requests -= 1
            if slot.session is None and slot.requests == 0:
                del self._slots[name]  # it never began: it takes no place
            else:
                slot.used_at = self._clock()
                self._slots.move_to_end(name)

    def __len__(self) -> int:
        return len(self._slots)

    def _slot(self, name: str) -> _Slot:
        now = self._clock()
        self._forget(now - self._ttl_s)
        slot = self._slots.get(name)
        if slot is None:
            if len(self._slots) >= self._most:
                oldest = next(iter(self._slots.values()))
                raise BusyError(
                    f"expected at most {self._most} sessions at a time, all of them were used in the last "
                    f"{self._ttl_s:g} s; use one of yours again, or wait until one is forgotten",
                    max(1, math.ceil(oldest.used_at + self._ttl_s - now)),
                )
            slot = self._slots[name] = _Slot(used_at=now)
        elif slot.requests >= self._requests:
            raise BusyError(
                f"expected at most {self._requests} requests at once in session {name}; wait for their answers", 1
            )
        return slot

    def _forget(self, before: float) -> None:
        old = []
        for name, slot in self._slots.items():
            if slot.used_at >= before:
                break
            if slot.requests == 0:
                old.append(name)
        for name in old:
            del self._slots[name]
