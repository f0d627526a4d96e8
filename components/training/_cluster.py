"""Ray: the one that runs, or one of our own for as long as it is needed."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from components.contracts import Settings

_OBJECT_STORE_BYTES = 256 * 2**20
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",  # the default of 2 s is felt at every start and end of a run
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's new output prints whatever its verbosity is
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@contextmanager
def cluster(settings: Settings, *, cpus: int) -> Iterator[None]:
    """Be connected to Ray: the connection that is there, `settings.ray_address`, `RAY_ADDRESS`, or a local Ray of at
    least `cpus` CPUs that ends with the block."""
    if ray.is_initialized():
        yield
        return
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = settings.ray_address or os.environ.get("RAY_ADDRESS")
    own = {
        "num_cpus": max(cpus, os.cpu_count() or 1),
        "object_store_memory": _OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }
    ray.init(
        address=address or "local",
        log_to_driver=False,
        logging_level=logging.WARNING,
        **({} if address else own),
    )
    try:
        yield
    finally:
        ray.shutdown()
