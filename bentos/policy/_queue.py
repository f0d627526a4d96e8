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
    tag: float
    arrived: int
    session: str = field(compare=False)
    cost: int = field(compare=False)
    turn: "asyncio.Future[None]" = field(compare=False)


class FairQueue:
    """Give workers to requests by cost, so that an expensive request delays cheap ones of other sessions little.

    Weighted fair queueing with equal weights (Demers, Keshav, Shenker, "Analysis and simulation of a fair queueing
    algorithm", SIGCOMM 1989): requests are begun in the order in which a server would finish them that works on all
    sessions at once, in equal shares. A cheap request comes before expensive ones that came first, however many; one
    that costs ten times as much waits for ten of the cheap ones of each session that has some, and no longer. When
    the queue is full, the request that would be finished last is refused, the new one or one that waits.

    For one event loop, and at most one request of a session at a time (`Sessions.turn`). A request that was begun is
    not interrupted.

    Args:
        workers: requests in work at once.
        waiting: requests that wait.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self._free = workers
        self._most = waiting
        self._clock = 0.0
        """Cost that the imagined server has worked off for each session that it has work of."""
        self._ends: dict[str, float] = {}
        """Session -> what the clock shows when the imagined server has done its last request; none that are over."""
        self._heap: list[_Waiting] = []
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    @asynccontextmanager
    async def turn(self, session: str, cost: int) -> AsyncIterator[None]:
        """Wait for a worker, and hold it.

        Args:
            session: whose request it is.
            cost: of this request, in any unit that is the same for all.

        Raises:
            BusyError: the queue is full of requests that cost no more.
        """
        await self._wait(session, cost)
        try:
            yield
        finally:
            self._free += 1
            self._begin_next()

    async def _wait(self, session: str, cost: int) -> None:
        tag = self._ends.get(session, self._clock) + cost
        place = _Waiting(tag, next(self._arrivals), session, cost, asyncio.get_running_loop().create_future())
        heapq.heappush(self._heap, place)
        self._ends[session] = tag
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
            self._free -= 1
            self._advance(place.cost)
            if not place.turn.done():
                place.turn.set_result(None)

    def _advance(self, cost: float) -> None:
        """Let the imagined server do as much work as the real one has begun, in equal shares."""
        while self._ends:
            shares = len(self._ends)
            first = min(self._ends, key=self._ends.__getitem__)
            to_next = (self._ends[first] - self._clock) * shares
            if to_next > cost:
                self._clock += cost / shares
                return
            self._clock = self._ends.pop(first)
            cost -= to_next
        if not self._heap:
            self._clock = 0.0  # no tag is left that is compared with it

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
        if self._ends.get(place.session) == place.tag:  # as if it had never come
            del self._ends[place.session]
            if place.tag - place.cost > self._clock:
                self._ends[place.session] = place.tag - place.cost
