"""Every port that a running stack listens on, tried by another user and from a page in a browser.

`TRIES` says for each listener how it is tried; one that is not in it fails the test: a new port needs a new line here
and in docs/security.md.
"""

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from components.contracts import Settings
from infra import _processes, local
from infra._identities import NAMES, identities, tokens
from tests.browser import attack_from_a_page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
SECRETS_MAY_BE_IN = {
    "credentials.json", "stack.json", "store/s3.json", "ray-token",
}  # fmt: skip
"""Files of the home that hold a credential, mode 600."""


@dataclass(frozen=True)
class Listener:
    """A listening socket of the stack."""

    part: str
    program: str
    address: str
    port: int
    name: str
    """As `ports.json` calls it, with `+grpc` for SeaweedFS's second ones; "" for one that its program chose."""


def _is_refused(origin: str) -> None:
    """HTTP that answers strangers 401 everywhere but on health checks."""
    for path in ("/", "/x", "/api/flows/filter", "/v1/uploads", "/act", "/evaluations/x/report.html"):
        for method in ("GET", "POST"):
            answer = httpx.request(method, origin + path, content=b"{}" if method == "POST" else None, timeout=60)
            assert answer.status_code in {400, 401, 403, 404, 405}, (
                path,
                method,
                answer.status_code,
                answer.text[:200],
            )
    _foreign_is_refused(origin)


def _prefect_is_refused(origin: str) -> None:
    """Prefect's pages are anybody's, its API nobody's."""
    for path in ("/api/admin/settings", "/api/flows/filter", "/api/deployments/filter", "/api/work_pools/"):
        assert httpx.post(origin + path, content=b"{}", timeout=60).status_code == 401
    _foreign_is_refused(origin)


