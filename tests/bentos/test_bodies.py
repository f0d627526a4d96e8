"""Bounds of single requests, without a policy behind them."""

import asyncio

import httpx
import pytest

from bentos.policy._bodies import BodyLimit
from bentos.policy._http import make_app
from bentos.policy._sessions import BusyError


async def echo(scope, receive, send):
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def ask(app, **request):
    async def once():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            return await client.post("/", **request)

    return asyncio.run(once())


async def never():
    yield b"some"
    await asyncio.Event().wait()


def test_body_within_the_limits_arrives_whole():
    assert ask(BodyLimit(echo, limit=1000), content=b"x" * 1000).content == b"x" * 1000


def test_body_that_never_ends_is_answered():
    answer = ask(BodyLimit(echo, seconds=0.01), content=never())

    assert answer.status_code == 408
    assert answer.headers["connection"] == "close"


def test_body_that_says_it_is_too_large_is_not_read():
    assert ask(BodyLimit(echo, limit=10), content=never(), headers={"Content-Length": "11"}).status_code == 413


def test_body_that_does_not_say_it_is_read_up_to_the_limit():
    read = 0

    async def endless():
        nonlocal read
        while True:
            read += 100
            yield b"x" * 100

    assert ask(BodyLimit(echo, limit=1000), content=endless()).status_code == 413
    assert read <= 1200


def test_requests_beyond_the_number_are_refused_until_one_ends():
    release, arrived = asyncio.Event(), asyncio.Semaphore(0)

    async def held(scope, receive, send):
        arrived.release()
        await release.wait()
        await echo(scope, receive, send)

    async def crowd():
        app = BodyLimit(held, requests=2)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            first = [asyncio.create_task(client.post("/")) for _ in range(2)]
            for _ in first:
                await arrived.acquire()
            refused = await client.post("/")
            release.set()
            answers = [(await task).status_code for task in first]
            return refused, [*answers, (await client.post("/")).status_code]

    refused, answers = asyncio.run(crowd())

    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert answers == [200, 200, 200]


def test_busy_session_is_told_when_to_come_again():
    app = make_app()

    @app.post("/busy")
    async def busy():
        raise BusyError("expected at most 2 sessions", 7)

    async def once():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            return await client.post("/busy")

    answer = asyncio.run(once())

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"
    assert answer.json() == {"error": "expected at most 2 sessions"}


@pytest.mark.parametrize("length", ["-1", "x", "9" * 5000, "1e9", "+5"])
def test_odd_length_is_no_way_around_the_limit(length):
    status = ask(BodyLimit(echo, limit=10), content=b"x" * 11, headers={"Content-Length": length}).status_code

    assert status == 413
