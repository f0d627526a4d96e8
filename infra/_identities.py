"""The access keys of this machine's object store."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from components.contracts.errors import StackError

from ._home import write_private

NAMES = ("platform", "gateway", "robot", "pages")
"""What each may do: `_grants`."""


@dataclass(frozen=True)
class Identity:
    """An access key and its secret."""

    key: str
    secret: str


def identities(home: Path) -> dict[str, Identity]:
    """Every identity; random, made when first needed, kept in `<home>/credentials.json`, mode 600.

    Raises:
        StackError: the file is damaged.
    """
    path = home / "credentials.json"
    try:
        known = json.loads(path.read_text()) if path.exists() else {}
        missing = [name for name in NAMES if name not in known]
        known |= {name: {"key": f"{name}-{secrets.token_hex(4)}", "secret": secrets.token_hex(24)} for name in missing}
        if missing:
            write_private(path, json.dumps(known, indent=2))
        return {name: Identity(**fields) for name, fields in known.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise StackError(
            f"{path} is damaged ({error}). It holds the object store's credentials; restore it, or remove it: "
            "new ones are made at the next start, and everything Drover keeps is still there"
        ) from None
