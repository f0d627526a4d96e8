"""Requests to the gateway, each signed by the robot's key, and answers that are not believed too early.

A gateway may lie, stall or flood: answers are bounded in size and time, and redirects are not followed.

What is not covered: secrecy of what goes over plain http; use https beyond one machine.
"""

import hashlib
import json
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

import tenacity
import urllib3

from components.contracts import Frozen, GatewayProblem
from components.contracts.errors import GatewayError, InvalidDocumentError
from components.storage import Wire, read_bounded

from ._identity import RobotIdentity

AUDIENCE = "drover-gateway"
TOKEN_LIFE_S = 60
_ANSWER_LIMIT = 8 * 2**20
"""A ticket with a link for each of 10,000 parts stays below."""
_AGAIN = frozenset({"busy", "store"})
_CLOCK_TRIES = 3
F = TypeVar("F", bound=Frozen)


class SignedRequests:
    """A robot's requests to one gateway. For one thread.

    Args:
        http: the connections to use.
        url: the gateway's.
        robot: its id.
        identity: signs each request.
        patience: seconds during which a request is tried again while the gateway is away.
        clock: now, in UTC, however wrong.
    """

    def __init__(
        self,
        http: Wire,
        url: str,
        robot: str,
        identity: RobotIdentity,
        *,
        patience: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._http, self._url, self._robot, self._identity = http, url, robot, identity
        self._patience, self._clock = patience, clock
        self._offset = timedelta()

    def now(self) -> datetime:
        """The time, by the gateway's clock if it ever said that this robot's is off."""
        return self._clock() + self._offset

    def ask(self, path: str, request: Frozen, kind: type[F]) -> F:
        """Send a document and read the answer.

        Raises:
            GatewayError: refused, away for longer than `patience`, or the answer makes no sense.
        """
        body = request.canonical_json()
        for left in reversed(range(_CLOCK_TRIES)):
            try:
                return _post(
                    self._http, self._url, path, body, kind, patience=self._patience,
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
                "iss": self._robot,
                "aud": AUDIENCE,
                "iat": issued,
                "exp": issued + TOKEN_LIFE_S,
                "jti": secrets.token_hex(16),
                "htm": "POST",
                "htu": path,
                "bsh": hashlib.sha256(body).hexdigest(),
            }
        )


def _post(
    http: Wire,
    url: str,
    path: str,
    body: bytes,
    kind: type[F],
    *,
    patience: float,
    authorization: Callable[[], str],
) -> F:
    """Ask, and again while the gateway is away or busy, with a token of its own each time."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, GatewayError) and error.again),
        stop=tenacity.stop_after_delay(patience),
        wait=tenacity.wait_exponential_jitter(multiplier=0.1, max=3.0, jitter=0.1),
        reraise=True,
    )

    def once() -> F:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "Authorization": authorization()}
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
