"""The platform's signature under a receipt: a robot deletes on this alone, so a forged one must be worth nothing."""

import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from components.contracts import Receipt, Settings, SignedReceipt
from components.contracts.errors import ConfigurationError


class ReceiptKey:
    """The private key under receipts: a PEM file of mode 600, made at first use.

    Of several processes that make it at once one wins, and all have the same key.

    Raises:
        ConfigurationError: others can read the file, or it holds no Ed25519 key.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            _make(path)
        try:
            if path.stat().st_mode & 0o077:
                raise ConfigurationError(f"{path} can be read by others; run: chmod 600 {path}")
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"{path}: expected the Ed25519 private key that signs receipts, found none that can be read ({error}); "
                "restore it: robots believe no other"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError(f"{path}: expected an Ed25519 key, found a {type(key).__name__}")
        self._key = key

    @property
    def public_key(self) -> str:
        """32 bytes, hex."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, receipt: Receipt) -> SignedReceipt:
        signature = self._key.sign(receipt.canonical_json()).hex()
        return SignedReceipt(receipt=receipt, key=self.public_key, signature=signature)


def receipt_key(settings: Settings) -> ReceiptKey:
    """The key of `settings.receipt_key_file`, by default `<home>/receipt-key.pem`.

    Raises:
        ConfigurationError: as `ReceiptKey`.
    """
    return ReceiptKey(settings.receipt_key_file or settings.home / "receipt-key.pem")


def _make(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 600
        part = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(part)
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        except FileExistsError:
            return  # another process was first: its key counts
        finally:
            part.unlink()
    except OSError as error:
        raise ConfigurationError(f"expected to be able to write {path}: {error.strerror}; mend it") from None
