"""Signing keys in a folder. For a demo all of them; in earnest, each machine holds only the roles that it signs."""

import logging
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from components.contracts.errors import ConfigurationError, PromotionError
from components.storage import write_durably

log = logging.getLogger(__name__)

WARNING_FILE = "DEMO_KEYS.txt"
WARNING = """\
THESE ARE DEMO KEYS. They were made by one command, lie beside each other on one disk and have no passphrase:
whoever can read this folder can sign releases for every robot that trusts them. Never enrol a real robot with them.
For earnest use, make root, targets and releases keys on machines that are never online, and give the servers that
publish only the director, snapshot and timestamp keys.
"""
KEYS_AND_THRESHOLDS = {
    "root": (3, 2),
    "targets": (3, 2),
    "releases": (3, 2),
    "director": (1, 1),
    "snapshot": (1, 1),
    "timestamp": (1, 1),
}
"""Role -> keys made for the demo, signatures needed."""


class KeyRing:
    """The private keys in one folder: `<role>-<n>.pem`, mode 600."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def demo(self) -> bool:
        return (self.folder / WARNING_FILE).exists()

    def all(self, role: str) -> list[CryptoSigner]:
        """Every key of a role that lies here.

        Raises:
            ConfigurationError: a key file that others can read.
        """
        signers = []
        for path in sorted(self.folder.glob(f"{role}-*.pem")):
            if path.stat().st_mode & 0o077:
                raise ConfigurationError(f"{path} can be read by others; run: chmod 600 {path}")
            signers.append(CryptoSigner(load_pem_private_key(path.read_bytes(), password=None)))
        return signers

    def signers(self, role: str, keyids: Iterable[str], threshold: int) -> list[CryptoSigner]:
        """The keys here that count for a role.

        Raises:
            PromotionError: fewer than the threshold.
        """
        wanted = set(keyids)
        found = [signer for signer in self.all(role) if signer.public_key.keyid in wanted]
        if len(found) < threshold:
            raise PromotionError(
                f"expected {threshold} keys of the role {role} in {self.folder}, found {len(found)}; "
                f"sign on the machine that holds them"
            )
        return found

    def add(self, role: str, count: int = 1) -> list[CryptoSigner]:
        """Make new keys for a role, beside those that are there."""
        first = 1 + max((int(path.stem.rpartition("-")[2]) for path in self.folder.glob(f"{role}-*.pem")), default=0)
        made = []
        for number in range(first, first + count):
            key = Ed25519PrivateKey.generate()
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_durably(self.folder / f"{role}-{number}.pem", pem)
            made.append(CryptoSigner(key))
        return made


def make_demo_keys(folder: Path) -> KeyRing:
    """All roles' keys in one folder, for a demo; says loudly that they are. Keys that are there are kept.

    Returns:
        The ring: root, targets and releases three keys each (two sign), director, snapshot and timestamp one.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ring = KeyRing(folder)
    write_durably(folder / WARNING_FILE, WARNING.encode())
    for role, (count, _) in KEYS_AND_THRESHOLDS.items():
        if missing := count - len(ring.all(role)):
            ring.add(role, max(missing, 0))
    log.warning("DEMO KEYS in %s: they prove nothing to anyone who can read that folder", folder)
    return ring
