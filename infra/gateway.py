"""The upload gateway as a process: `python -m infra.gateway PORT [HOST]`.

Speaks plain HTTP: on one machine over loopback, beyond it behind a proxy that ends TLS. Several may run side by side;
they share nothing but the store.

What is not covered: floods by strangers from many addresses. Connections that ask for nothing are closed; connections
and unfinished bodies are bounded for each address, so that one address shuts nobody else out. Behind a proxy all come
from the proxy's address: name it in DROVER_GATEWAY_PROXIES. Then its connections are not counted here (it has to bound
those of its clients), and bodies count against the address that it states in X-Forwarded-For.
"""

import asyncio
import logging
import sys
from collections import Counter
from datetime import timedelta
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from components.contracts import Settings
from components.ingest import GatewayLimits, UploadLimits, gateway_app
from components.storage import connect

from ._ingest_start import IngestStart

_PATIENCE_S = 3.0
"""With the store; then the robot is told to come again."""
_CONNECTIONS = 512
_CONNECTIONS_PER_ADDRESS = 128


class HastyProtocol(H11Protocol):
    """Closes connections on which no request begins: uvicorn waits for headers for ever, and they are counted."""

    headers_s = 10.0
    """Two of these without a request, and the connection is closed."""
    per_address = _CONNECTIONS_PER_ADDRESS
    proxies: frozenset[str] = frozenset()
    """Addresses whose connections are not counted."""
    open_by_address: ClassVar[Counter[str]] = Counter()
    """Of this process. The loop's thread alone counts."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = (transport.get_extra_info("peername") or ("",))[0]
        self.open_by_address[self._address] += 1
        self._idle_since: Any = None
        self._tick = self.loop.call_later(self.headers_s, self._look)
        if self._address not in self.proxies and self.open_by_address[self._address] > self.per_address:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tick.cancel()
        self.open_by_address[self._address] -= 1
        if not self.open_by_address[self._address]:
            del self.open_by_address[self._address]
        super().connection_lost(exc)

    def _look(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        state = (id(self.cycle),) if idle else None
        if idle and state == self._idle_since:
            self.transport.close()
            return
        self._idle_since = state
        self._tick = self.loop.call_later(self.headers_s, self._look)


def main(port: int, host: str = "127.0.0.1") -> None:
    """Serve until a signal. Another host than loopback is for containers, whose ports are published on loopback.

    Raises:
        ConfigurationError: no object store, or no key of the gateway's for it.
    """
    settings = Settings()
    outside = settings.model_copy(
        update={
            "s3_endpoint": settings.robot_s3_endpoint or settings.s3_endpoint,
            "s3_secure": settings.s3_secure if settings.robot_s3_secure is None else settings.robot_s3_secure,
        }
    )
    start = IngestStart(settings.prefect_api_url)
    start.tell()  # an earlier gateway may have ended before it could
    app = gateway_app(
        connect(settings, identity="gateway", patience=_PATIENCE_S),
        links=connect(outside, identity="gateway"),
        limits=GatewayLimits(uploads=UploadLimits(link_life=timedelta(seconds=settings.upload_link_s))),
        on_waiting=lambda _robot: start.tell(),
    )
    proxies = [address.strip() for address in settings.gateway_proxies.split(",") if address.strip()]
    HastyProtocol.proxies = frozenset(proxies)
    try:
        uvicorn.run(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            http=HastyProtocol,
            proxy_headers=bool(proxies),  # by default uvicorn believes X-Forwarded-For of anybody on this machine
            forwarded_allow_ips=proxies,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=32 * 1024,
        )
    finally:
        start.close()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    main(int(sys.argv[1]), *sys.argv[2:3])
