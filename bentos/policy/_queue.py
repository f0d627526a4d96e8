"""The queue before the decoder: a bounded number of workers and of requests that wait, in fair turns."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ._sessions import BusyError

RETRY_AFTER_S = 1


@dataclass(order=True)
class _Waiting:
    tag: int
    arrived: int
    turn: "asyncio.Future[None]" = field(compare=False)


class FairQueue:
    """Give workers to requests by cost, so that an expensive request delays cheap ones of other sessions little.

    Self-clocked fair queueing (Golestani, "A self-clocked fair queueing scheme for broadband applications", INFOCOM
    1994): a request is tagged with the tag of the one that was begun last, plus its own cost, and the least tag is
    begun first. What costs ten times as much waits for ten of the cheap ones of each session that has some, and no
    longer. When the queue is full, the request with the greatest tag is refused, the new one or one that waits.

    For one event loop, and at most one request of a session at a time (`Sessions.turn`), so that each session has the
    same share. A request that was begun is not interrupted.

    Args:
        workers: requests in work at once.
        waiting: requests that wait.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self._free = workers
        self._most = waiting
        self._clock = 0
        """The tag of the request that was begun last."""
        self._arrivals = itertools.count()
        self._heap: list[_Waiting] = []

    def __len__(self) -> int:
        return len(self._heap)

    @asynccontextmanager
    async def turn(self, cost: int) -> AsyncIterator[None]:
        """Wait for a worker, and hold it.

        Args:
            cost: of this request, in any unit that is the same for all.

        Raises:
            BusyError: the queue is full of requests that cost no more.
        """
        await self._wait(self._clock + cost)
        try:
            yield
        finally:
            self._free += 1
            self._begin_next()

    async def _wait(self, tag: int) -> None:
        place = _Waiting(tag, next(self._arrivals), asyncio.get_running_loop().create_future())
        heapq.heappush(self._heap, place)
        self._begin_next()
        if len(self._heap) > self._most:
            self._refuse(max(self._heap))
        try:
            await place.turn
        except asyncio.CancelledError:
            if place in self._heap:
                self._remove(place)
            elif place.turn.done() and not place.turn.cancelled() and place.turn.exception() is None:
                self._free += 1  # it was given a worker in the same moment
                self._begin_next()
            raise

    def _begin_next(self) -> None:
        while self._free and self._heap:
            place = heapq.heappop(self._heap)
            if not place.turn.done():
                self._free -= 1
                self._clock = place.tag
                place.turn.set_result(None)

    def _refuse(self, place: _Waiting) -> None:
        self._remove(place)
        place.turn.set_exception(
            BusyError(
                f"expected at most {self._most} requests waiting for the policy, and cheaper frames before expensive "
                "ones; send it again after a second, or a smaller frame",
                RETRY_AFTER_S,
                status=503,
            )
        )

    def _remove(self, place: _Waiting) -> None:
        self._heap.remove(place)
        heapq.heapify(self._heap)
