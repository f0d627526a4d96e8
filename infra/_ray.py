"""Ray's part of the stack: one node with its dashboard, behind a token and mutual TLS.

The token alone leaves Ray's gRPC ports open to one request that ends it (`RaySyncer.StartSync` without metadata) and to
channelz; with mutual TLS nobody without the stack's certificate gets as far as a request. HTTP (dashboard, agents)
knows only the token. Nothing serves metrics.
"""

import contextlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from components.contracts import Settings
from components.contracts.errors import StackError

from ._certificates import KEY, write_certificates
from ._health import answers, listens
from ._home import write_private
from ._parts import Part
from ._telemetry import OFF

RAY_AUTH_FILE = "ray-token"
"""Below the stack's folder, mode 600: who has it may run anything on this Ray, and see its dashboard."""
RAY_CERTIFICATES = "ray-certificates"
"""Below the stack's folder, its files mode 600: who has them may talk to this Ray."""
_OBJECTS_BYTES = 256 * 2**20
RAY_FOLDER_NOTE = "ray-folder"
"""Below the stack's folder: where Ray's own folder is, if it is not there."""
_SOCKET_BYTES = 107
"""The system's limit for a socket's path."""
_SOCKET_ROOM = len("/session_2026-11-28_03-36-19_111552_4194304/sockets/dash_MetricsHead")
"""Characters that Ray adds to its folder's name for its longest socket: session, process, dashboard module."""


def ray_folder(home: Path) -> Path:
    """Ray's own folder: below the stack's, or, where its sockets' names would be too long there, in /tmp.

    In /tmp it is below a folder of a random name that is this user's alone and is noted in the home. Nobody can take
    the name first; one that is not this user's any more, or is gone, is replaced by another.

    Raises:
        StackError: the names would be too long in /tmp too.
    """
    folder = home / "ray"
    if _fits(folder):
        return folder
    note = home / RAY_FOLDER_NOTE
    with contextlib.suppress(OSError, UnicodeDecodeError, ValueError):
        noted = Path(note.read_text().strip())
        if noted.is_absolute() and _is_private(noted) and _fits(noted / "r"):
            return noted / "r"
    made = Path(tempfile.mkdtemp(prefix="drover-"))  # mode 700
    if not _fits(made / "r"):
        made.rmdir()
        raise StackError(
            f"expected a folder for Ray's sockets of at most {_SOCKET_BYTES - _SOCKET_ROOM} bytes, found {home} and "
            f"{made.parent} too long; set DROVER_HOME or TMPDIR to a shorter path"
        )
    write_private(note, f"{made}\n")
    return made / "r"


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder)) + _SOCKET_ROOM <= _SOCKET_BYTES


def _is_private(folder: Path) -> bool:
    """True for a folder, no link, that this user alone can enter."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700


def make_private(folder: Path) -> None:
    """A folder that this user alone can enter, also below one that everyone writes to.

    Raises:
        StackError: somebody else made it first.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise StackError(
            f"expected {folder} to be a folder of this user's, found another user's or a link: have it removed, or set "
            "DROVER_HOME to a shorter path"
        )
    folder.chmod(0o700)


def ray_environment(settings: Settings) -> dict[str, str]:
    """Variables with which Ray's commands and drivers of one's own reach the stack's Ray."""
    if settings.ray_address is None:
        return {}
    local = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if settings.ray_address.startswith("127.0.0.1:") else {}
    return {"RAY_ADDRESS": settings.ray_address, "RAY_USAGE_STATS_ENABLED": "0"} | local | settings.ray_access


def ray_part(settings: Settings, ports: dict[str, int]) -> Part:
    options = {
        "node-ip-address": "127.0.0.1",
        "port": ports["ray"],
        "dashboard-host": "127.0.0.1",
        "dashboard-port": ports["ray-dashboard"],
        "dashboard-agent-listen-port": ports["ray-agent"],
        "include-dashboard": "true",
        "include-log-monitor": "false",  # a process that copies workers' logs to drivers; the dashboard reads the files
        "num-cpus": max(2, os.cpu_count() or 2),
        "object-store-memory": _OBJECTS_BYTES,
    }

    def command() -> tuple[list[str], Path]:
        token = settings.home / RAY_AUTH_FILE
        if not token.exists():
            write_private(token, secrets.token_hex(32))
        if not (settings.home / RAY_CERTIFICATES / KEY).exists():
            write_certificates(settings.home / RAY_CERTIFICATES, "drover's Ray")
        folder = ray_folder(settings.home)
        make_private(folder.parent)  # Ray opens its own folder to everyone
        shutil.rmtree(folder, ignore_errors=True)  # every start leaves a session of logs and sockets there
        arguments = [f"--{name}={value}" for name, value in {**options, "temp-dir": folder}.items()]
        start = [sys.executable, "-m", "infra._ray_head", "start", "--head", "--block", "--disable-usage-stats"]
        start += ["--no-monitor"]  # the autoscaler of clusters: a process, and a port with metrics
        return [*start, *arguments], settings.home

    def healthy() -> bool:
        return listens(ports["ray"]) and answers(f"{settings.ray_dashboard_url}/api/gcs_healthz")

    return Part(
        name="ray",
        where=f"127.0.0.1:{ports['ray']}",
        command=command,
        env=OFF
        | settings.ray_access
        | {
            "DASHBOARD_METRIC_PORT": "-1",  # the dashboard has no other way to leave its metrics out
            "RAY_enable_metrics_collection": "0",
            "GLOO_SOCKET_IFNAME": "lo",  # else workers average gradients through whatever address the host's name has
            "SPT_NOENV": "1",  # else Ray writes its processes' names over the mark by which they are found and ended
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray turns 127.0.0.1 into the machine's outer address
            "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
        },
        healthy=healthy,
        grace=4.0,
        patience=600.0,  # trainings leave its dashboard little time
    )


def ray_page_part(settings: Settings, ports: dict[str, int]) -> Part:
    arguments = [str(ports["ray-page"]), str(ports["ray-dashboard"]), str(settings.home / RAY_AUTH_FILE)]
    return Part(
        name="ray-page",
        where=f"{settings.ray_page_url} (dashboard)",
        command=lambda: ([sys.executable, "-m", "infra.ray_page", *arguments], settings.home),
        env=OFF,
        healthy=lambda: answers(f"{settings.ray_page_url}/healthz"),
    )
