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

from ._answers import NotS3Error, S3Wire, etag_of, length_of, modified_at, parse, problem_of
from ._bytes import Slice
from ._calls import Calls, ForbiddenError
from ._presign import presigned
from ._protocol import uri_of
from ._wire import Pace, read_bounded

_DONE = {"DELETE": {200, 204}}
"""Statuses of success, where it is not 200 alone."""
_PROBLEM_LIMIT = 2**16
_SMALL_BODY = 2**20
LINK_DAYS = 7
"""How long a presigned URL may live: the protocol's limit."""


class LostAnswerError(Exception):
    """The write is done on a later try: perhaps by the earlier one, whose answer was lost."""


class Requests:
    """One server, one identity, and the connections to it."""

    def __init__(
        self, endpoint: str, key: str, secret: str, region: str, calls: Calls, *, secure: bool, pace: Pace
    ) -> None:
        self._endpoint, self._region, self._secure, self._pace = endpoint, region, secure, pace
        self._credentials = Credentials(key, secret)
        self._calls = calls
        self._pid = -1
        self._connect()

    def _connect(self) -> None:
        """Two processes must not talk over one socket, so a forked child connects anew."""
        key, secret = self._credentials.access_key, self._credentials.secret_key
        self._http = S3Wire(self._pace, maxsize=32)
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
        root: str | None = None,
        check: Callable[[urllib3.BaseHTTPResponse], None] = lambda _response: None,
    ) -> urllib3.BaseHTTPResponse:
        """Send it, and again while the server is away, or somebody else answers. `body` makes the same bytes each time.

        Args:
            root: the element that the answer has to be: a server may begin a 200 before it has done the work, and die.
            check: raises NotS3Error for an answer that does not confirm what was asked for.

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
            url = self.url(method, bucket, key, query=query)
            response = self.exchange(method, url, content, sent, patient=method == "POST")
            code, message = problem_of(response.data)  # a completed multipart upload may fail with status 200
            if tries > 1 and (response.status == 412 or code == "NoSuchUpload"):
                raise LostAnswerError
            if response.status == 412:
                raise AlreadyExistsError(there(uri))
            if code == "NoSuchUpload":
                raise ObjectNotFoundError(f"{uri}: that upload is not open; it was completed, abandoned or never begun")
            if code == "InvalidPart":
                raise BrokenUploadError(f"{uri}: the server does not hold the parts named: abandon it and begin anew")
            if response.status not in _DONE.get(method, {200}) or code:
                raise self._calls.refusal(uri, response.status, code, message)
            if root:
                parse(response.data, root)
            check(response)
            return response

        return self._calls.run(uri, once)

    def exchange(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        patient: bool = False,
        preload: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        """One try, whatever an S3 server answers. A small call has a deadline, a large body the least rate alone."""
        if self._pid != os.getpid():
            self._connect()
        size = 0 if body is None else body.size if isinstance(body, Slice) else len(body)
        return self._http.urlopen(
            method, url, body=body, headers=headers or {}, patient=patient, preload_content=preload,
            whole=preload and size <= _SMALL_BODY,
        )  # fmt: skip

    def download(self, bucket: str, key: str, start: int = 0) -> urllib3.BaseHTTPResponse:
        """One try of a GET whose body is still to be read and the response closed.

        Raises:
            NotS3Error: the headers are not those of an object's bytes from `start` on.
            ObjectNotFoundError, StorageError: as `send`.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        response = self.exchange("GET", self.url("GET", bucket, key), None, headers, preload=False)
        try:
            self._check_object(response, uri_of(bucket, key), start)
        except BaseException:
            response.close()
            raise
        return response

    def _check_object(self, response: urllib3.BaseHTTPResponse, uri: str, start: int) -> None:
        if response.status not in {200, 206}:
            code, message = problem_of(read_bounded(response, _PROBLEM_LIMIT))
            raise self._calls.refusal(uri, response.status, code, message)
        _check_facts(response)
        place = response.headers.get("Content-Range", "")
        if response.status == 206 and not place.startswith(f"bytes {start}-"):
            raise NotS3Error(f"expected bytes from {start} on, got {place[:40]!r}")

    def facts(self, bucket: str, key: str) -> tuple[str, int, datetime]:
        """ETag, size, and when it was written. Raises as `send`."""
        found = self.send("HEAD", bucket, key, check=_check_facts)
        return etag_of(found), length_of(found), modified_at(found)

    def expect_ours(self, bucket: str, key: str, etag: str) -> None:
        """An answer was lost, and the next try found the write done. If exactly our bytes are there, we did it.

        Raises:
            AlreadyExistsError: others are there.
            ObjectNotFoundError: nothing is there.
        """
        uri = uri_of(bucket, key)
        try:
            found, _, _ = self.facts(bucket, key)
        except ForbiddenError:  # robots may write and not look
            raise AlreadyExistsError(there(uri)) from None
        if found != etag:
            raise AlreadyExistsError(there(uri))


def _check_facts(response: urllib3.BaseHTTPResponse) -> None:
    etag_of(response)
    length_of(response)
    modified_at(response)


def there(uri: str) -> str:
    """The message of a refused conditional write."""
    return f"{uri} is there already; it was not touched"
