"""A real small world for uploads: SeaweedFS, the gateway over HTTP, enrolled robots with spools."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import uvicorn

from components.contracts import ObjectRef, Receipt, Settings
from components.contracts.errors import ObjectNotFoundError
from components.ingest import GatewayLimits, ReceiptKey, UploadLimits, gateway_app, invite_robot, publish_receipt_key
from components.robot import Gateway, Spool, Uploader, UploadRules, enrol, open_gateway
from components.storage import S3Store, connect, sha256_of_file
from tests.faults.bad_network import BadNetwork, bad_network

MIB = 2**20


class UploadWorld:
    """One platform. `root` is a test's own folder; the store may be shared, so robots' names should not be."""

    def __init__(self, settings: Settings, root: Path) -> None:
        self.settings, self.root = settings, root
        self.store = connect(settings)
        self.key = ReceiptKey(settings.home / "receipt-key.pem")
        publish_receipt_key(self.store, self.key.public_key)

    @contextmanager
    def gateway(
        self, *, link_life: timedelta = timedelta(minutes=15), links_by: str | None = None, patience: float = 2.0
    ) -> Iterator[str]:
        """The gateway's URL while it is up. `links_by`: host:port that robots reach the store by."""
        limits = GatewayLimits(uploads=UploadLimits(link_life=link_life))
        links = self._store(links_by, patience) if links_by else None
        app = gateway_app(self._store(self.settings.s3_endpoint or "", patience), links=links, limits=limits)
        server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        wait_until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)

    @contextmanager
    def through_bad_network(self, **options: object) -> Iterator[tuple[str, BadNetwork]]:
        """A gateway whose links lead through a network that breaks on the way to the store."""
        with (
            bad_network(str(self.settings.s3_endpoint)) as network,
            self.gateway(links_by=network.address, **options) as url,  # type: ignore[arg-type]
        ):
            yield url, network

    def _store(self, endpoint: str, patience: float) -> S3Store:
        assert self.settings.s3_key
        assert self.settings.s3_secret
        return S3Store(endpoint, self.settings.s3_key, self.settings.s3_secret.get_secret_value(), patience=patience)

    def home(self, robot: str) -> Path:
        return self.root / robot / "agent"

    def spool(self, robot: str) -> Spool:
        return Spool(self.root / robot)

    def enrol(self, robot: str, url: str) -> None:
        enrol(robot, invite_robot(self.store, robot), self.home(robot), url)

    def line(self, robot: str, *, patience: float = 1.0, clock: Callable[[], datetime] | None = None) -> Gateway:
        options = {"clock": clock} if clock else {}
        return open_gateway(self.home(robot), patience=patience, **options)

    def uploader(self, robot: str, *, clock: Callable[[], datetime] | None = None, **rules: object) -> Uploader:
        return Uploader(
            self.spool(robot),
            self.line(robot, clock=clock),
            rules=UploadRules(**rules),  # type: ignore[arg-type]
        )

    def episode(self, robot: str, size: int, name: str = "one", seed: int = 0) -> Path:
        """A file of that many bytes in the robot's spool. What it holds is nothing to an upload."""
        path = self.spool(robot).path_of(name)
        path.write_bytes(np.random.default_rng(seed).bytes(size))
        return path

    def inbox(self, robot: str) -> dict[str, int]:
        """Key -> size."""
        return {info.key: info.size for info in self.store.list("inbox", f"{robot}/")}

    def open_uploads(self, key: str) -> int:
        return len(self.store.open_uploads("inbox", key))

    def parts_held(self, robot: str, path: Path) -> int:
        """Parts of its open uploads that the store has; none of one that is completed just now."""
        key, held = inbox_key(robot, path), 0
        for upload in self.store.open_uploads("inbox", key):
            with suppress(ObjectNotFoundError):
                held += len(self.store.list_parts("inbox", key, upload))
        return held

    def confirm(self, of: str, path: Path, *, key: ReceiptKey | None = None, **changes: object) -> ObjectRef:
        """The platform's receipt for this file, as ingest writes it."""
        facts = {
            "robot": of, "name": path.stem, "sha256": sha256_of_file(path), "size": path.stat().st_size,
            "status": "accepted", "issued_at": datetime.now(UTC),
        }  # fmt: skip
        signed = (key or self.key).sign(Receipt.model_validate(facts | changes))
        return self.store.put("receipts", f"{of}/{facts['sha256']}.json", signed.canonical_json())


def inbox_key(robot: str, path: Path) -> str:
    return f"{robot}/{sha256_of_file(path)}/{path.stem}.h5"


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)
