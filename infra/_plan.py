"""What the stack consists of: each part's command, environment and health."""

import hashlib
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

from components.contracts import Settings
from components.ingest import publish_receipt_key, receipt_key
from components.storage import S3Store, connect, prepare

from . import _identities, _processes, _store
from ._home import write_private
from ._parts import Part
from ._telemetry import OFF

log = logging.getLogger(__name__)

POOL = "drover"
PACKAGE = Path("serving") / "package"
"""Below the stack's folder: a link to the folder of the promoted package. Whoever promotes sets it."""
RAY_AUTH_FILE = "ray-token"
"""Below the stack's folder, mode 600: who has it may run anything on this Ray, and see its dashboard."""
SERVICE = "bentos.policy.service:PolicyService"
_RAY_OBJECTS_BYTES = 256 * 2**20
_SOCKET_ROOM = 60
"""What Ray adds to its folder's name for its longest socket; the system allows 107 bytes in all."""
_LOOPBACK = "http://127.0.0.1"


def running_settings(settings: Settings, ports: dict[str, int], *, external: bool) -> Settings:
    """The settings with what the running stack adds: what `stack.json` holds for everyone else."""
    added: dict[str, object] = {
        "ray_address": f"127.0.0.1:{ports['ray']}",
        "ray_token_file": settings.home / RAY_AUTH_FILE,
        "ray_dashboard_url": f"{_LOOPBACK}:{ports['ray-dashboard']}",
        "prefect_api_url": f"{_LOOPBACK}:{ports['prefect']}/api",
        "serving_url": f"{_LOOPBACK}:{ports['serving']}",
        "pages_url": f"{_LOOPBACK}:{ports['pages']}",
        "gateway_url": f"{_LOOPBACK}:{ports['gateway']}",
    }
    if not external:
        known = _identities.identities(settings.home)
        added |= {
            "s3_endpoint": f"127.0.0.1:{ports['store']}",
            "s3_key": known["platform"].key,
            "s3_secret": known["platform"].secret,
            "s3_secure": False,
            "s3_region": "us-east-1",
            "robot_s3_key": known["robot"].key,
            "robot_s3_secret": known["robot"].secret,
            "gateway_s3_key": known["gateway"].key,
            "gateway_s3_secret": known["gateway"].secret,
        }
    elif not settings.gateway_s3_key:
        added |= {"gateway_s3_key": settings.s3_key, "gateway_s3_secret": settings.s3_secret}
    return Settings(**{**settings.model_dump(), **added})


def parts(settings: Settings, ports: dict[str, int], *, kind: str) -> list[Part]:
    """In the order in which they are started; ended the other way round.

    Args:
        settings: as `running_settings` gives them.
        kind: `seaweedfs`, `minio`, or `external` for a store that is not ours to start.
    """
    own = [] if kind == "external" else [_store_part(settings, ports, kind)]
    after = tuple(part.name for part in own)
    return [
        *own,
        _prefect(settings, ports),
        _ray(settings, ports),
        _pages(settings, ports, after, kind),
        _gateway(settings, ports, after),
        _worker(settings),
        _serving(settings, ports),
    ]


def _store_part(settings: Settings, ports: dict[str, int], kind: str) -> Part:
    home = settings.home
    platform = _identities.identities(home)["platform"]

    def command() -> tuple[list[str], Path]:
        return _store.minio_command(home, ports) if kind == "minio" else _store.seaweedfs_command(home, ports)

    def ready() -> str:
        _store.restrict(home, make_ready(settings), kind=kind)
        return ""

    return Part(
        name="store",
        where=f"{_LOOPBACK}:{ports['store']} (S3)",
        command=command,
        env={"MINIO_ROOT_USER": platform.key, "MINIO_ROOT_PASSWORD": platform.secret, "MINIO_UPDATE": "off"}
        if kind == "minio"
        else {"GOMEMLIMIT": "512MiB"},  # half of it costs three times the processor time, all of it in the collector
        healthy=lambda: _answers(f"{_LOOPBACK}:{ports['store']}/", {200, 403}),
        prepare=ready,
    )


