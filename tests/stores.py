"""Real S3 servers for tests: the embedded SeaweedFS, and those that `infra/minio.sh` builds where Go is installed."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from components.contracts import Settings
from infra import _home, _identities, _plan, _processes
from infra._parts import Board, Keeper, Part
from infra.local import Running, some_parts

SERVERS = ("seaweedfs", "minio", "versitygw")


@contextmanager
def running(kind: str, home: Path) -> Iterator[Running]:
    """That server, kept alive in `home` while it is open. Skips the test, saying why, where it is not built.

    versitygw is not one of the stack's: it is kept the same way, and knows the platform's identity alone.
    """
    with pytest.MonkeyPatch.context() as patch:
        if kind != "seaweedfs":
            patch.setenv("PATH", _built(kind), prepend=":")
        if kind == "versitygw":
            with _versitygw(home) as server:
                yield server
        else:
            with some_parts(Settings(home=home), "store", kind=kind) as server:
                yield server


def _built(kind: str) -> str:
    """The folder to look in first."""
    script = Path(__file__).parent.parent / "infra" / "minio.sh"
    folder = subprocess.run([script, "--where"], capture_output=True, text=True, check=True).stdout.strip()
    if not (Path(folder) / kind).exists() and shutil.which(kind) is None:
        pytest.skip(f"{kind} is neither on the PATH nor in {folder}: infra/minio.sh builds it where Go is installed")
    return folder


@contextmanager
def _versitygw(home: Path) -> Iterator[Running]:
    _home.prepare_home(home)
    ports = _home.choose_ports(Settings(home=home))
    platform = _identities.identities(home)["platform"]
    address = f"127.0.0.1:{ports['store']}"
    settings = Settings(
        home=home, s3_endpoint=address, s3_key=platform.key, s3_secret=platform.secret, s3_region="us-east-1"
    )
    folder = home / "store-versitygw"
    folder.mkdir(exist_ok=True)

    def ready() -> str:
        _plan.make_ready(settings)
        return ""

    def healthy() -> bool:
        try:
            return httpx.get(f"http://{address}/", timeout=5.0).status_code in {200, 403}
        except httpx.HTTPError:
            return False

    part = Part(
        name="store",
        where=address,
        command=lambda: (["versitygw", "--port", address, "--quiet", "posix", str(folder)], home),
        env={"ROOT_ACCESS_KEY": platform.key, "ROOT_SECRET_KEY": platform.secret},
        healthy=healthy,
        prepare=ready,
    )
    board, stop = Board(), threading.Event()
    keeper = Keeper(part, home, board, stop)
    keeper.start()
    try:
        assert _processes.wait_until(lambda: board.states["store"] in {"running", "failed"}, 60.0)
        assert board.states["store"] == "running", keeper.log_file.read_text()
        yield Running(settings, board)
    finally:
        stop.set()
        keeper.join(20.0)
