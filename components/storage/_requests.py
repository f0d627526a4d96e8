"""Requests to an S3 server through presigned URLs: the SDK's own calls take neither conditions nor single parts."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import SplitResult, urlunsplit

import urllib3
from minio import Minio
from minio.credentials import Credentials
from minio.helpers import BaseURL
from minio.signer import presign_v4

from components.contracts.errors import AlreadyExistsError, BrokenUploadError, ObjectNotFoundError, StorageError

from ._bytes import Slice
from ._calls import Calls, text_of
from ._presign import presigned
from ._protocol import uri_of

_TIMEOUT = urllib3.Timeout(connect=3.0, read=60.0)
LINK_DAYS = 7
"""How long a presigned URL may live: the protocol's limit."""


class LostAnswerError(Exception):
    """The write is done on a later try: perhaps by the earlier one, whose answer was lost."""


class Requests:
    """One server, one identity, and the connections to it."""

    def __init__(self, endpoint: str, key: str, secret: str, region: str, calls: Calls, *, secure: bool) -> None:
        self._endpoint, self._region, self._secure = endpoint, region, secure
        self._credentials = Credentials(key, secret)
        self._calls = calls
        self._pid = -1
        self._connect()

    def _connect(self) -> None:
        """Two processes must not talk over one socket, so a forked child connects anew."""
        key, secret = self._credentials.access_key, self._credentials.secret_key
        self._http = urllib3.PoolManager(timeout=_TIMEOUT, retries=False, maxsize=32)
        try:
            self._sdk = Minio(
                self._endpoint,
                access_key=key,
                secret_key=secret,
                region=self._region,
                secure=self._secure,
                http_client=self._http,
            )
            self._base = BaseURL(f"{'https' if self._secure else 'http'}://{self._endpoint}", self._region)
        except ValueError as error:
            raise StorageError(
                f"expected the object store's endpoint as host:port, got {self._endpoint!r} ({error})"
            ) from None
        self._pid = os.getpid()

    @property
    def sdk(self) -> Minio:
        """The SDK's client, in this process."""
        if self._pid != os.getpid():
            self._connect()
        return self._sdk

    def url(
        self,
        method: str,
        bucket: str,
        key: str | None,
        *,
        query: dict[str, str] | None = None,
        expires: timedelta = timedelta(minutes=15),
        length: int | None = None,
    ) -> str:
        """Of one request, signed. Without a key it is the bucket's. With `length` it takes a body of as many bytes.

        Raises:
            StorageError: no name for an object, or a life beyond `LINK_DAYS`.
        """
        uri = uri_of(bucket, key) if key is not None else f"s3://{bucket}"
        if not timedelta(seconds=1) <= expires <= timedelta(days=LINK_DAYS):
            raise StorageError(f"{uri}: expected a link's life between 1 s and {LINK_DAYS} days, got {expires}")
        try:
            plain = self._base.build(
                method=method, region=self._region, bucket_name=bucket, object_name=key, query_params=query or {}
            )
        except ValueError as error:
            raise StorageError(f"{uri} is no name for an object: {error}") from None
        if length is not None:
            return presigned(
                method,
                plain,
                key=self._credentials.access_key,
                secret=self._credentials.secret_key,
                region=self._region,
                expires=expires,
                headers={"content-length": str(length)},
            )
        signed: SplitResult = presign_v4(
            method=method,
            url=plain,
            region=self._region,
            credentials=self._credentials,
            date=datetime.now(UTC),
            expires=int(expires.total_seconds()),
        )
        return str(urlunsplit(signed))

    def send(
        self,
        method: str,
        bucket: str,
        key: str | None,
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        body: Callable[[], bytes | Slice] | None = None,
        if_absent: bool = False,
        says: str | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Send it, and again while the server is away. `body` makes the same bytes at each try.

        `says` is an element that the answer must hold: a server may begin a 200 before it has done the work, and die.

        Raises:
            AlreadyExistsError: `if_absent`, and the object is there.
            BrokenUploadError: the parts named are not there.
            LostAnswerError: the same on a later try, or the upload that it completes is no longer open.
            ObjectNotFoundError: no such object, bucket or upload.
            StorageError: everything else.
        """
        uri, tries = uri_of(bucket, key) if key is not None else f"s3://{bucket}", 0

        def once() -> urllib3.BaseHTTPResponse:
            nonlocal tries
            tries += 1
            sent = (headers or {}) | ({"If-None-Match": "*"} if if_absent else {})
            content: Any = body() if body else None
            if isinstance(content, Slice):
                sent["Content-Length"] = str(content.size)
            response = self.exchange(method, self.url(method, bucket, key, query=query), content, sent)
            code = text_of(response.data, "Code")  # a completed multipart upload may fail with status 200
            if tries > 1 and (response.status == 412 or code == "NoSuchUpload"):
                raise LostAnswerError
            if response.status == 412:
                raise AlreadyExistsError(there(uri))
            if code == "NoSuchUpload":
                raise ObjectNotFoundError(f"{uri}: that upload is not open; it was completed, abandoned or never begun")
            if code == "InvalidPart":
                raise BrokenUploadError(f"{uri}: the server does not hold the parts named: abandon it and begin anew")
            if response.status not in {200, 204} or code:
                raise self._calls.refusal(uri, response.status, code, text_of(response.data, "Message"))
            if says and not text_of(response.data, says):
                raise self._calls.refusal(uri, 503, "", f"its answer of {response.status} was cut off before {says}")
            return response

        return self._calls.run(uri, once)

    def exchange(
        self, method: str, url: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """One try, whatever it answers."""
        if self._pid != os.getpid():
            self._connect()
        return self._http.request(method, url, body=body, headers=headers, retries=False)

    def expect_ours(self, bucket: str, key: str, etag: str) -> None:
        """An answer was lost, and the next try found the write done. If exactly our bytes are there, we did it.

        Raises:
            AlreadyExistsError: others are there.
            ObjectNotFoundError: nothing is there.
        """
        uri = uri_of(bucket, key)
        try:
            found = self._calls.run(uri, lambda: self.sdk.stat_object(bucket_name=bucket, object_name=key))
        except ObjectNotFoundError:
            raise
        except StorageError:  # robots may write and not look
            raise AlreadyExistsError(there(uri)) from None
        if (found.etag or "").strip('"') != etag:
            raise AlreadyExistsError(there(uri))


def there(uri: str) -> str:
    """The message of a refused conditional write."""
    return f"{uri} is there already; it was not touched"
