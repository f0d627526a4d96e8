"""The robot's end of the upload gateway: enrolment, signed requests, and answers that are not believed too early.

A gateway may lie, stall or flood: answers are bounded in size and time, redirects are not followed, and what it says
of an episode moves bytes but deletes none (`_receipts.py`).

What is not covered: secrecy of what goes over plain http; use https beyond one machine.
"""

import hashlib
import json
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import tenacity
import urllib3

from components.contracts import (
    UNKNOWN_HARDWARE,
    Enrolment,
    EnrolmentRequest,
    Frozen,
    GatewayProblem,
    PublicKey,
    ReportAnswer,
    SignedReport,
    UploadAnswer,
    UploadCompletion,
    UploadRequest,
    hardware_id,
)
from components.contracts.errors import ConfigurationError, GatewayError, InvalidDocumentError
from components.storage import Pace, Wire, read_bounded, read_plain, write_durably

from ._clock import utc_now
from ._identity import RobotIdentity

AUDIENCE = "drover-gateway"
_MAX_PIN_BYTES = 2**16
PIN_FILE = "gateway.json"
"""In a robot's home, mode 600."""
PATIENCE_S = 15.0
TOKEN_LIFE_S = 60
_ANSWER_LIMIT = 8 * 2**20
"""A ticket with a link for each of 10,000 parts stays below."""
PACE = Pace(connect_s=5.0, answer_s=30.0, call_s=60.0)
"""Of a robot's connections to the gateway, and to the store's links."""
_AGAIN = frozenset({"busy", "store"})
_CLOCK_TRIES = 3
F = TypeVar("F", bound=Frozen)


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
        self.robot, self.receipt_keys = pin.robot, pin.receipt_keys
        self._url, self._identity, self._patience, self._clock = pin.url, identity, patience, clock
        self._offset = timedelta()
        self.http = Wire(pace)

    def now(self) -> datetime:
        """The time, by the gateway's clock if it ever said that this robot's is off."""
        return self._clock() + self._offset

    def upload(self, request: UploadRequest) -> UploadAnswer:
        """Where the upload of these bytes stands; begins one where there is none.

        Raises:
            GatewayError: refused, away for longer than `patience`, or the answer makes no sense.
        """
        return self._ask("/v1/uploads", request, UploadAnswer)

    def complete(self, completion: UploadCompletion) -> UploadAnswer:
        """Every part is there. Raises as `upload`."""
        return self._ask("/v1/uploads/complete", completion, UploadAnswer)

    def report(self, signed: SignedReport) -> None:
        """Deliver a report (`ReportSink`): the platform has said which bytes it keeps, and they are these.

        Raises:
            GatewayError: as `upload`; `conflict`: other bytes have its number.
        """
        answer, report = self._ask("/v1/reports", signed, ReportAnswer), signed.report
        kept = ReportAnswer(robot=report.robot, seq=report.seq, count=report.count, sha256=signed.digest())
        if answer != kept:
            raise GatewayError(
                "malformed",
                f"{self._url} was sent report {kept.seq}-{kept.count} ({kept.sha256[:12]}) and says that it keeps "
                f"{answer.seq}-{answer.count} ({answer.sha256[:12]}); the report waits",
            )

    def _ask(self, path: str, request: Frozen, kind: type[F]) -> F:
        body = request.canonical_json()
        for left in reversed(range(_CLOCK_TRIES)):
            try:
                return _post(
                    self.http, self._url, path, body, kind, patience=self._patience,
                    authorization=lambda: f"Bearer {self._token(path, body)}",
                )  # fmt: skip
            except GatewayError as error:
                if error.code != "clock" or error.now is None or not left:
                    raise
                self._offset = error.now - self._clock()
        raise AssertionError("the last try raises or returns")

    def _token(self, path: str, body: bytes) -> str:
        """Good for this one request, within a minute."""
        issued = int(self.now().timestamp())
        return self._identity.token(
            {
                "iss": self.robot,
                "aud": AUDIENCE,
                "iat": issued,
                "exp": issued + TOKEN_LIFE_S,
                "jti": secrets.token_hex(16),
                "htm": "POST",
                "htu": path,
                "bsh": hashlib.sha256(body).hexdigest(),
            }
        )


