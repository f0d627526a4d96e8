"""The key under receipts."""

import stat
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from components.contracts import Receipt
from components.contracts.errors import ConfigurationError
from components.ingest import ReceiptKey

RECEIPT = Receipt(
    robot="r1", name="e", sha256="a" * 64, size=3, status="accepted", issued_at=datetime(2026, 1, 1, tzinfo=UTC)
)


def _public(path: Path) -> str:
    return ReceiptKey(path).public_key


def test_signed_receipt_is_verified_by_the_public_key_alone(tmp_path: Path) -> None:
    signed = ReceiptKey(tmp_path / "key.pem").sign(RECEIPT)
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed.key))

    public.verify(bytes.fromhex(signed.signature), signed.receipt.canonical_json())
    altered = signed.receipt.model_copy(update={"sha256": "b" * 64})
    with pytest.raises(InvalidSignature):
        public.verify(bytes.fromhex(signed.signature), altered.canonical_json())


def test_processes_that_make_the_key_at_once_have_one(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "key.pem"
    with ProcessPoolExecutor(4) as pool:
        assert len(set(pool.map(_public, [path] * 16))) == 1

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["key.pem"]


def test_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    ReceiptKey(path)
    path.chmod(0o640)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        ReceiptKey(path)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_damaged_key_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(ConfigurationError, match="restore it"):
        ReceiptKey(path)
    assert path.read_bytes() == content
