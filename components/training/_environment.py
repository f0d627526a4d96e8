"""What Ray reads from the environment when it is imported. Imported before it; set by the user, all of it stays."""

import os

from components.contracts import Settings

_DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",  # the default of 2 s is felt at every start and end of a run
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's new output prints whatever its verbosity is
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
_ON_THIS_MACHINE = {
    # Ray turns 127.0.0.1 into the machine's outer address unless it thinks that it can have no cluster; the stack's Ray
    # listens on loopback alone
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


def ray_address() -> str | None:
    """Where Ray runs; None: nowhere yet."""
    return Settings().ray_address or os.environ.get("RAY_ADDRESS")


def prepare() -> None:
    """Set what is not set."""
    address, token = ray_address(), Settings().ray_token_file
    if token is not None:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(token))
    here = address is None or address.partition(":")[0] in {"127.0.0.1", "localhost", "local", "auto"}
    for name, value in (_DEFAULTS | (_ON_THIS_MACHINE if here else {})).items():
        os.environ.setdefault(name, value)
