"""What was made from what: a step whose inputs are unchanged is skipped, whatever orchestrator runs it."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from components.contracts import Frozen, canonical_json
from components.contracts.errors import AlreadyExistsError, InvalidDocumentError, ObjectNotFoundError

from ._content import refresh
from ._protocol import ObjectStore

T = TypeVar("T", bound=Frozen)


@cache
def code_fingerprint() -> str:
    """SHA-256 over the source of the rooms: other code may give other results, so it never reuses these."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*.py") if path.parent != root / "cli"):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def memory_key(stage: str, inputs: dict[str, Any]) -> str:
    """Where a stage's result for these inputs (JSON values) is kept in the `models` bucket."""
    name = hashlib.sha256(canonical_json({"inputs": inputs, "code": code_fingerprint()})).hexdigest()
    return f"stages/{stage}/{name}.json"


def recall(store: ObjectStore, key: str, kind: type[T]) -> T | None:
    """The result that `remember` kept under `key`; None if there is none, or only one of an older shape."""
    try:
        document = store.get("models", key)
        result = kind.parse(document, source=f"s3://models/{key}")
    except (ObjectNotFoundError, InvalidDocumentError):
        return None
    refresh(store, "models", key, document)
    return result


def remember(store: ObjectStore, key: str, result: T) -> T:
    """Keep a result. Of two that finish at once the first one's is kept, and both return it."""
    try:
        store.put("models", key, result.canonical_json(), if_absent=True)
    except AlreadyExistsError:
        return recall(store, key, type(result)) or result
    return result
