"""The credentials of this machine's stack: the object store's access keys, and a token for each server of Drover's."""

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.contracts.errors import StackError

from ._home import write_private

NAMES = ("platform", "gateway", "robot", "pages")
"""What each may do: `_grants`."""
_TOKENS = "servers"
"""The file's part that is not the object store's."""


@dataclass(frozen=True)
class Identity:
    """An access key and its secret."""

    key: str
    secret: str


@dataclass(frozen=True)
class Tokens:
    """Secrets of the stack's own HTTP servers. Whoever has one may do all that its server does."""

    prefect: str
    """Prefect's auth string, as it wants it: `user:password`."""
    prefect_gateway: str
    """The gateway's at Prefect, of the same form: it may only say that something waits in the inbox."""
    pages: str
    serving: str


def identities(home: Path) -> dict[str, Identity]:
    """Every identity of the object store; random, made when first needed, kept in `<home>/credentials.json`, mode 600.

    Raises:
        StackError: the file is damaged.
    """
    return {name: Identity(key, secret) for name, (key, secret) in _credentials(home)[0].items()}


def tokens(home: Path) -> Tokens:
    """The servers' tokens; made and kept as the identities are.

    Raises:
        StackError: the file is damaged.
    """
    return Tokens(**_credentials(home)[1])


def _credentials(home: Path) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Keys and secrets by identity, and tokens by server; what is missing in the file is added to it."""
    path = home / "credentials.json"
    try:
        document = json.loads(path.read_text()) if path.exists() else {}
        known = {name: document[name] for name in NAMES if name in document} | {
            name: {"key": f"{name}-{secrets.token_hex(4)}", "secret": secrets.token_hex(24)}
            for name in NAMES
            if name not in document
        }
        fresh = {
            "prefect": f"drover:{_token()}",
            "prefect_gateway": f"gateway:{_token()}",
            "pages": _token(),
            "serving": _token(),
        }
        servers = fresh | _texts(document.get(_TOKENS, {}))
        complete = document | known | {_TOKENS: servers}
        if complete != document:
            write_private(path, json.dumps(complete, indent=2))
        pairs = {name: (str(fields["key"]), str(fields["secret"])) for name, fields in known.items()}
        return pairs, {name: servers[name] for name in fresh}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise StackError(
            f"{path} is damaged ({error}). It holds the stack's credentials; restore it, or remove it: "
            "new ones are made at the next start, and everything Drover keeps is still there"
        ) from None


def _texts(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(secret, str) and secret for secret in found.values()):
        raise TypeError(f"expected a secret for each server in {_TOKENS!r}")
    return found


def _token() -> str:
    return secrets.token_hex(32)
