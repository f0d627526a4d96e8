"""What every type that crosses rooms shares: frozen, closed, and named by its content."""

import hashlib
import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import InvalidDocumentError


class Frozen(BaseModel):
    """Immutable; unknown fields are refused; equal content gives an equal digest."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def canonical_json(self) -> bytes:
        """UTF-8 JSON with sorted keys and no spaces: the bytes that `digest` names."""
        return canonical_json(self.model_dump(mode="json"))

    def digest(self) -> str:
        """SHA-256 of `canonical_json`, lower-case hex."""
        return hashlib.sha256(self.canonical_json()).hexdigest()

    @classmethod
    def parse(cls, document: bytes | str, *, source: str) -> Self:
        """Read a JSON document that someone else wrote.

        Raises:
            InvalidDocumentError: not JSON, or not this type; the message names `source` and the first faults.
        """
        try:
            return cls.model_validate_json(document)
        except ValidationError as error:
            first = "; ".join(faults(error)[:3])
            raise InvalidDocumentError(f"{source} is not a valid {cls.__name__}: {first}") from None


def faults(error: ValidationError) -> list[str]:
    """A line for each fault that pydantic found: the field and what is wrong with it."""
    return [
        f"{'.'.join(map(str, fault['loc'])) or 'document'}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors()
    ]


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces, no NaN: one byte string for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
