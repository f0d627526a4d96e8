"""Why the gateway does not do what a robot asks."""

from typing import Literal

Code = Literal[
    "malformed", "unauthenticated", "clock", "revoked", "bad-token", "conflict", "too-large", "busy", "incomplete",
    "not-found", "store",
]  # fmt: skip
STATUS: dict[Code, int] = {
    "malformed": 400,
    "unauthenticated": 401,
    "clock": 401,
    "revoked": 403,
    "bad-token": 403,
    "conflict": 409,
    "too-large": 413,
    "busy": 429,
    "incomplete": 409,
    "not-found": 404,
    "store": 503,
}


class Refused(Exception):  # noqa: N818  # an answer, not a failure: it becomes a GatewayProblem
    """A request that is not done. `message` goes to the robot: nothing secret in it."""

    def __init__(self, code: Code, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.code: Code = code
        self.status = status or STATUS[code]