def make_ready(settings: Settings, *, patience: float = 15.0) -> S3Store:
    """Buckets that can be relied on, and the key that robots believe receipts of."""
    store = connect(settings, patience=patience)
    prepare(store)
    publish_receipt_key(store, receipt_key(settings).public_key)
    return store


def _prefect_env(settings: Settings) -> dict[str, str]:
    home = settings.home / "prefect"
    return OFF | {
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_API_URL": str(settings.prefect_api_url),
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    }


def _prefect(settings: Settings, ports: dict[str, int]) -> Part:
    origin = f"{_LOOPBACK}:{ports['prefect']}"
    (settings.home / "prefect").mkdir(exist_ok=True)
    arguments = ["server", "start", "--host", "127.0.0.1", "--port", str(ports["prefect"]), "--workers", "1"]
    return Part(
        name="prefect",
        where=origin,
        command=lambda: ([sys.executable, "-m", "prefect", *arguments], settings.home / "prefect"),
        env=_prefect_env(settings)
        | {
            "PREFECT_UI_API_URL": f"{origin}/api",
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origin,  # other pages in the user's browser may not start flows
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
            "PREFECT_SERVER_DOCS_VIEW_ENABLED": "false",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",  # a run behind another one starts soon
        },
        healthy=lambda: _answers(f"{origin}/api/health"),
    )


def _worker(settings: Settings) -> Part:
    arguments = ["worker", "start", "--pool", POOL, "--type", "process", "--name", "local", "--install-policy", "never"]
    folder = settings.home / "prefect"
    return Part(
        name="worker",
        where=f"work pool `{POOL}`",
        command=lambda: ([sys.executable, "-m", "prefect", *arguments], folder),
        env=_prefect_env(settings) | {"PREFECT_WORKER_QUERY_SECONDS": "2"},
        healthy=lambda: _worker_is_known(str(settings.prefect_api_url)),
        prepare=lambda: register_deployments(settings),
        after=("prefect",),
        patience=600.0,  # another one would end the flows that it runs
    )


def _worker_is_known(api: str) -> bool:
    try:
        answer = httpx.post(f"{api}/work_pools/{POOL}/workers/filter", json={}, timeout=10.0)
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


def ray_folder(home: Path) -> Path:
    """Ray's own folder: below the stack's, or, where its sockets' names would be too long there, in /tmp."""
    folder = home / "ray"
    if len(os.fsencode(folder)) + _SOCKET_ROOM <= 107:
        return folder
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:10]
    return Path(tempfile.gettempdir()) / f"drover-{os.getuid()}-{digest}" / "r"


def _ray(settings: Settings, ports: dict[str, int]) -> Part:
    folder = ray_folder(settings.home)
    options = {
        "node-ip-address": "127.0.0.1",
        "port": ports["ray"],
        "dashboard-host": "127.0.0.1",
        "dashboard-port": ports["ray-dashboard"],
        "dashboard-agent-listen-port": ports["ray-agent"],
        "include-dashboard": "true",
        "include-log-monitor": "false",  # a process that copies workers' logs to drivers; the dashboard reads the files
        "num-cpus": max(2, os.cpu_count() or 2),
        "object-store-memory": _RAY_OBJECTS_BYTES,
        "temp-dir": folder,
    }

    def command() -> tuple[list[str], Path]:
        token = settings.home / RAY_AUTH_FILE
        if not token.exists():
            write_private(token, secrets.token_hex(32))
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # Ray opens its own folder to everyone
        shutil.rmtree(folder, ignore_errors=True)  # every start leaves a session of logs and sockets there
        arguments = [f"--{name}={value}" for name, value in options.items()]
        start = [sys.executable, "-m", "infra._ray_head", "start", "--head", "--block", "--disable-usage-stats"]
        return [*start, *arguments], settings.home

    def healthy() -> bool:
        return _listens(ports["ray"]) and _answers(f"{settings.ray_dashboard_url}/api/gcs_healthz")

    return Part(
        name="ray",
        where=f"127.0.0.1:{ports['ray']}, dashboard {settings.ray_dashboard_url}",
        command=command,
        env=OFF
        | {
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(settings.home / RAY_AUTH_FILE),
            "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
        },
        healthy=healthy,
        prepare=lambda: f"its dashboard asks once for the token in {settings.home / RAY_AUTH_FILE}",
        grace=4.0,
        patience=600.0,  # trainings leave its dashboard little time
    )


