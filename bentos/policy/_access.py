"""Access control: clients with the token, by a name of this machine, from no foreign page."""

import os
from typing import Any

from components.contracts import Settings
from components.contracts.errors import ConfigurationError
from components.web import LOOPBACK_HOSTS, BearerToken, SameOrigin

OPEN_PATHS = frozenset({"/", "/livez", "/readyz"})
"""Health checks, and a page that is the same for everybody and holds nothing."""
MIN_TOKEN = 16
"""Characters."""


def guarded(app: Any) -> Any:
    """Put an ASGI application, whatever its routes, behind the token and the check of `Host` and `Origin`.

    Raises:
        ConfigurationError: no token is set.
    """
    return SameOrigin(BearerToken(app, serving_token(), OPEN_PATHS), LOOPBACK_HOSTS | _more_hosts())


def serving_token() -> str:
    """`DROVER_SERVING_TOKEN`, or the running stack's.

    Raises:
        ConfigurationError: there is none, or it can be guessed.
    """
    secret = Settings().serving_token
    token = secret.get_secret_value() if secret else ""
    if len(token) < MIN_TOKEN:
        raise ConfigurationError(
            f"expected a token of at least {MIN_TOKEN} characters in DROVER_SERVING_TOKEN, got {len(token)}; make one "
            "with `openssl rand -hex 32` (`drover up` does so by itself): nobody may ask the policy without it"
        )
    return token


def _more_hosts() -> set[str]:
    """`DROVER_SERVING_HOSTS`: further names, separated by commas, e.g. of a proxy."""
    return {name.strip() for name in os.environ.get("DROVER_SERVING_HOSTS", "").split(",") if name.strip()}
