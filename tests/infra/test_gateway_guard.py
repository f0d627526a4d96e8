"""The gateway answers to the names that its operator lists, and tells a robot that uses another one."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from components.contracts import GatewayProblem, Settings
from components.contracts.errors import GatewayError
from components.robot import enrol
from infra import _processes
from infra.gateway import guarded
from tests.keys import public_key


async def enrol_everybody(scope: Any, receive: Any, send: Any) -> None:
    """Answer as a gateway does to an enrolment of robot-7."""
    body = json.dumps({"robot": "robot-7", "receipt_keys": [public_key()]}).encode()
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def served(settings: Settings, address: str = "127.0.0.2") -> Iterator[str]:
    """The guard in front of it over real HTTP, at an address of this machine's that no robot is told by default."""
    config = uvicorn.Config(guarded(enrol_everybody, settings), host=address, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert _processes.wait_until(lambda: server.started, 30)
        yield f"http://{address}:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def test_robot_that_uses_a_name_that_is_not_listed_is_told_what_to_do(tmp_path: Path) -> None:
    with served(Settings(home=tmp_path)) as url, pytest.raises(GatewayError, match="DROVER_GATEWAY_HOSTS") as refused:
        enrol("robot-7", "t" * 43, tmp_path / "agent", url, hardware="simulated", patience=0.1)

    assert not refused.value.again


def test_robot_that_uses_a_listed_name_or_that_of_the_gateways_url_is_served(tmp_path: Path) -> None:
    listed = Settings(home=tmp_path, gateway_hosts=("fleet.example", "127.0.0.2"))
    named = Settings(home=tmp_path, gateway_url="https://127.0.0.2:8443")
    for settings in (listed, named):
        with served(settings) as url:
            assert httpx.post(f"{url}/v1/enrolments", content=b"{}").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "fleet.example.evil"}, 421), ({"Host": "rebound.example:8000"}, 421),
        ({"Host": "fleet.example"}, 200), ({"Host": "FLEET.example:443"}, 200),
        ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)  # fmt: skip
def test_foreign_host_or_page_gets_a_gateways_refusal(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    with served(Settings(home=tmp_path, gateway_hosts=("fleet.example",)), "127.0.0.1") as url:
        answer = httpx.post(f"{url}/v1/uploads", headers=headers, content=b"{}")

    assert answer.status_code == status
    if status != 200:
        assert GatewayProblem.parse(answer.content, source="the refusal").message