def _pages(settings: Settings, ports: dict[str, int], after: tuple[str, ...], kind: str) -> Part:
    env: dict[str, str] = {}
    if kind != "external":
        reader = _identities.identities(settings.home)["pages"]
        env = {
            "DROVER_S3_ENDPOINT": str(settings.s3_endpoint),
            "DROVER_S3_KEY": reader.key,
            "DROVER_S3_SECRET": reader.secret,
        }
    elif settings.s3_secret is not None:
        env = {"DROVER_S3_ENDPOINT": str(settings.s3_endpoint), "DROVER_S3_KEY": str(settings.s3_key)}
        env |= {"DROVER_S3_SECRET": settings.s3_secret.get_secret_value()}
    return Part(
        name="pages",
        where=str(settings.pages_url),
        command=lambda: ([sys.executable, "-m", "infra.pages", str(ports["pages"])], settings.home),
        env=OFF | env,
        healthy=lambda: _answers(f"{settings.pages_url}/healthz"),
        after=after,
    )


def _gateway(settings: Settings, ports: dict[str, int], after: tuple[str, ...]) -> Part:
    secret = settings.gateway_s3_secret
    env = {
        "DROVER_S3_ENDPOINT": settings.s3_endpoint,
        "DROVER_S3_REGION": settings.s3_region,
        "DROVER_S3_SECURE": str(settings.s3_secure).lower(),
        "DROVER_GATEWAY_S3_KEY": settings.gateway_s3_key,
        "DROVER_GATEWAY_S3_SECRET": secret.get_secret_value() if secret else None,
        "DROVER_PREFECT_API_URL": settings.prefect_api_url,
    }
    return Part(
        name="gateway",
        where=str(settings.gateway_url),
        command=lambda: ([sys.executable, "-m", "infra.gateway", str(ports["gateway"])], settings.home),
        env=OFF | {name: value for name, value in env.items() if value is not None},
        healthy=lambda: _answers(f"{settings.gateway_url}/healthz"),
        after=after,
    )


def _serving(settings: Settings, ports: dict[str, int]) -> Part:
    link = settings.home / PACKAGE
    link.parent.mkdir(exist_ok=True)
    options = ["--host", "127.0.0.1", "--port", str(ports["serving"]), "--api-workers", "1"]
    return Part(
        name="serving",
        where=str(settings.serving_url),
        command=lambda: ([_beside_python("bentoml"), "serve", SERVICE, *options], settings.home),
        env=OFF | {"BENTOML_HOME": str(settings.home / "bentoml"), "DROVER_PACKAGE": str(link)},
        healthy=lambda: _answers(f"{settings.serving_url}/livez"),
        wanted=link.exists,  # the Bento itself notices when it is switched, and keeps the old one if the new is bad
        without="for a promoted policy",
    )


def _beside_python(tool: str) -> str:
    return str(Path(sys.executable).parent / tool)


def _answers(url: str, expected: frozenset[int] | set[int] = frozenset({200})) -> bool:
    try:
        return httpx.get(url, timeout=10.0).status_code in expected
    except httpx.HTTPError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(3.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
