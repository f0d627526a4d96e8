"""Ray: the one that runs, or one of our own for as long as it is needed."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from tenacity import Retrying, retry_if_exception_message, stop_after_attempt

from components.contracts import Settings

_OBJECT_STORE_BYTES = 256 * 2**20
_STARTS = 4


@contextmanager
def cluster(settings: Settings, *, cpus: int) -> Iterator[None]:
    """Be connected to Ray: the connection that is there, `settings.ray_address`, `RAY_ADDRESS`, or a local Ray of at
    least `cpus` CPUs that ends with the block."""
    if ray.is_initialized():
        yield
        return
    address = settings.ray_address or os.environ.get("RAY_ADDRESS")
    with ExitStack() as stack:
        if address:
            options: dict[str, Any] = {"address": address}
        else:
            # Ray's own folder, /tmp/ray, is everybody's, and so may be the sockets in it
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
            options = {
                "address": "local",
                "num_cpus": max(cpus, os.cpu_count() or 1),
                "object_store_memory": _OBJECT_STORE_BYTES,
                "include_dashboard": False,
                "_temp_dir": folder,
            }
        # Ray gives its node 30 s and no option gives it more: on a busy machine the next try finds everything loaded
        patiently = Retrying(
            retry=retry_if_exception_message(match="(?s).*timed out during startup.*"),
            stop=stop_after_attempt(_STARTS),
            before_sleep=lambda _: ray.shutdown(),
            reraise=True,
        )
        patiently(ray.init, log_to_driver=False, logging_level=logging.WARNING, **options)
        stack.callback(ray.shutdown)
        yield
