"""Which receipts count: on one that does, and on nothing else, a robot deletes its copy."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from components.contracts import SignedReceipt


def why_not_trusted(signed: SignedReceipt, *, robot: str, sha256: str, size: int, keys: tuple[str, ...]) -> str | None:
    """Why a receipt does not confirm these bytes of this robot; None: it does.

    Args:
        signed: what the gateway or the robot's memory gave.
        robot, sha256, size: of the copy that may be deleted.
        keys: the public keys that the robot pinned when it was enrolled, hex.
    """
    receipt = signed.receipt
    if signed.key not in keys:
        return f"it is signed with {signed.key[:12]}..., a key that this robot was not told of when it was enrolled"
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed.key))
        key.verify(bytes.fromhex(signed.signature), receipt.canonical_json())
    except (InvalidSignature, ValueError):
        return "its signature is not of these words"
    if receipt.robot != robot:
        return f"it is for {receipt.robot}"
    if (receipt.sha256, receipt.size) != (sha256, size):
        return f"it is for other bytes: {receipt.size} with SHA-256 {receipt.sha256[:12]}..."
    return None
