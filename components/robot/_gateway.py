"""The robot's end of the upload gateway: enrolment, uploads and reports.

What the gateway says of an episode moves bytes but deletes none (`_receipts.py`).
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from components.contracts import (
    UNKNOWN_HARDWARE,
    Enrolment,
    EnrolmentRequest,
    Frozen,
    PublicKey,
    ReportAnswer,
    SignedReport,
    UploadAnswer,
    UploadCompletion,
    UploadRequest,
    hardware_id,
)
from components.contracts.errors import ConfigurationError, GatewayError, InvalidDocumentError
from components.storage import Pace, Wire, read_plain, write_durably

from ._clock import utc_now
from ._identity import RobotIdentity
from ._signed_requests import SignedRequests

_MAX_PIN_BYTES = 2**16
PIN_FILE = "gateway.json"
"""In a robot's home, mode 600."""
PATIENCE_S = 15.0
PACE = Pace(connect_s=5.0, answer_s=30.0, call_s=60.0)
"""Of a robot's connections to the gateway, and to the store's links."""


class GatewayPin(Frozen):
    """What a robot keeps of its enrolment."""

    robot: str
    url: str
    receipt_keys: tuple[PublicKey, ...]


class Gateway:
    """An enrolled robot's line to the gateway. For one thread."""

    def __init__(
        self,
        pin: GatewayPin,
        identity: RobotIdentity,
        *,
        patience: float = PATIENCE_S,
        clock: Callable[[], datetime] = utc_now,
        pace: Pace = PACE,
    ) -> None:
        """A line to the gateway of `pin`.

        Args:
            pin: who answers, and whose receipts count.
            identity: signs each request.
            patience: seconds during which a request is tried again while the gateway is away.
            clock: now, in UTC, however wrong.
            pace: the least that a connection has to do.
        """
        self.robot, self.receipt_keys, self._url = pin.robot, pin.receipt_keys, pin.url
        self.http = Wire(pace)
        self._requests = SignedRequests(self.http, pin.url, pin.robot, identity, patience=patience, clock=clock)

    def now(self) -> datetime:
        """The time, by the gateway's clock if it ever said that this robot's is off."""
        return self._requests.now()

    def upload(self, request: UploadRequest) -> UploadAnswer:
        """Where the upload of these bytes stands; begins one where there is none.

        Raises:
            GatewayError: refused, away for longer than `patience`, or the answer makes no sense.
        """
        return self._requests.ask("/v1/uploads", request, UploadAnswer)

    def complete(self, completion: UploadCompletion) -> UploadAnswer:
        """Every part is there. Raises as `upload`."""
        return self._requests.ask("/v1/uploads/complete", completion, UploadAnswer)

    def report(self, signed: SignedReport) -> None:
        """Deliver a report (`ReportSink`): the platform has said which bytes it keeps, and they are these.

        Raises:
            GatewayError: as `upload`; `conflict`: other bytes have its number.
        """
        answer, report = self._requests.ask("/v1/reports", signed, ReportAnswer), signed.report
        kept = ReportAnswer(robot=report.robot, seq=report.seq, count=report.count, sha256=signed.digest())
        if answer != kept:
            raise GatewayError(
                "malformed",
                f"{self._url} was sent report {kept.seq}-{kept.count} ({kept.sha256[:12]}) and says that it keeps "
                f"{answer.seq}-{answer.count} ({answer.sha256[:12]}); the report waits",
            )


def enrol(
    robot: str,
    token: str,
    home: Path,
    gateway_url: str,
    *,
    hardware: str = UNKNOWN_HARDWARE,
    patience: float = PATIENCE_S,
    clock: Callable[[], datetime] = utc_now,
) -> GatewayPin:
    """Make this robot known to a gateway, and pin whose receipts it may delete on. The same again changes nothing.

    The request is signed by the key that it enrols, over the token, the robot's id and the gateway's audience.

    Args:
        robot: its id.
        token: the one-time token that `drover robot invite ROBOT` printed.
        home: the robot's folder, e.g. `<home>/robots/<robot>/agent`; its key is made there.
        gateway_url: e.g. https://drover.example:8443
        hardware: its hardware id, as releases name it.
        patience: seconds during which a gateway is tried that does not answer.
        clock: now, in UTC, however wrong.

    Raises:
        ConfigurationError: no such URL, or no hardware id.
        GatewayError: `bad-token`, `conflict` (another robot has this key), `revoked`, `away`, or a senseless answer.
    """
    url = _checked_url(gateway_url)
    if hardware_id(hardware) != hardware:
        raise ConfigurationError(f"expected a hardware id such as jetson-orin-nx-16gb, got {hardware!r}")
    if not 16 <= len(token) <= 128:
        raise ConfigurationError(
            f"expected the token that `drover robot invite` printed, got {len(token)} characters; ask for another one"
        )
    identity = RobotIdentity(home)
    request = EnrolmentRequest(robot=robot, token=token, public_key=identity.public_key, hardware=hardware)
    with Wire(PACE) as http:
        requests = SignedRequests(http, url, robot, identity, patience=patience, clock=clock)
        answer = requests.ask("/v1/enrolments", request, Enrolment)
    if answer.robot != robot:
        raise GatewayError("malformed", f"{url} enrolled {answer.robot}, {robot} was asked for; ask its operator")
    pin = GatewayPin(robot=robot, url=url, receipt_keys=answer.receipt_keys)
    write_durably(home / PIN_FILE, pin.canonical_json(), mode=0o600)
    return pin


def open_gateway(home: Path, *, patience: float = PATIENCE_S, clock: Callable[[], datetime] = utc_now) -> Gateway:
    """The line of a robot that was enrolled.

    Raises:
        ConfigurationError: it was not, what it kept of it is damaged, or its key is not here.
    """
    return Gateway(read_pin(home), RobotIdentity(home, make=False), patience=patience, clock=clock)


def read_pin(home: Path) -> GatewayPin:
    """What a robot keeps of its enrolment. Raises ConfigurationError: there is nothing, or it is damaged."""
    path = home / PIN_FILE
    try:
        return GatewayPin.parse(read_plain(path, _MAX_PIN_BYTES), source=str(path))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: expected what a robot keeps of its enrolment, found none; enrol it (`drover robot join`)"
        ) from None
    except (OSError, InvalidDocumentError) as error:
        raise ConfigurationError(f"{path} cannot be used ({error}); enrol the robot again") from None


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"expected a gateway's URL such as https://drover.example:8443, got {url!r}")
    return url.rstrip("/")
