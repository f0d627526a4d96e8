"""An S3 server as an object store. Writes go through presigned URLs, because the SDK's own take no `If-None-Match`."""

import io
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

import urllib3
from minio import Minio

from components.contracts import ObjectRef
from components.contracts.errors import AlreadyExistsError, ObjectNotFoundError, StorageError

from ._bytes import Digests, Slice, content_type, digests_of, download
from ._calls import PATIENCE_S, Calls, text_of
from ._protocol import ObjectInfo, uri_of

PART_BYTES = 8 * 2**20
"""Files above it go up in parts of this size (S3's smallest is 5 MiB, and it allows 10,000 parts: 80 GB)."""
_TIMEOUT = urllib3.Timeout(connect=3.0, read=60.0)
_LINK_DAYS = 7


class S3Store:
    """Buckets on an S3 server. Threads may share one; a forked child gets its own connections.

    Args:
        endpoint: host:port.
        identity: whose key it is, for messages.
        patience: seconds during which a call is tried again while the server does not answer.
    """

    def __init__(
        self,
        endpoint: str,
        key: str,
        secret: str,
        *,
        region: str = "us-east-1",
        secure: bool = False,
        identity: str = "platform",
        patience: float = PATIENCE_S,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self.endpoint = endpoint
        self.identity = identity
        self._arguments = (endpoint, key, secret, region, secure)
        self._calls = Calls(endpoint, identity, patience)
        self._part_bytes = part_bytes
        self._pid = -1
        self._connect()

    def _connect(self) -> None:
        """Two processes must not talk over one socket, so a forked child connects anew."""
        endpoint, key, secret, region, secure = self._arguments
        self._http = urllib3.PoolManager(timeout=_TIMEOUT, retries=False, maxsize=32)
        try:
            self._sdk = Minio(
                endpoint, access_key=key, secret_key=secret, region=region, secure=secure, http_client=self._http
            )
        except ValueError as error:
            raise StorageError(
                f"expected the object store's endpoint as host:port, got {endpoint!r} ({error})"
            ) from None
        self._pid = os.getpid()

    @property
    def client(self) -> Minio:
        """The SDK's client, for what only a server has: buckets and their policies."""
        if self._pid != os.getpid():
            self._connect()
        return self._sdk

    # reading

    def get(self, bucket: str, key: str, *, limit: int = 64 * 2**20) -> bytes:
        def read() -> bytes:
            response = self.client.get_object(bucket_name=bucket, object_name=key)
            try:
                self._within(bucket, key, int(response.headers.get("Content-Length", 0)), limit)
                data = cast("bytes", response.read(limit + 1))
                self._within(bucket, key, len(data), limit)
                return data
            finally:
                response.close()
                response.release_conn()

        return self._calls.run(uri_of(bucket, key), read)

    def get_file(self, bucket: str, key: str, path: Path, *, limit: int | None = None) -> ObjectRef:
        part = path.with_name(path.name + ".part")

        def read() -> ObjectRef:
            response = self.client.get_object(bucket_name=bucket, object_name=key)
            try:
                self._within(bucket, key, int(response.headers.get("Content-Length", 0)), limit)
                sha256, size = download(response, part, limit)
            finally:
                response.close()
                response.release_conn()
            self._within(bucket, key, size, limit)
            return ObjectRef(uri=uri_of(bucket, key), sha256=sha256, size=size)

        try:
            ref = self._calls.run(uri_of(bucket, key), read)
            part.replace(path)
        except OSError as error:
            raise StorageError(f"s3://{bucket}/{key} cannot be written to {path}: {error.strerror or error}") from error
        finally:
            part.unlink(missing_ok=True)
        return ref

    def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            found = self._calls.run(
                uri_of(bucket, key), lambda: self.client.stat_object(bucket_name=bucket, object_name=key)
            )
        except ObjectNotFoundError:
            return None
        return ObjectInfo(bucket=bucket, key=key, size=found.size or 0, modified_at=found.last_modified)

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        def read() -> list[ObjectInfo]:
            return sorted(
                (
                    ObjectInfo(bucket=bucket, key=o.object_name, size=o.size or 0, modified_at=o.last_modified)
                    for o in self.client.list_objects(bucket_name=bucket, prefix=prefix, recursive=True)
                    if not o.is_dir and not o.object_name.endswith("/")
                ),
                key=lambda info: info.key,  # SeaweedFS goes folder by folder, which is not the order of keys
            )

        yield from self._calls.run(f"s3://{bucket}/{prefix}*", read)

    def link(self, bucket: str, key: str, *, hours: int = 24) -> str:
        if not 1 <= hours <= _LINK_DAYS * 24:
            raise StorageError(f"expected a link's life in hours between 1 and {_LINK_DAYS * 24}, got {hours}")
        return self._url("GET", bucket, key, expires=timedelta(hours=hours))

    # writing

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> ObjectRef:
        digests = digests_of(data)
        self._put(bucket, key, lambda: data, digests, if_absent=if_absent)
        return ObjectRef(uri=uri_of(bucket, key), sha256=digests.sha256, size=digests.size)

    def put_file(self, bucket: str, key: str, path: Path, *, if_absent: bool = False) -> ObjectRef:
        with path.open("rb") as file:
            digests = digests_of(file)
            if digests.size <= self._part_bytes:
                self._put(bucket, key, lambda: Slice(file, 0, digests.size), digests, if_absent=if_absent)
            else:
                self._put_parts(bucket, key, file, digests.size, if_absent=if_absent)
        return ObjectRef(uri=uri_of(bucket, key), sha256=digests.sha256, size=digests.size)

    def remove(self, bucket: str, key: str) -> None:
        try:
            self._calls.run(uri_of(bucket, key), lambda: self.client.remove_object(bucket_name=bucket, object_name=key))
        except ObjectNotFoundError as error:
            if "bucket" in str(error):
                raise

    def _put(
        self, bucket: str, key: str, body: Callable[[], bytes | Slice], digests: Digests, *, if_absent: bool
    ) -> None:
        headers = {"Content-Type": content_type(key), "Content-MD5": digests.md5}
        try:
            self._request("PUT", bucket, key, body=body, headers=headers, if_absent=if_absent)
        except _LostAnswerError:
            self._expect_ours(bucket, key, digests.etag)

    def _expect_ours(self, bucket: str, key: str, etag: str) -> None:
        """An answer was lost, and the next try found the write done. If exactly our bytes are there, we did it."""
        uri = uri_of(bucket, key)
        try:
            found = self._calls.run(uri, lambda: self.client.stat_object(bucket_name=bucket, object_name=key))
        except StorageError:  # robots may write and not look
            raise AlreadyExistsError(_there(bucket, key)) from None
        if (found.etag or "").strip('"') != etag:
            raise AlreadyExistsError(_there(bucket, key))

    def put_in_parts(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """`put` as a multipart upload whatever the size: how `prepare` asks whether the condition holds there too."""
        self._put_parts(bucket, key, io.BytesIO(data), len(data), if_absent=if_absent)

    def ensure_bucket(self, bucket: str) -> None:
        """Make it if it is not there."""

        def make() -> None:
            if not self.client.bucket_exists(bucket_name=bucket):
                self.client.make_bucket(bucket_name=bucket)

        try:
            self._calls.run(f"s3://{bucket}", make)
        except StorageError as error:
            if "BucketAlready" not in str(error):
                raise

    def _put_parts(self, bucket: str, key: str, file: BinaryIO, size: int, *, if_absent: bool) -> None:
        """Parts become visible together, by the last request; that one carries the condition."""
        started = self._request("POST", bucket, key, query={"uploads": ""}, headers={"Content-Type": content_type(key)})
        upload = text_of(started.data, "UploadId")
        try:
            done, md5s = ET.Element("CompleteMultipartUpload"), b""
            for number, start in enumerate(range(0, size, self._part_bytes), 1):
                piece = Slice(file, start, min(self._part_bytes, size - start))
                digests = digests_of(piece)
                md5s += bytes.fromhex(digests.etag)
                answer = self._request(
                    "PUT",
                    bucket,
                    key,
                    query={"partNumber": str(number), "uploadId": upload},
                    body=lambda piece=piece: piece,  # type: ignore[misc]  # bound now, not when called
                    headers={"Content-MD5": digests.md5},
                )
                part = ET.SubElement(done, "Part")
                ET.SubElement(part, "PartNumber").text = str(number)
                ET.SubElement(part, "ETag").text = answer.headers["ETag"]
            document: bytes = ET.tostring(done)
            try:
                self._request(
                    "POST",
                    bucket,
                    key,
                    query={"uploadId": upload},
                    body=lambda: document,
                    headers={},
                    if_absent=if_absent,
                )
            except _LostAnswerError:
                self._expect_ours(bucket, key, f"{digests_of(md5s).etag}-{len(done)}")
        except BaseException:
            self._abandon(bucket, key, upload)
            raise

    def _abandon(self, bucket: str, key: str, upload: str) -> None:
        """Best effort: the server forgets parts that nobody completes, sooner or later."""
        url = self._url("DELETE", bucket, key, query={"uploadId": upload})
        try:
            self._http.request("DELETE", url, retries=False)
        except urllib3.exceptions.HTTPError:
            return

    # talking

    def _url(
        self,
        method: str,
        bucket: str,
        key: str,
        *,
        query: dict[str, str] | None = None,
        expires: timedelta = timedelta(minutes=15),
    ) -> str:
        uri_of(bucket, key)
        try:
            return cast(
                "str",
                self.client.get_presigned_url(
                    method=method, bucket_name=bucket, object_name=key, expires=expires, extra_query_params=query
                ),
            )
        except ValueError as error:
            raise StorageError(f"s3://{bucket}/{key} is no name for an object: {error}") from None

    def _request(
        self,
        method: str,
        bucket: str,
        key: str,
        *,
        headers: dict[str, str],
        query: dict[str, str] | None = None,
        body: Callable[[], bytes | Slice] | None = None,
        if_absent: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        uri, tries = uri_of(bucket, key), 0

        def once() -> urllib3.BaseHTTPResponse:
            nonlocal tries
            tries += 1
            sent = headers | ({"If-None-Match": "*"} if if_absent else {})
            url = self._url(method, bucket, key, query=query)
            content: Any = body() if body else None
            if isinstance(content, Slice):
                sent["Content-Length"] = str(content.size)
            response = self._http.request(method, url, body=content, headers=sent, retries=False)
            code = text_of(response.data, "Code")  # a completed multipart upload may fail with status 200
            if response.status == 412 or code == "NoSuchUpload":
                raise (_LostAnswerError if tries > 1 else AlreadyExistsError)(_there(bucket, key))
            if response.status != 200 or code:
                raise self._calls.refusal(uri, response.status, code, text_of(response.data, "Message"))
            return response

        return self._calls.run(uri, once)

    def _within(self, bucket: str, key: str, size: int, limit: int | None) -> None:
        if limit is not None and size > limit:
            raise StorageError(f"s3://{bucket}/{key}: expected at most {limit} bytes, found {size}")


class _LostAnswerError(Exception):
    """The write is done on a later try: perhaps by the earlier one, whose answer was lost."""


def _there(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key} is there already; it was not touched"
