"""Ray: the one that runs, or one of our own for as long as it is needed."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from components.contracts import Settings

_OBJECT_STORE_BYTES = 256 * 2**20


@contextmanager
def cluster(settings: Settings, *, cpus: int) -> Iterator[None]:
    """Be connected to Ray: the connection that is there, `settings.ray_address`, `RAY_ADDRESS`, or a local Ray of at
    least `cpus` CPUs that ends with the block."""
    if ray.is_initialized():
        yield
        return
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
