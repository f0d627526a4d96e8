"""Whether something answers, asked briefly."""

import socket

import httpx

LOOPBACK = "http://127.0.0.1"


def answers(url: str, expected: frozenset[int] | set[int] = frozenset({200})) -> bool:
    try:
        return httpx.get(url, timeout=10.0).status_code in expected
    except httpx.HTTPError:
        return False


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(3.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
