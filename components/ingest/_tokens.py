"""Who is asking: each request bears a JWT that the robot signed with its own key, good once and for nothing else."""

import hashlib
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from components.contracts import EnrolledRobot, EnrolmentRequest

from ._problems import Refused

AUDIENCE = "drover-gateway"
LIFE_S = 60
"""A token's longest life, as it says itself."""
SKEW_S = 30
"""How far a robot's clock may be off before it is told so."""
MAX_TOKEN_BYTES = 4096
_ROBOT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_CLAIMS = ["iss", "aud", "iat", "exp", "jti", "htm", "htu", "bsh"]


class Doorkeeper:
    """Lets requests of enrolled robots in, each once. Threads may share one.

    Args:
        find: the registry, asked anew for every request: a revocation holds at once.
        now: seconds since 1970.
        per_robot: requests of one robot within a token's life; more are `busy`.
        in_all: of all robots together.
    """

    def __init__(
        self,
        find: Callable[[str], EnrolledRobot | None],
        *,
        now: Callable[[], float],
        per_robot: int = 6_000,
        in_all: int = 200_000,
    ) -> None:
        self._find, self._now = find, now
        self._seen = _Seen(per_robot, in_all)
        self._started = math.floor(now())

    def admit(self, authorization: str | None, *, method: str, path: str, body: bytes) -> str:
        """The robot whose request this is.

        Raises:
            Refused: `unauthenticated`, `clock`, `revoked` or `busy`.
        """
        token = _bearer(authorization)
        robot = self._find(_claimed_issuer(token))
        if robot is None:
            raise _unauthenticated("no enrolled robot signed it")
        claims = _verified(token, robot.public_key)
        if robot.revoked:
            raise Refused("revoked", f"{robot.robot} was revoked: it uploads nothing more")
        self._seen.note(robot.robot, self._check(claims, method, path, body), self._now())
        return robot.robot

    def check_possession(self, authorization: str | None, claimed: EnrolmentRequest, *, path: str, body: bytes) -> None:
        """Check that the sender of an enrolment holds the private half of the key that it brings.

        The signature is over the body, and so over the one-time token. What was seen is not noted: the token is good
        once, and the same request again has the same answer.

        Raises:
            Refused: `unauthenticated` or `clock`.
        """
        if authorization is None:
            raise _unauthenticated(
                "an enrolment is signed by the key that it brings, this one is not; update drover on the robot"
            )
        token = _bearer(authorization)
        if _claimed_issuer(token) != claimed.robot:
            raise _unauthenticated("expected the robot's id as iss")
        self._check(_verified(token, claimed.public_key), "POST", path, body)

    def _check(self, claims: dict[str, Any], method: str, path: str, body: bytes) -> str:
        """Check what was signed against the request. Returns the jti."""
        self._check_time(claims)
        if (claims["htm"], claims["htu"]) != (method, path):
            raise _unauthenticated("it was signed for another method or path")
        if claims["bsh"] != hashlib.sha256(body).hexdigest():
            raise _unauthenticated("it was signed for another body")
        jti = claims["jti"]
        if not isinstance(jti, str) or not 8 <= len(jti) <= 128:
            raise _unauthenticated("expected a jti of 8 to 128 characters")
        return jti

    def _check_time(self, claims: dict[str, Any]) -> None:
        """Also refuses what was signed before this process began: it cannot know what its predecessor has seen."""
        issued, expires, now = claims["iat"], claims["exp"], self._now()
        if not _is_time(issued) or not _is_time(expires) or not 0 < expires - issued <= LIFE_S:
            raise _unauthenticated(f"expected iat and exp in seconds, at most {LIFE_S} apart")
        if issued > now + SKEW_S or expires < now - SKEW_S or issued < self._started:
            raise Refused("clock", "the token is not of this time: date it by `now` of this answer and try again")


class _Seen:
    """The tokens of the last minutes. Bounded: full, it refuses instead of forgetting."""

    _KEPT_S = LIFE_S + 2 * SKEW_S + 1

    def __init__(self, per_robot: int, in_all: int) -> None:
        self._per_robot, self._in_all = per_robot, in_all
        self._tokens: OrderedDict[tuple[str, bytes], float] = OrderedDict()
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def note(self, robot: str, jti: str, now: float) -> None:
        token = (robot, hashlib.blake2b(jti.encode("utf-8", "surrogatepass"), digest_size=16).digest())
        with self._lock:
            self._forget(now)
            if token in self._tokens:
                raise _unauthenticated("it was used before")
            if self._counts.get(robot, 0) >= self._per_robot or len(self._tokens) >= self._in_all:
                raise Refused("busy", f"more than {self._per_robot} requests within {self._KEPT_S} s: slow down")
            self._tokens[token] = now + self._KEPT_S
            self._counts[robot] = self._counts.get(robot, 0) + 1

    def _forget(self, now: float) -> None:
        while self._tokens:
            token, until = next(iter(self._tokens.items()))
            if until > now:
                return
            del self._tokens[token]
            robot = token[0]
            self._counts[robot] -= 1
            if not self._counts[robot]:
                del self._counts[robot]


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise _unauthenticated(f"expected `Authorization: Bearer <token>` of at most {MAX_TOKEN_BYTES} characters")
    return token


def _claimed_issuer(token: str) -> str:
    """Whose key to try. Nothing is believed yet."""
    claims = _decode(token, None)
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or not _ROBOT.fullmatch(issuer):
        raise _unauthenticated("expected a robot's id as iss")
    return issuer


def _verified(token: str, public_key: str) -> dict[str, Any]:
    return _decode(token, Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)))


def _decode(token: str, key: Ed25519PublicKey | None) -> dict[str, Any]:
    try:
        if key is None:
            return jwt.decode(token, options={"verify_signature": False})
        return jwt.decode(
            token,
            key,
            algorithms=["EdDSA"],
            audience=AUDIENCE,
            # times: `_check_time`
            options={"require": _CLAIMS, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):  # RecursionError: JSON of a thousand brackets
        raise _unauthenticated("it is damaged, or not signed by the key of the robot it names") from None


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**40


def _unauthenticated(why: str) -> Refused:
    return Refused("unauthenticated", f"the request's token is not accepted: {why}")
