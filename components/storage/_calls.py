"""Calls to an S3 server: tried again while it is away, and ended by one of our errors."""

from collections.abc import Callable
from typing import TypeVar, cast
from xml.etree.ElementTree import ParseError

import tenacity
import urllib3
from minio.error import InvalidResponseError, MinioException, S3Error

from components.contracts.errors import ObjectNotFoundError, StorageError

from ._wire import TooSlowError

T = TypeVar("T")

PATIENCE_S = 15.0
"""How long a call keeps trying a server that does not answer, or answers that it cannot just now."""
_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class ForbiddenError(StorageError):
    """This identity may not."""


class _TransientError(Exception):
    """Worth another try: the server did not answer, or said that it cannot just now."""


class Calls:
    """How one store talks to its server."""

    def __init__(self, endpoint: str, identity: str, patience: float) -> None:
        self._endpoint = endpoint
        self._identity = identity
        self._patience = patience

    def run(self, uri: str, call: Callable[[], T]) -> T:
        """Run it, and again for up to `patience` seconds while the server is away.

        Raises:
            ObjectNotFoundError: no such object or bucket.
            StorageError: everything else; the message says which server and what to do.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TransientError),
            stop=tenacity.stop_after_delay(self._patience),
            wait=tenacity.wait_exponential_jitter(multiplier=0.1, max=3.0, jitter=0.1),
            reraise=True,
        )
        try:
            return cast("T", retrying(self._once, uri, call))
        except _TransientError as error:
            raise StorageError(
                f"{uri}: the object store at {self._endpoint} did not do it within {self._patience:g} s ({error}). "
                "Look whether it runs (`drover status`, `drover up`), or whether DROVER_S3_ENDPOINT is right"
            ) from error.__cause__

    def _once(self, uri: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except S3Error as error:
            status = getattr(error.response, "status", 0)
            raise self.refusal(uri, status, error.code or "", error.message or "") from error
        except (InvalidResponseError, ParseError) as error:
            raise _TransientError(f"it answers, but not as S3 does: {error}") from error
        except urllib3.exceptions.HTTPError as error:
            raise _TransientError(_why(error)) from error
        except (MinioException, ValueError) as error:
            raise StorageError(f"{uri}: {error}") from error

    def refusal(self, uri: str, status: int, code: str, message: str) -> Exception:
        """What to raise for a server's error answer."""
        what = f"{self._endpoint} says {code or status}" + (f": {message}" if message else "")
        if status == 404 or code in {"NoSuchBucket", "NoSuchKey"}:
            lost = (
                ": its bucket is not there; `drover up` makes the buckets"
                if code == "NoSuchBucket"
                else " is not there"
            )
            return ObjectNotFoundError(f"{uri}{lost} ({what})")
        if code == "RequestTimeTooSkewed" or (status == 403 and _names_a_date(message)):
            return StorageError(f"{uri}: this machine's clock is off; set it and try again ({what})")
        if status in _TRANSIENT:
            return _TransientError(what)
        if code in {"InvalidAccessKeyId", "SignatureDoesNotMatch"}:
            where = "DROVER_ROBOT_S3_KEY and _SECRET" if self._identity == "robot" else "DROVER_S3_KEY and _SECRET"
            return StorageError(f"{uri}: the {self._identity}'s key or secret is wrong; look at {where} ({what})")
        if status in {401, 403}:
            return ForbiddenError(f"{uri}: refused (the {self._identity}'s identity is not allowed to; {what})")
        return StorageError(f"{uri}: refused ({what})")


def _names_a_date(message: str) -> bool:
    """Codes with which servers refuse a signed URL whose date is not theirs."""
    return "request has expired" in message.lower() or "not valid yet" in message.lower()


def _why(error: urllib3.exceptions.HTTPError) -> str:
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "nobody answers there"
    cause = error.__cause__
    if isinstance(error, urllib3.exceptions.TimeoutError) and isinstance(cause, TooSlowError):
        return str(cause)
    return f"{type(error).__name__}: {error}"