def _foreign_is_refused(origin: str) -> None:
    for headers in ({"Host": "rebound.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        for method, path in (("GET", "/"), ("GET", "/healthz"), ("POST", "/api/flows/"), ("POST", "/v1/enrolments")):
            answer = httpx.request(method, origin + path, headers=headers, timeout=60)
            assert answer.status_code in {403, 421}, (headers, path, answer.status_code, answer.text[:200])


def _channel_is_refused(origin: str) -> None:
    """The channel between Prefect's worker and its flow runs: closed unanswered unless its first line is a token."""
    host, port = origin.removeprefix("http://").split(":")
    for first in (b"\n", b"0" * 32 + b"\n", b"POST /api/flows/ HTTP/1.1\r\nHost: x\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=60) as line:
            line.sendall(first)
            try:
                assert line.recv(1) == b""
            except ConnectionResetError:
                continue


def _is_known(_origin: str) -> None:
    """Loopback and a name: what protects it is tried elsewhere (tests/infra, test_ray and test_store)."""


TRIES: dict[tuple[str, str], Callable[[str], None]] = {
    ("prefect", "prefect"): _prefect_is_refused,
    ("pages", "pages"): _is_refused,
    ("gateway", "gateway"): _is_refused,
    ("ray-page", "ray-page"): _is_refused,
    ("serving", "serving"): _is_refused,
    ("worker", "python"): _channel_is_refused,
    ("store", "store"): _is_known,
    ("store", "store-master"): _is_known,
    ("store", "store-volume"): _is_known,
    ("store", "store-filer"): _is_known,
    ("store", "store-admin"): _is_known,
    ("store", "console"): _is_known,
    ("store", "store+grpc"): _is_known,
    ("store", "store-master+grpc"): _is_known,
    ("store", "store-volume+grpc"): _is_known,
    ("store", "store-filer+grpc"): _is_known,
    ("store", "store-admin+grpc"): _is_known,
    ("ray", "ray"): _is_known,
    ("ray", "ray-dashboard"): _is_known,
    ("ray", "ray-agent"): _is_known,
    ("ray", "raylet"): _is_known,
    ("ray", "gcs_server"): _is_known,
    ("ray", "dashboard"): _is_known,
    ("ray", "dashboard_agent"): _is_known,
    ("ray", "runtime_env_agent"): _is_known,
    ("ray", "python"): _is_known,
    ("ray", "ray::DashboardAgent"): _is_known,
    ("ray", "ray::RuntimeEnvAgent"): _is_known,
}
"""By part, and by the port's name or, where it has none, by the program that listens."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    home = tmp_path_factory.mktemp("of-a-stack") / "home"
    local.up(Settings(home=home))
    yield Settings(home=home)
    local.down(Settings(home=home))
    assert list(_processes.marked(home)) == []


@dataclass(frozen=True)
class FlowRun:
    """A flow run as the docs tell people to start one, and who listened while it went on."""

    code: int
    output: str
    seen: set[Listener]


@pytest.fixture(scope="module")
def run_of_a_flow(stack: Settings) -> FlowRun:
    script = (
        f'eval "$({sys.executable} -c "from components.cli import main; main()" env)" && exec {sys.executable} '
        "-m prefect deployment run ingest-episodes/on-demand --watch"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DROVER_", "PREFECT_", "RAY_"))}
    seen: set[Listener] = set()
    with subprocess.Popen(
        ["bash", "-c", script],
        env=clean | {"DROVER_HOME": str(stack.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as command:
        while command.poll() is None:
            seen |= set(listeners(stack.home))
        assert command.stdout is not None
        return FlowRun(command.returncode, command.stdout.read(), seen)


def listeners(home: Path) -> list[Listener]:
    """Every listening TCP socket of the stack's processes, the supervisor's own too."""
    names = {port: name for name, port in json.loads((home / "ports.json").read_text()).items()}
    names |= {port + 10_000: f"{name}+grpc" for port, name in names.items() if name.startswith("store")}
    found = []
    for process in _processes.marked(home):
        with contextlib.suppress(psutil.NoSuchProcess):
            part = process.environ()[_processes.PART]
            for line in process.net_connections("tcp"):
                if line.status == psutil.CONN_LISTEN:
                    port = line.laddr.port
                    found.append(Listener(part, _program(process), line.laddr.ip, port, names.get(port, "")))
    return found


def _program(process: psutil.Process) -> str:
    """Ray's programs in Python are told apart by their script."""
    line = " ".join(process.cmdline())
    for script, name in (
        ("runtime_env/agent/main.py", "runtime_env_agent"), ("dashboard/agent.py", "dashboard_agent"),
        ("dashboard/dashboard.py", "dashboard"),
    ):  # fmt: skip
        if script in line:
            return name
    return process.name()


def test_flow_starts_after_one_eval(run_of_a_flow: FlowRun) -> None:
    assert run_of_a_flow.code == 0, run_of_a_flow.output


def test_every_listening_port_is_known_and_on_loopback(stack: Settings, run_of_a_flow: FlowRun) -> None:
    found = {*listeners(stack.home), *run_of_a_flow.seen}

    assert {line.part for line in found} >= {"store", "prefect", "ray", "pages", "gateway"}
    for line in found:
        assert line.address.removeprefix("::ffff:") in {"127.0.0.1", "::1"}, line
        assert (line.part, line.name or line.program) in TRIES, f"{line}: say in TRIES how it is tried"


def test_another_user_without_a_credential_or_from_a_foreign_page_gets_nothing(stack: Settings) -> None:
    if os.getuid() != 0:
        pytest.skip("not root: no other user to try it as")
    httpx.get(f"{stack.pages_url}/healthz")  # loads what httpx loads late, which another user may not read
    for line in listeners(stack.home):
        _as_another_user(TRIES[line.part, line.name or line.program], f"http://127.0.0.1:{line.port}")
    _as_another_user(_home_is_closed, str(stack.home))


def _as_another_user(attempt: Callable[[str], None], argument: str) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            attempt(argument)
        except BaseException:  # noqa: BLE001  # a child must not go on with the parent's tests
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, (attempt.__name__, argument)


def _home_is_closed(home: str) -> None:
    with pytest.raises(PermissionError):
        list(Path(home).iterdir())
    for name in ("credentials.json", "stack.json", "ray-token"):
        with pytest.raises(PermissionError):
            (Path(home) / name).read_text()


def test_page_in_a_browser_gets_nothing_from_any_of_them(stack: Settings, tmp_path: Path) -> None:
    bodies = [("/api/work_pools/", '{"name": "intruder", "type": "process"}'), ("/v1/enrolments", "{}")]
    for line in listeners(stack.home):
        if TRIES[line.part, line.name or line.program] not in {_is_refused, _prefect_is_refused}:
            continue
        origin = f"http://127.0.0.1:{line.port}"
        paths = ["/", "/healthz", "/sign-in", "/api/health", "/metrics"]
        seen = attack_from_a_page(
            origin, tmp_path / str(line.port), bodies=bodies, paths=paths, sockets=["/api/events/in"]
        )
        for word in ("READ", "OPENED", "[script: loaded]", "[img: loaded]"):
            assert word not in seen, (line, seen)

    assert stack.prefect_auth is not None
    user, _, password = stack.prefect_auth.get_secret_value().partition(":")
    pools = httpx.post(f"{stack.prefect_api_url}/work_pools/filter", json={}, auth=(user, password), timeout=60).json()
    assert [pool["name"] for pool in pools] == ["drover"]


def test_no_secret_is_on_a_command_line_in_a_log_or_in_a_database(stack: Settings, run_of_a_flow: FlowRun) -> None:
    secrets = _secrets(stack)
    assert len(secrets) >= len(NAMES) + 4
    for process in _processes.marked(stack.home):
        line = " ".join(process.cmdline())
        assert not [name for name, secret in secrets.items() if secret in line], line
    for path in _files(stack.home):
        if str(path.relative_to(stack.home)) in SECRETS_MAY_BE_IN or path.is_relative_to(stack.home / "store" / "data"):
            continue
        data = path.read_bytes()
        assert not [name for name, secret in secrets.items() if secret.encode() in data], path
    assert not [name for name, secret in secrets.items() if secret in run_of_a_flow.output]


def test_what_commands_print_holds_no_secret_that_runs_code_unless_asked(stack: Settings) -> None:
    known = tokens(stack.home)

    printed, asked = _drover(stack, "status"), _drover(stack, "status", "--secrets")
    assert f"http://drover:{known.pages}@" in printed
    assert "drover status --secrets" in printed
    for secret in (known.prefect, known.serving):
        assert secret not in printed
        assert secret in asked


def test_no_file_of_the_home_is_for_anybody_else(stack: Settings, run_of_a_flow: object) -> None:
    assert stat.S_IMODE(stack.home.stat().st_mode) == 0o700
    own_modes = (stack.home / "ray", stack.home / "store" / "data")  # there servers set modes of their own
    for path in (*_files(stack.home), *(path for path in stack.home.rglob("*") if path.is_dir())):
        if path.is_symlink() or any(path.is_relative_to(folder) for folder in own_modes):
            continue
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, f"{path}: {stat.filemode(path.stat().st_mode)}"


def _files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]


def _secrets(stack: Settings) -> dict[str, str]:
    known = tokens(stack.home)
    found = {f"s3-{name}": identity.secret for name, identity in identities(stack.home).items()}
    found |= {"prefect": known.prefect.split(":")[1], "prefect-gateway": known.prefect_gateway.split(":")[1]}
    return (
        found
        | {"pages": known.pages, "serving": known.serving}
        | {"ray": (stack.home / "ray-token").read_text().strip()}
    )


def _drover(stack: Settings, *arguments: str) -> str:
    command = [sys.executable, "-c", "from components.cli import main; main()", *arguments]
    env = os.environ | {"DROVER_HOME": str(stack.home), "COLUMNS": "200"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True).stdout
