"""The gateway over real HTTP, with its own identity on a real SeaweedFS, and clients that may say anything."""

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from components.contracts import PART_BYTES, RobotReport, Settings, SignedReport
from components.ingest import (
    GatewayLimits,
    ReceiptKey,
    gateway_app,
    invite_robot,
    publish_receipt_key,
    register_robot,
)
from components.storage import connect
from infra.local import store_alone


class GatewayWorld:
    """`url` answers as long as it is open."""

    def __init__(self, settings: Settings, limits: GatewayLimits | None = None) -> None:
        self.settings = settings
        self.store = connect(settings)
        self.receipt_key = ReceiptKey(settings.home / "receipt-key.pem")
        publish_receipt_key(self.store, self.receipt_key.public_key)
        self.told: list[str] = []
        self.limits = limits
        self.http = httpx.Client(timeout=30)
        self.url = ""

    @contextmanager
    def open(self) -> Iterator["GatewayWorld"]:
        identity = connect(self.settings, identity="gateway", patience=1.0)
        app = gateway_app(identity, limits=self.limits, on_waiting=self.told.append)
        server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join(10)
            self.http.close()

    def robot(self, name: str = "") -> "Robot":
        """An enrolled one, of a name that no other test has."""
        robot = Robot(self, name or f"robot-{secrets.token_hex(4)}")
        register_robot(self.store, robot.name, robot.public_key, hardware="test")
        return robot

    def invited(self) -> tuple["Robot", str]:
        """One that has a token and is not enrolled yet."""
        robot = Robot(self, f"robot-{secrets.token_hex(4)}")
        return robot, invite_robot(self.store, robot.name)

    def post(self, path: str, content: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        return self.http.post(self.url + path, content=content, headers=headers or {})


class Robot:
    """A client with a key of its own."""

    def __init__(self, world: GatewayWorld, name: str) -> None:
        self.world, self.name = world, name
        self.key = Ed25519PrivateKey.generate()

    @property
    def public_key(self) -> str:
        return self.key.public_key().public_bytes_raw().hex()

    def enrol(self, token: str, *, claims: dict[str, Any] | None = None, **changes: Any) -> httpx.Response:
        body = {"robot": self.name, "token": token, "public_key": self.public_key, "hardware": "test"} | changes
        return self.post("/v1/enrolments", body, **(claims or {}))

    def claims(self, path: str, body: bytes, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.name, "aud": "drover-gateway", "iat": now, "exp": now + 60, "jti": secrets.token_hex(8),
            "htm": "POST", "htu": path, "bsh": hashlib.sha256(body).hexdigest(),
        }  # fmt: skip
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, path: str, body: bytes, **changes: Any) -> str:
        return jwt.encode(self.claims(path, body, **changes), self.key, algorithm="EdDSA")

    def post(self, path: str, document: Any, **changes: Any) -> httpx.Response:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.world.post(path, body, {"Authorization": f"Bearer {self.token(path, body, **changes)}"})

    def ask(self, file: bytes, *, name: str = "e", **changes: Any) -> httpx.Response:
        return self.post("/v1/uploads", described(file, name) | changes)

    def complete(self, file: bytes, upload_id: str, *, name: str = "e", **changes: Any) -> httpx.Response:
        return self.post("/v1/uploads/complete", described(file, name) | {"upload_id": upload_id} | changes)

    def send(self, file: bytes, *, name: str = "e") -> httpx.Response:
        """The whole way into the inbox."""
        while True:
            ticket = self.ask(file, name=name).json()["ticket"]
            if not ticket["links"]:
                return self.complete(file, ticket["upload_id"], name=name)
            for link in ticket["links"]:
                assert self.put(link, file).status_code == 200

    def report(self, **fields: Any) -> SignedReport:
        """A report that this robot signed."""
        facts = {
            "robot": self.name, "sent_at": "2026-01-01T00:00:00Z", "deployment": "d1", "release": "r1",
            "attempted": "r1", "seq": 1, "state": "IDLE", "reason": "committed", "trials": 2, "successes": 2,
            "p50_ms": 1.0, "p99_ms": 2.0, "provider": "CPUExecutionProvider", "count": 1,
        } | fields  # fmt: skip
        report = RobotReport.model_validate(facts)
        return SignedReport(report=report, signature=self.key.sign(report.canonical_json()).hex())

    def send_report(self, signed: SignedReport, **changes: Any) -> httpx.Response:
        return self.post("/v1/reports", signed.canonical_json(), **changes)

    def put(self, link: dict[str, Any], file: bytes) -> httpx.Response:
        start = (link["number"] - 1) * PART_BYTES
        return self.world.http.put(link["url"], content=file[start : start + link["size"]])

    def key_of(self, file: bytes, name: str = "e") -> str:
        return f"{self.name}/{hashlib.sha256(file).hexdigest()}/{name}.h5"


def described(file: bytes, name: str = "e") -> dict[str, Any]:
    return {"name": name, "sha256": hashlib.sha256(file).hexdigest(), "size": len(file)}


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a GatewayProblem."""
    problem = answer.json()
    assert set(problem) == {"code", "message", "now"}, problem
    return answer.status_code, problem["code"]


@contextmanager
def gateway_world(folder: Path, limits: GatewayLimits | None = None) -> Iterator[GatewayWorld]:
    with store_alone(Settings(home=folder)) as settings, GatewayWorld(settings, limits).open() as world:
        yield world
