"""A real Bento in a process of its own, and what a client needs to ask it."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.packaging.made import LEFT, camera_frame

START_S = 180
TOKEN = "a-token-of-the-tests-0123456789"


@dataclass
class Bento:
    """A served package; `home` is its DROVER_HOME."""

    url: str
    home: Path
    client: httpx.Client
    process: subprocess.Popen[bytes]

    def act(self, jpeg, *, instruction=LEFT, session="robot-1", **fields):
        return self.client.post(
            "/act",
            files={"image": ("frame.jpg", jpeg, "image/jpeg")},
            data={"instruction": instruction, "session": session} | fields,
        )


def jpeg(seed, height=90, width=160):
    file = io.BytesIO()
    Image.fromarray(camera_frame(seed, height, width)).save(file, format="JPEG", quality=90)
    return file.getvalue()


JPEGS = [jpeg(seed) for seed in range(6)]


@contextmanager
def serve(home: Path) -> Iterator[Bento]:
    """A Bento on a free port, without a package yet; its client bears the token."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"}
    environment = os.environ | {"DROVER_HOME": str(home), "BENTOML_HOME": str(home / "bentoml")} | quiet
    environment |= {"DROVER_SERVING_TOKEN": TOKEN, "DROVER_SERVING_HOSTS": "policy.example, other.example"}
    environment.pop("DROVER_PACKAGE", None)
    command = [sys.executable, "-m", "infra.serving", str(port)]
    log = (home / "bento.log").open("wb")
    root, url = Path(__file__).parents[2], f"http://127.0.0.1:{port}"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with (
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=root) as process,
        log,
        httpx.Client(base_url=url, timeout=60, trust_env=False, headers=headers) as client,
    ):
        try:
            wait_until(lambda: alive(client), process, home)
            yield Bento(url, home, client, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def alive(client):
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(condition, process, home):
    pause, end = threading.Event(), time.monotonic() + START_S
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"the Bento does not answer:\n{(home / 'bento.log').read_text()[-3000:]}")
        pause.wait(0.1)
