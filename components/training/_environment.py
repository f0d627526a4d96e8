"""What Ray reads from the environment when it is imported. Imported before it; defaults set by the user stay."""

import os
import secrets

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
    "GLOO_SOCKET_IFNAME": "lo",  # else workers average gradients through whatever address the host's name has
    # metrics that anyone on this machine could read; a dashboard and an autoscaler have no other way to leave them out
    "RAY_enable_metrics_collection": "0",
    "DASHBOARD_METRIC_PORT": "-1",
    "AUTOSCALER_METRIC_PORT": "-1",
}


def ray_address() -> str | None:
    """Where Ray runs; None: nowhere yet."""
    return Settings().ray_address or os.environ.get("RAY_ADDRESS")


def prepare() -> None:
    """Set what is not set, and the access to the stack's Ray in any case. A Ray of our own gets a token that lives as
    long as this process."""
    access, address = Settings().ray_access, ray_address()
    os.environ.update(access)
    defaults = dict(_DEFAULTS)
    if address is None and not access and "RAY_AUTH_MODE" not in os.environ:
        defaults |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    if address is None or address.partition(":")[0] in {"127.0.0.1", "localhost", "local", "auto"}:
        defaults |= _ON_THIS_MACHINE
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
