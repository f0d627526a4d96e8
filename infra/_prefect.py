"""Prefect's parts of the stack: the server, a worker, and what is deployed to them."""

import hashlib
import logging
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from components.contracts import Settings

from . import _identities, _processes
from ._health import LOOPBACK, answers
from ._parts import Part
from ._telemetry import OFF

log = logging.getLogger(__name__)

POOL = "drover"


def basic_auth(auth_string: SecretStr | None) -> httpx.BasicAuth | None:
    """Prefect's auth string, `user:password`, as httpx sends it."""
    if auth_string is None:
        return None
    user, _, password = auth_string.get_secret_value().partition(":")
    return httpx.BasicAuth(user, password)


def client_environment(settings: Settings) -> dict[str, str]:
    """Variables with which Prefect's clients reach the stack's server: its address and its credential."""
    found = {"PREFECT_API_URL": settings.prefect_api_url or ""}
    if settings.prefect_auth is not None:
        found["PREFECT_API_AUTH_STRING"] = settings.prefect_auth.get_secret_value()
    return found


def _database_url(path: Path) -> str:
    """As an SQLite URI: in a plain path a question mark would end the path, and the file would be elsewhere."""
    return f"sqlite+aiosqlite:///file:{quote(str(path.absolute()))}?uri=true"


def _prefect_env(settings: Settings) -> dict[str, str]:
    home = settings.home / "prefect"
    return (
        OFF
        | client_environment(settings)
        | {
            "PREFECT_HOME": str(home),
            "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
            "PREFECT_CLI_PROMPT": "false",
            "PREFECT_LOGGING_MARKUP": "false",  # log lines hold what robots wrote
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": _database_url(home / "prefect.db"),
            "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        }
    )


def prefect_part(settings: Settings, ports: dict[str, int]) -> Part:
    origin = f"{LOOPBACK}:{ports['prefect']}"
    assert settings.prefect_auth is not None, "the stack's settings hold Prefect's credential"
    return Part(
        name="prefect",
        where=origin,
        command=lambda: (
            [sys.executable, "-m", "infra.prefect_server", str(ports["prefect"])],
            settings.home / "prefect",
        ),
        env=_prefect_env(settings)
        | {
            "PREFECT_SERVER_API_AUTH_STRING": settings.prefect_auth.get_secret_value(),
            "DROVER_PREFECT_GATEWAY_AUTH": _identities.tokens(settings.home).prefect_gateway,
            "PREFECT_UI_API_URL": f"{origin}/api",
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origin,
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
            "PREFECT_SERVER_DOCS_VIEW_ENABLED": "false",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",  # a run behind another one starts soon
        },
        healthy=lambda: answers(f"{origin}/api/health"),
    )


def worker_part(settings: Settings) -> Part:
    arguments = ["worker", "start", "--pool", POOL, "--type", "process", "--name", "local", "--install-policy", "never"]
    folder = settings.home / "prefect"
    return Part(
        name="worker",
        where=f"work pool `{POOL}`",
        command=lambda: ([sys.executable, "-m", "prefect", *arguments], folder),
        env=_prefect_env(settings) | {"PREFECT_WORKER_QUERY_SECONDS": "2"},
        healthy=lambda: _worker_is_known(str(settings.prefect_api_url), basic_auth(settings.prefect_auth)),
        prepare=lambda: register_deployments(settings),
        after=("prefect",),
        patience=600.0,  # another one would end the flows that it runs
    )


def _worker_is_known(api: str, auth: httpx.BasicAuth | None) -> bool:
    try:
        answer = httpx.post(f"{api}/work_pools/{POOL}/workers/filter", json={}, auth=auth, timeout=10.0)
        return answer.status_code == 200 and any(worker["status"] == "ONLINE" for worker in answer.json())
    except (httpx.HTTPError, ValueError):
        return False


def register_deployments(settings: Settings) -> str:
    """`prefect deploy --all` of the project's prefect.yaml; not again while neither it nor the database changed.

    Returns "" or what is wrong: a flow that does not load must not keep the stack down.
    """
    document = Path(__file__).parent.parent / "prefect.yaml"
    if not document.exists():
        log.warning("no prefect.yaml beside the packages: no deployments are registered")
        return "no prefect.yaml: no deployments"
    done = settings.home / "prefect" / "deployed"
    name = f"{hashlib.sha256(document.read_bytes()).hexdigest()} {document}"
    if done.exists() and done.read_text() == name:
        return ""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    env = _processes.environment(settings.home, "deployments", _prefect_env(settings))
    try:
        finished = subprocess.run(
            command, cwd=document.parent, env=env, capture_output=True, text=True, timeout=150, check=False
        )
    except subprocess.TimeoutExpired:
        log.error("`prefect deploy --all` of %s did not end within 150 s", document)  # noqa: TRY400
        return "deployments are not registered: `prefect deploy --all` takes too long"
    if finished.returncode:
        log.error("Prefect refused %s:\n%s\n%s", document, finished.stdout, finished.stderr)
        return f"deployments are not registered, see {settings.home / 'logs' / 'supervisor.log'}"
    done.write_text(name)
    return ""
