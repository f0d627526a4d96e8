"""Public keys for tests: a text of 64 hex digits is none, unless somebody holds the private half."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def public_key(seed: int = 1) -> str:
    """An Ed25519 public key in hex, another for each seed of 0 to 255."""
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw().hex()