def enrol(
    robot: str,
    token: str,
    home: Path,
    gateway_url: str,
    *,
    hardware: str = UNKNOWN_HARDWARE,
    patience: float = PATIENCE_S,
) -> GatewayPin:
    """Make this robot known to a gateway, and pin whose receipts it may delete on. The same again changes nothing.

    Args:
        robot: its id.
        token: the one-time token that `drover robot invite ROBOT` printed.
        home: the robot's folder, e.g. `<home>/robots/<robot>/agent`; its key is made there.
        gateway_url: e.g. https://drover.example:8443
        hardware: its hardware id, as releases name it.
        patience: seconds during which a gateway is tried that does not answer.

    Raises:
        ConfigurationError: no such URL, or no hardware id.
        GatewayError: `bad-token`, `conflict` (enrolled with another key), `revoked`, `away`, or a senseless answer.
    """
    url = _checked_url(gateway_url)
    if hardware_id(hardware) != hardware:
        raise ConfigurationError(f"expected a hardware id such as jetson-orin-nx-16gb, got {hardware!r}")
    identity = RobotIdentity(home)
    request = EnrolmentRequest(robot=robot, token=token, public_key=identity.public_key, hardware=hardware)
    with Wire(PACE) as http:
        answer = _post(http, url, "/v1/enrolments", request.canonical_json(), Enrolment, patience=patience)
    if answer.robot != robot:
        raise GatewayError("malformed", f"{url} enrolled {answer.robot}, {robot} was asked for; ask its operator")
    pin = GatewayPin(robot=robot, url=url, receipt_keys=answer.receipt_keys)
    write_durably(home / PIN_FILE, pin.canonical_json(), mode=0o600)
    return pin


def open_gateway(home: Path, *, patience: float = PATIENCE_S, clock: Callable[[], datetime] = utc_now) -> Gateway:
    """The line of a robot that was enrolled.

    Raises:
        ConfigurationError: it was not, or what it kept of it is damaged.
    """
    return Gateway(read_pin(home), RobotIdentity(home), patience=patience, clock=clock)


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


def _post(
    http: Wire,
    url: str,
    path: str,
    body: bytes,
    kind: type[F],
    *,
    patience: float,
    authorization: Callable[[], str] | None = None,
) -> F:
    """Ask, and again while the gateway is away or busy, with a token of its own each time."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, GatewayError) and error.again),
        stop=tenacity.stop_after_delay(patience),
        wait=tenacity.wait_exponential_jitter(multiplier=0.1, max=3.0, jitter=0.1),
        reraise=True,
    )

    def once() -> F:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if authorization:
            headers["Authorization"] = authorization()
        try:
            response = http.urlopen("POST", url + path, body=body, headers=headers, preload_content=False, whole=True)
            status, data = response.status, read_bounded(response, _ANSWER_LIMIT)
            is_json = "json" in response.headers.get("Content-Type", "").lower()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise GatewayError(
                "away", f"{url} does not answer ({type(error).__name__}); is it up?", again=True
            ) from None
        return _understood(url, status, data, kind, is_json=is_json)

    answer: F = retrying(once)
    return answer


def _understood(url: str, status: int, data: bytes, kind: type[F], *, is_json: bool) -> F:
    """An answer that is not the gateway's, as a login page's, is believed by nobody and may be over in a moment."""
    try:
        if 200 <= status < 300:
            return kind.parse(data, source=f"the answer of {url}")
        problem = GatewayProblem.parse(data, source=f"the refusal of {url}")
    except InvalidDocumentError as error:
        text = f"{url} answered {status}, but not as a gateway: {error}"
        raise GatewayError("away" if status >= 500 else "malformed", text, again=status >= 500 or not is_json) from None
    words = json.dumps(problem.message[:300], ensure_ascii=False)  # on one line, whatever it holds
    raise GatewayError(
        problem.code, f"{url} refused ({problem.code}): {words}", now=problem.now, again=problem.code in _AGAIN
    )


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"expected a gateway's URL such as https://drover.example:8443, got {url!r}")
    return url.rstrip("/")
