"""What the stack consists of: each part's command, environment and health."""

import sys
from pathlib import Path

from pydantic import SecretStr

from components.contracts import Settings
from components.ingest import index_keys, publish_receipt_key, receipt_key
from components.storage import S3Store, connect, prepare

from . import _identities, _store
from ._health import LOOPBACK, answers
from ._parts import Part
from ._prefect import prefect_part, worker_part
from ._ray import RAY_AUTH_FILE, RAY_CERTIFICATES, ray_page_part, ray_part
from ._telemetry import OFF

PACKAGE = Path("serving") / "package"
"""Below the stack's folder: a link to the folder of the promoted package. Whoever promotes sets it."""


def running_settings(settings: Settings, ports: dict[str, int], *, external: bool) -> Settings:
    """The settings with what the running stack adds: what `stack.json` holds for everyone else."""
    added: dict[str, object] = {
        "ray_address": f"127.0.0.1:{ports['ray']}",
        "ray_token_file": settings.home / RAY_AUTH_FILE,
        "ray_certificates": settings.home / RAY_CERTIFICATES,
        "ray_dashboard_url": f"{LOOPBACK}:{ports['ray-dashboard']}",
        "ray_page_url": f"{LOOPBACK}:{ports['ray-page']}",
        "prefect_api_url": f"{LOOPBACK}:{ports['prefect']}/api",
        "serving_url": f"{LOOPBACK}:{ports['serving']}",
        "pages_url": f"{LOOPBACK}:{ports['pages']}",
        "gateway_url": f"{LOOPBACK}:{ports['gateway']}",
    }
    tokens = _identities.tokens(settings.home)
    added |= {"prefect_auth": tokens.prefect, "pages_token": tokens.pages, "serving_token": tokens.serving}
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
        prefect_part(settings, ports),
        ray_part(settings, ports),
        ray_page_part(settings, ports),
        _pages(settings, ports, after, kind),
        _gateway(settings, ports, after),
        worker_part(settings),
        _serving(settings, ports),
    ]


def _store_part(settings: Settings, ports: dict[str, int], kind: str) -> Part:
    home = settings.home

    def command() -> tuple[list[str], Path]:
        return _store.minio_command(home, ports) if kind == "minio" else _store.seaweedfs_command(home, ports)

    def ready() -> str:
        _store.restrict(home, make_ready(settings), kind=kind)
        return ""

    return Part(
        name="store",
        where=f"{LOOPBACK}:{ports['store']} (S3)",
        command=command,
        env=_store.minio_environment(home)
        if kind == "minio"
        else {"GOMEMLIMIT": "512MiB"},  # half of it costs three times the processor time, all of it in the collector
        healthy=lambda: answers(f"{LOOPBACK}:{ports['store']}/", {200, 403}),
        prepare=ready,
    )


def make_ready(settings: Settings, *, patience: float = 15.0) -> S3Store:
    """Buckets that can be relied on, and the key that robots believe receipts of."""
    store = connect(settings, patience=patience)
    prepare(store)
    publish_receipt_key(store, receipt_key(settings).public_key)
    index_keys(store)
    return store


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
    env["DROVER_PAGES_TOKEN"] = _revealed(settings.pages_token)
    return Part(
        name="pages",
        where=str(settings.pages_url),
        command=lambda: ([sys.executable, "-m", "infra.pages", str(ports["pages"])], settings.home),
        env=OFF | env,
        healthy=lambda: answers(f"{settings.pages_url}/healthz"),
        after=after,
    )


def _gateway(settings: Settings, ports: dict[str, int], after: tuple[str, ...]) -> Part:
    env = {
        "DROVER_S3_ENDPOINT": settings.s3_endpoint,
        "DROVER_S3_REGION": settings.s3_region,
        "DROVER_S3_SECURE": str(settings.s3_secure).lower(),
        "DROVER_GATEWAY_S3_KEY": settings.gateway_s3_key,
        "DROVER_GATEWAY_S3_SECRET": _revealed(settings.gateway_s3_secret),
        "DROVER_GATEWAY_URL": settings.gateway_url,
        "DROVER_GATEWAY_HOSTS": ",".join(settings.gateway_hosts),
        "DROVER_PREFECT_API_URL": settings.prefect_api_url,
        "DROVER_PREFECT_AUTH": _identities.tokens(settings.home).prefect_gateway,
    }
    return Part(
        name="gateway",
        where=str(settings.gateway_url),
        command=lambda: ([sys.executable, "-m", "infra.gateway", str(ports["gateway"])], settings.home),
        env=OFF | {name: value for name, value in env.items() if value},
        healthy=lambda: answers(f"{settings.gateway_url}/healthz"),
        after=after,
    )


def _serving(settings: Settings, ports: dict[str, int]) -> Part:
    link = settings.home / PACKAGE
    return Part(
        name="serving",
        where=str(settings.serving_url),
        command=lambda: ([sys.executable, "-m", "infra.serving", str(ports["serving"])], settings.home),
        env=OFF
        | {
            "BENTOML_HOME": str(settings.home / "bentoml"),
            "DROVER_PACKAGE": str(link),
            "DROVER_SERVING_TOKEN": _revealed(settings.serving_token),
        },
        healthy=lambda: answers(f"{settings.serving_url}/livez"),
        wanted=link.exists,  # the Bento itself notices when it is switched, and keeps the old one if the new is bad
        without="for a promoted policy",
    )


def _revealed(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
