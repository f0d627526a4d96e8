"""The folder that holds the embedded stack's state: its layout, its version, its ports, its lock."""

import contextlib
import fcntl
import json
import os
import random
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from components.contracts import Settings
from components.contracts.errors import StackError
from components.storage import open_plain, write_durably

LAYOUT = "1"
"""Of the state folder. Raise it when what is kept there changes so that older state cannot be used."""
MIN_FREE_BYTES = 2 * 2**30
_FIXED = {
    "store": "s3_port",
    "prefect": "prefect_port",
    "ray-dashboard": "ray_dashboard_port",
    "serving": "serving_port",
    "pages": "pages_port",
    "gateway": "gateway_port",
}
PORTS = (
    "store", "store-master", "store-volume", "store-filer", "store-admin",
    "prefect", "ray", "ray-dashboard", "ray-agent", "ray-page", "serving", "pages", "gateway",
)  # fmt: skip
_WITH_GRPC = {
    "store": "s3", "store-master": "master", "store-volume": "volume", "store-filer": "filer", "store-admin": "admin",
}  # fmt: skip
"""SeaweedFS opens gRPC on these + 10,000, and on sockets in /tmp that no option moves, under these names."""
_GRPC_OFFSET = 10_000
_FIRST, _LAST = 20_000, 22_700
"""Below the ports that the system hands to outgoing connections (from 32,768), with + 10,000 too; above Ray's."""


def prepare_home(home: Path, *, min_free: int = MIN_FREE_BYTES) -> None:
    """Make the folder, or make sure that it can be used.

    Raises:
        StackError: it cannot be made or written, belongs to another version, or its disk is full.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)
        version = home / "version"
        if version.exists() and version.read_text().strip() != LAYOUT:
            raise StackError(
                f"expected a state folder of layout {LAYOUT} in {home}, found layout {version.read_text().strip()!r}: "
                "another version of Drover wrote it. Run that one, move the folder away, or set DROVER_HOME elsewhere"
            )
        free = shutil.disk_usage(home).free
        if free < min_free:
            raise StackError(
                f"expected at least {min_free / 2**30:.1f} GiB free for {home}, found {free / 2**30:.2f} GiB: "
                "free some, or set DROVER_HOME to a folder on another disk"
            )
        if not version.exists():
            write_private(version, LAYOUT + "\n")
        for folder in ("logs", "prefect", "serving"):
            (home / folder).mkdir(exist_ok=True)
            (home / folder).chmod(0o700)
    except OSError as error:
        raise StackError(
            f"expected to be able to write to {home}: {error.strerror or error}. Mend it, or set DROVER_HOME elsewhere"
        ) from error


def write_private(path: Path, text: str) -> None:
    """Replace a file whole, mode 600 from its first byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, text.encode())


@contextlib.contextmanager
def lock(home: Path) -> Iterator[bool]:
    """Hold the stack's lock; yields False if another process has it. The kernel frees it however its holder ends."""
    with open_plain(home / "lock", os.O_WRONLY | os.O_CREAT) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def is_running(home: Path) -> bool:
    """Whether a supervisor holds the lock."""
    if not (home / "lock").exists():
        return False
    with lock(home) as free:
        return not free


def choose_ports(settings: Settings) -> dict[str, int]:
    """A port for each part: the one the user fixed, last time's, or a free one.

    Raises:
        StackError: a port that the user fixed is taken.
    """
    path = settings.home / "ports.json"
    try:
        last = {name: int(port) for name, port in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        last = {}
    chosen: dict[str, int] = {}
    for name in PORTS:
        fixed = getattr(settings, _FIXED[name]) if name in _FIXED else None
        if fixed is not None:
            if not _is_free(name, fixed):
                raise StackError(
                    f"expected port {fixed} to be free, found it taken (DROVER_{_FIXED[name].upper()} asks for it): "
                    "end what listens there, ask for another one, or leave the choice to Drover"
                )
            chosen[name] = fixed
    taken = set(chosen.values())
    for name in PORTS:
        if name not in chosen:
            candidates = [last[name]] if name in last else []
            candidates += random.sample(range(_FIRST, _LAST), 400)
            port = next((p for p in candidates if p not in taken and _is_free(name, p)), None)
            if port is None:
                raise StackError(f"expected a free port between {_FIRST} and {_LAST}, found none: end some programs")
            chosen[name] = port
            taken.add(port)
    write_private(path, json.dumps(chosen, indent=2))
    return chosen


def _is_free(name: str, port: int) -> bool:
    if name in _WITH_GRPC and not _is_ours(Path(f"/tmp/seaweedfs-{_WITH_GRPC[name]}-grpc-{port + _GRPC_OFFSET}.sock")):  # noqa: S108
        return False
    for number in (port, port + _GRPC_OFFSET) if name in _WITH_GRPC else (port,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except (OSError, OverflowError):
                return False
    return True


def _is_ours(path: Path) -> bool:
    """True if nothing is there or this user's own; what another user put into /tmp can be neither used nor removed."""
    try:
        return path.lstat().st_uid == os.geteuid()
    except FileNotFoundError:
        return True
