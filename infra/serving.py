"""The promoted policy's server: `python -m infra.serving PORT [HOST]`.

One process with one port. `bentoml serve` would put a process manager before it, which listens on two ports of its own
and starts whatever program it is asked to, by any user of the machine.
"""

import logging
import os
import sys
import tempfile

from bentos.policy import guarded, serving_token
from components.contracts import plain_logs
from components.contracts.errors import ConfigurationError

_log = logging.getLogger(__name__)
_CONNECTIONS = 256


def main(port: int, host: str = "127.0.0.1") -> None:
    """Serve until a signal. Another host than loopback is for containers, whose ports are published on loopback.

    Raises:
        ConfigurationError: DROVER_SERVING_TOKEN is not set.
    """
    serving_token()  # before anything heavy is loaded
    import uvicorn

    from .gateway import HastyProtocol

    with tempfile.TemporaryDirectory(prefix="drover-serving-") as folder:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)  # BentoML's counters are files
        from bentoml._internal.context import server_context  # what `bentoml serve` says of its process

        from bentos.policy.service import bento

        server_context.service_name = server_context.bento_name = bento.name
        server_context.bento_version = "not available"
        uvicorn.run(
            guarded(bento.to_asgi()),  # before BentoML's counters too, which keep every path that was asked
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            http=HastyProtocol,
            ws="none",
            timeout_keep_alive=15,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=32 * 1024,
        )


if __name__ == "__main__":
    plain_logs()
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        main(int(sys.argv[1]), *sys.argv[2:3])
    except ConfigurationError as error:
        _log.error("%s", error)
        sys.exit(1)
