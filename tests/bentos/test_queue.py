"""Order and number of the frames that wait for the decoder."""

import asyncio

import pytest

from bentos.policy._queue import FairQueue
from bentos.policy._sessions import BusyError


class Line:
    """Requests with names before one queue; each is held until it is let go."""

    def __init__(self, workers: int, waiting: int) -> None:
        self.queue = FairQueue(workers, waiting)
        self.begun: list[str] = []
        self.refused: list[str] = []
        self.answers: set[tuple[int, int]] = set()
        """Status and `Retry-After` of what was refused."""
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, cost: int) -> None:
        """The session is what stands before a `:`, the whole name otherwise."""
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._one(name, cost))
        await self._settled()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await self._settled()

    async def end_all(self) -> list[str]:
        """Everything in turn. Returns the order in which they were begun."""
        done = 0
        while done < len(self.begun):
            await self.end(self.begun[done])
            done += 1
        return self.begun

    async def _one(self, name: str, cost: int) -> None:
        try:
            async with self.queue.turn(name.partition(":")[0], cost):
                self.begun.append(name)
                await self._ends[name].wait()
        except BusyError as error:
            self.refused.append(name)
            self.answers.add((error.status, error.retry_after_s))

    @staticmethod
    async def _settled() -> None:
        for _ in range(5):
            await asyncio.sleep(0)


def test_cheap_frame_is_begun_before_expensive_ones_that_came_first():
    async def crowd():
        line = Line(workers=2, waiting=50)
        for number in range(40):
            await line.ask(f"large-{number}", 100)
        await line.ask("small", 1)
        return await line.end_all()

    begun = asyncio.run(crowd())

    assert begun[:3] == ["large-0", "large-1", "small"]
    assert begun[3:] == [f"large-{number}" for number in range(2, 40)]


def test_expensive_frame_waits_for_its_share_and_no_longer():
    """Two sessions that send cheap frames without end, and one frame that costs five of theirs."""

    async def crowd():
        line = Line(workers=1, waiting=10)
        await line.ask("held", 1)
        await line.ask("large", 5)
        for name in ("a:0", "b:0"):
            await line.ask(name, 1)
        await line.end("held")
        for number in range(1, 20):
            for name in ("a", "b"):
                await line.end(f"{name}:{number - 1}")
                await line.ask(f"{name}:{number}", 1)
                if "large" in line.begun:
                    return line.begun
        return line.begun

    begun = asyncio.run(crowd())

    assert begun[-1] == "large"
    assert 8 <= len(begun) - 2 <= 10  # four or five of each


def test_cheap_frame_is_next_whenever_it_comes():
    async def crowd():
        line = Line(workers=1, waiting=50)
        for number in range(20):
            await line.ask(f"large-{number}", 100)
        for number in range(18):
            await line.end(line.begun[-1])
            await line.ask(f"small-{number}", 1)
            await line.end(line.begun[-1])
        return line.begun

    begun = asyncio.run(crowd())

    assert [name.partition("-")[0] for name in begun[:20]] == ["large", "large", *["small", "large"] * 9]


def test_equal_frames_are_begun_in_the_order_in_which_they_came():
    async def crowd():
        line = Line(workers=1, waiting=10)
        for name in "abcdef":
            await line.ask(name, 7)
        return await line.end_all()

    assert asyncio.run(crowd()) == list("abcdef")


def test_full_queue_refuses_the_most_expensive_frame_whenever_it_came():
    async def crowd():
        line = Line(workers=1, waiting=2)
        for name, cost in (("held", 1), ("large", 100), ("larger", 200), ("small", 1), ("too large", 300), ("tiny", 1)):
            await line.ask(name, cost)
        waiting = len(line.queue)
        return line.refused, line.answers, waiting, await line.end_all()

    refused, answers, waiting, begun = asyncio.run(crowd())

    assert refused == ["larger", "too large", "large"]
    assert answers == {(503, 1)}
    assert (waiting, begun) == (2, ["held", "small", "tiny"])


def test_full_queue_of_equal_frames_refuses_the_new_one():
    async def crowd():
        line = Line(workers=1, waiting=2)
        for name in "abcd":
            await line.ask(name, 5)
        return line.refused, await line.end_all()

    assert asyncio.run(crowd()) == (["d"], ["a", "b", "c"])


@pytest.mark.parametrize("state", ["waiting", "in work"])
def test_request_that_is_cancelled_leaves_its_place(state):
    async def crowd():
        line = Line(workers=1, waiting=2)
        for name in ("a", "b", "c"):
            await line.ask(name, 5)
        await line.cancel("b" if state == "waiting" else "a")
        await line.ask("d", 5)
        refused, held = line.refused, len(line.queue)
        begun = [name for name in await line.end_all() if state == "in work" or name != "b"]
        return refused, held, begun

    begun = ["a", "c", "d"] if state == "waiting" else ["a", "b", "c", "d"]
    assert asyncio.run(crowd()) == ([], 2, begun)


def test_request_that_is_cancelled_as_its_turn_comes_gives_it_on():
    async def crowd():
        queue, order = FairQueue(1, 5), []

        async def use(name):
            async with queue.turn(name, 1):
                order.append(name)

        async with queue.turn("first", 1):
            cancelled, next_one = asyncio.create_task(use("cancelled")), asyncio.create_task(use("next"))
            await asyncio.sleep(0)
        cancelled.cancel()  # the worker is its own already, and it does not know yet
        await asyncio.gather(cancelled, next_one, return_exceptions=True)
        return order

    assert asyncio.run(crowd()) == ["next"]
