import asyncio

import pytest

from bentos.policy._sessions import BusyError, Sessions
from components.contracts.errors import PolicyError
from components.robot import Runtime
from tests.packaging.made import LEFT, RIGHT


@pytest.fixture(scope="module")
def runtime(made):
    return Runtime(made.folder)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


async def use(sessions, name, instruction=LEFT, *, reset=False):
    async with sessions.turn(name, instruction, reset=reset) as turn:
        turn.session.frames += 1
    return turn.session.frames, turn.restarted


def seen(sessions, name, instruction=LEFT, **options):
    return asyncio.run(use(sessions, name, instruction, **options))


def test_live_session_is_never_given_up_for_a_stranger(runtime):
    clock = Clock()
    sessions = Sessions(runtime, most=2, ttl_s=10, clock=clock)
    seen(sessions, "a")
    clock.now = 4
    seen(sessions, "b")

    with pytest.raises(BusyError, match="at most 2 sessions") as refused:
        seen(sessions, "c")

    assert refused.value.retry_after_s == 6
    assert seen(sessions, "a") == (2, False)
    assert seen(sessions, "b") == (2, False)


def test_forgotten_session_leaves_its_place_and_says_that_it_restarted(runtime):
    clock = Clock()
    sessions = Sessions(runtime, most=1, ttl_s=10, clock=clock)
    seen(sessions, "a", reset=True)
    clock.now = 9
    assert seen(sessions, "a") == (2, False)
    clock.now = 20

    assert seen(sessions, "b") == (1, True)
    assert len(sessions) == 1
    clock.now = 40
    assert seen(sessions, "a") == (1, True)


def test_session_in_use_is_not_forgotten(runtime):
    clock = Clock()
    sessions = Sessions(runtime, most=1, ttl_s=10, clock=clock)

    async def hold():
        async with sessions.turn("a", LEFT, reset=True) as turn:
            turn.session.frames += 1
            clock.now = 100
            with pytest.raises(BusyError):
                await use(sessions, "b")
        return await use(sessions, "a")

    assert asyncio.run(hold()) == (2, False)


def test_refused_instruction_leaves_the_session_as_it_was(runtime):
    sessions = Sessions(runtime)
    seen(sessions, "a")

    with pytest.raises(PolicyError):
        seen(sessions, "a", "xyzzy")
    assert seen(sessions, "a") == (2, False)
    assert seen(sessions, "a", RIGHT) == (1, False)


def test_failed_request_leaves_the_session_as_it_was(runtime):
    sessions = Sessions(runtime)
    seen(sessions, "a")

    async def fail():
        async with sessions.turn("a", RIGHT, reset=True):
            raise PolicyError("no JPEG")

    with pytest.raises(PolicyError):
        asyncio.run(fail())
    assert seen(sessions, "a") == (2, False)


def test_session_that_never_began_takes_no_place(runtime):
    sessions = Sessions(runtime, most=1)

    with pytest.raises(PolicyError):
        seen(sessions, "a", "xyzzy")

    assert len(sessions) == 0
    assert seen(sessions, "b") == (1, True)


def test_many_requests_in_one_session_leave_others_their_turn(runtime):
    sessions = Sessions(runtime, requests=4)

    async def crowd():
        async with sessions.turn("greedy", LEFT, reset=True):
            waiting = [asyncio.create_task(use(sessions, "greedy")) for _ in range(3)]
            await asyncio.sleep(0)  # each takes its place
            with pytest.raises(BusyError, match="at most 4 requests at once in session greedy"):
                await use(sessions, "greedy")
            other = await use(sessions, "other", reset=True)
        return other, [(await task)[0] for task in waiting]

    assert asyncio.run(crowd()) == ((1, False), [1, 2, 3])
