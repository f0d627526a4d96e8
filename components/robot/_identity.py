"""A robot's own key: what it says of itself is signed, and nobody else can say it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from components.contracts import RobotReport, SignedReport
from components.contracts.errors import ConfigurationError
from components.storage import read_plain, write_durably

from ._slots import make_private

KEY_FILE = "robot_key.pem"
_MAX_KEY_BYTES = 2**16


class RobotIdentity:
    """The private key in a robot's home, file mode 600; it never leaves the robot.

    Args:
        home: the robot's folder.
        make: where there is no key one is made; otherwise that is an error: another key is another robot.

    Raises:
        ConfigurationError: no key, one that others can read, or none that can be used.
    """

    def __init__(self, home: Path, *, make: bool = True) -> None:
        path = home / KEY_FILE
        if not os.path.lexists(path):
            if not make:
                raise ConfigurationError(
                    f"expected the robot's key at {path}, found none; bring it back from where the robot was enrolled, "
                    "or invite the robot anew (`drover robot invite ROBOT --replace`, then `drover robot join`)"
                )
            make_private(home)
            pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_durably(path, pem, mode=0o600)
        try:
            if path.lstat().st_mode & 0o077 and not path.is_symlink():
                raise ConfigurationError(f"{path} can be read by others; run: chmod 600 {path}")
            key = load_pem_private_key(read_plain(path, _MAX_KEY_BYTES), password=None)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"{path} cannot be used as a robot's key ({error}); enrol the robot again"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError(f"{path}: expected an Ed25519 key, found a {type(key).__name__}")
        self._key = key

    @property
    def public_key(self) -> str:
        """32 bytes, hex."""
        return self._key.public_key().public_bytes_raw().hex()

    def token(self, claims: Mapping[str, Any]) -> str:
        """A JWT of these claims, EdDSA."""
        return jwt.encode(dict(claims), self._key, algorithm="EdDSA")

    def sign(self, report: RobotReport) -> SignedReport:
        return SignedReport(report=report, signature=self._key.sign(report.canonical_json()).hex())


def is_signed_by(signed: SignedReport, public_key: str) -> bool:
    """Whether a report was signed by the key that is enrolled for its robot."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signed.signature), signed.report.canonical_json())
    except (InvalidSignature, ValueError):
        return False
    return True


def report_key(report: RobotReport) -> str:
    """Key in the `reports` bucket; sorts by seq, then count."""
    return f"robots/{report.robot}/{report.seq:08d}-{report.count:08d}.json"
