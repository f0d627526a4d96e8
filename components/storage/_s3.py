"""An S3 server as an object store. Writes go through presigned URLs, because the SDK's own take no `If-None-Match`."""

import builtins
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import urllib3
from minio import Minio

from components.contracts import ObjectRef, UploadedPart
from components.contracts.errors import ObjectNotFoundError, StorageError

from ._answers import NotS3Error, check_empty, check_md5, etag_of, length_of
from ._bytes import Digests, Download, Slice, content_type, digests_of
from ._calls import PATIENCE_S, Calls
from ._listing import list_objects
from ._parts import OpenUpload, Parts
from ._protocol import ObjectInfo, uri_of
from ._requests import LostAnswerError, Requests
from ._wire import Pace, read_bounded

PART_BYTES = 8 * 2**20
"""Files above it go up in parts of this size (S3's smallest is 5 MiB, and it allows 10,000 parts: 80 GB)."""
_WHOLE_BYTES = 5 * 2**30
"""Conditional writes go up whole as far as S3 lets them: of multipart uploads of one key that are completed in the same
instant SeaweedFS 4.48 lets several win; of whole writes, one."""


class S3Store:
    """Buckets on an S3 server. Threads may share one; a forked child gets its own connections.

    Args:
        endpoint: host:port.
        identity: whose key it is, for messages.
        patience: seconds during which a call is tried again while the server does not answer.
        pace: the least that a connection has to do.
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
        pace: Pace | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.identity = identity
        self._calls = Calls(endpoint, identity, patience)
        self._part_bytes = part_bytes
        self._requests = Requests(endpoint, key, secret, region, self._calls, secure=secure, pace=pace or Pace())
        self._parts = Parts(self._requests)

    @property
    def client(self) -> Minio:
        """The SDK's client, for what only a server has: buckets and their policies."""
        return self._requests.sdk

    # reading

    def get(self, bucket: str, key: str, *, limit: int = 64 * 2**20) -> bytes:
        def read() -> bytes:
            response = self._requests.download(bucket, key)
            try:
                self._within(bucket, key, length_of(response), limit)
                data = read_bounded(response, limit)
            finally:
                response.close()
            check_md5(response, hashlib.md5(data, usedforsecurity=False).hexdigest())
            return data

        return self._calls.run(uri_of(bucket, key), read)

    def get_file(
        self, bucket: str, key: str, path: Path, *, limit: int | None = None, resume: bool = False
    ) -> ObjectRef:
        part, kept = path.with_name(path.name + ".part"), False
        try:
            arriving = Download(part, resume=resume)
            found = self.stat(bucket, key) if arriving.size else None
            if found and found.size < arriving.size:
                arriving.restart()
            kept = resume
            if not found or found.size != arriving.size:
                self._calls.run(uri_of(bucket, key), lambda: self._fetch(bucket, key, arriving, limit))
            kept = False
            part.replace(path)
        except OSError as error:
            raise StorageError(f"s3://{bucket}/{key} cannot be written to {path}: {error.strerror or error}") from error
        finally:
            if not kept:
                part.unlink(missing_ok=True)
        return ObjectRef(uri=uri_of(bucket, key), sha256=arriving.sha256.hexdigest(), size=arriving.size)

    def _fetch(self, bucket: str, key: str, arriving: Download, limit: int | None) -> None:
        """The rest of an object; as long as connections that are cut bring something, it goes on without a pause."""
        while True:
            before = arriving.size
            response = self._requests.download(bucket, key, before)
            try:
                self._within(bucket, key, before + length_of(response), limit)
                arriving.take(response, limit)
                self._within(bucket, key, arriving.size, limit)
                if arriving.is_own:
                    check_md5(response, arriving.md5.hexdigest())
            except NotS3Error:
                arriving.restart()
                raise
            except urllib3.exceptions.TimeoutError:  # too slow: at once again would be as slow
                raise
            except urllib3.exceptions.HTTPError:
                if arriving.size <= before:
                    raise
            else:
                return
            finally:
                response.close()

    def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            _, size, modified = self._requests.facts(bucket, key)
        except ObjectNotFoundError:
            return None
        return ObjectInfo(bucket=bucket, key=key, size=size, modified_at=modified)

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        yield from list_objects(self._requests, bucket, prefix)

    def link(self, bucket: str, key: str, *, hours: int = 24) -> str:
        return self._requests.url("GET", bucket, key, expires=timedelta(hours=hours))

    # writing

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> ObjectRef:
        digests = digests_of(data)
        self._put(bucket, key, lambda: data, digests, if_absent=if_absent)
        return ObjectRef(uri=uri_of(bucket, key), sha256=digests.sha256, size=digests.size)

    def put_file(self, bucket: str, key: str, path: Path, *, if_absent: bool = False) -> ObjectRef:
        with path.open("rb") as file:
            digests = digests_of(file)
            if digests.size <= (_WHOLE_BYTES if if_absent else self._part_bytes):
                self._put(bucket, key, lambda: Slice(file, 0, digests.size), digests, if_absent=if_absent)
            else:
                self._parts.put(bucket, key, file, digests.size, part_bytes=self._part_bytes, if_absent=if_absent)
        return ObjectRef(uri=uri_of(bucket, key), sha256=digests.sha256, size=digests.size)

    def remove(self, bucket: str, key: str) -> None:
        try:
            self._requests.send("DELETE", bucket, key, check=check_empty)
        except ObjectNotFoundError as error:
            if "bucket" in str(error):
                raise

    def _put(
        self, bucket: str, key: str, body: Callable[[], bytes | Slice], digests: Digests, *, if_absent: bool
    ) -> None:
        headers = {"Content-Type": content_type(key), "Content-MD5": digests.md5}

        def check(response: urllib3.BaseHTTPResponse) -> None:
            if etag_of(response) != digests.etag:
                self._read_back(bucket, key, digests)

        try:
            self._requests.send("PUT", bucket, key, body=body, headers=headers, if_absent=if_absent, check=check)
        except LostAnswerError:
            self._requests.expect_ours(bucket, key, digests.etag)

    def _read_back(self, bucket: str, key: str, digests: Digests) -> None:
        """The server names what it stored by something else than its MD5, so every byte is read and hashed.

        Raises:
            NotS3Error: other bytes are there, or none.
        """
        sha256 = hashlib.sha256()
        try:
            response = self._requests.download(bucket, key)
        except ObjectNotFoundError as error:
            raise NotS3Error(f"expected what was just stored: {error}") from None
        try:
            while chunk := response.read1(2**18, decode_content=False):
                sha256.update(chunk)
        finally:
            response.close()
        if sha256.hexdigest() != digests.sha256:
            raise NotS3Error(f"expected the {digests.size} bytes that were sent to be stored, found others")

    def put_in_parts(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """`put` as a multipart upload whatever the size: how `prepare` asks whether the condition holds there too."""
        self._parts.put(bucket, key, io.BytesIO(data), len(data), part_bytes=self._part_bytes, if_absent=if_absent)

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

    # in parts: of several senders, over hours, through restarts

    def begin_parts(self, bucket: str, key: str) -> str:
        """Open a multipart upload and return its id. Nothing is visible before `complete_parts`."""
        return self._parts.begin(bucket, key)

    def open_uploads(self, bucket: str, key: str) -> builtins.list[str]:
        """The ids of the uploads of exactly this key that are neither completed nor abandoned, the newest last."""
        uri_of(bucket, key)
        return self._parts.uploads(bucket, key)

    def list_parts(self, bucket: str, key: str, upload_id: str) -> builtins.list[UploadedPart]:
        """What the server holds of an upload, by number. Empty parts are left out.

        Of a part sent twice with different bytes it is the later one; SeaweedFS keeps both and dates them by the
        second, so of two within one second it is either.

        Raises:
            ObjectNotFoundError: it is not open: completed, abandoned, or never begun.
            StorageError: also for an id that is none at all.
        """
        return self._parts.list(bucket, key, upload_id)

    def all_open_uploads(self, bucket: str) -> builtins.list[OpenUpload]:
        """Every upload of the bucket that is neither completed nor abandoned, the newest last."""
        return self._parts.all_uploads(bucket)

    def part_link(
        self, bucket: str, key: str, upload_id: str, number: int, *, expires: timedelta, size: int | None = None
    ) -> str:
        """A URL that takes a PUT of this part from anyone until it expires. Nothing is sent.

        With `size` it takes a body of as many bytes, as often as it is sent: the length is part of the signature.
        It does not limit content: the sender's Content-MD5 guards the way.

        Raises:
            StorageError: a life outside 1 s to 7 days.
        """
        return self._parts.link(bucket, key, upload_id, number, expires=expires, size=size)

    def abandon_older_than(self, bucket: str, age: timedelta) -> builtins.list[OpenUpload]:
        """Drop the uploads to which no part came for that long. One that vanishes or fails meanwhile is left alone.

        Returns:
            Those that were dropped.
        """
        before = datetime.now(UTC) - age
        return [upload for upload in self.idle_uploads(bucket, before) if self.abandon_if_idle(bucket, upload, before)]

    def idle_uploads(self, bucket: str, before: datetime) -> builtins.list[OpenUpload]:
        """The uploads to which no part came since `before`. One that vanishes or fails meanwhile is left out."""
        begun = [upload for upload in self._parts.all_uploads(bucket) if upload.begun_at <= before]
        return [upload for upload in begun if self._is_idle(bucket, upload, before)]

    def abandon_if_idle(self, bucket: str, upload: OpenUpload, before: datetime) -> bool:
        """Drop an upload unless a part came since `before`; False: one came, or it vanished or failed."""
        with suppress(StorageError):
            if self._is_idle(bucket, upload, before):
                self._parts.abandon(bucket, upload.key, upload.upload_id)
                return True
        return False

    def _is_idle(self, bucket: str, upload: OpenUpload, before: datetime) -> bool:
        with suppress(StorageError):
            return self._parts.newest_part(bucket, upload) <= before
        return False

    def complete_parts(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[UploadedPart], *, if_absent: bool
    ) -> None:
        """Make the object of these parts visible, at once; parts that are not named are dropped.

        Of several uploads of one key that are completed in the same instant, SeaweedFS may let several win (the last
        one's bytes stay): complete those of a key one at a time, or give each content a key of its own.

        Raises:
            AlreadyExistsError: `if_absent`, and the object is there (perhaps by an earlier call for this very upload);
                it is untouched.
            ObjectNotFoundError: the upload is not open. A server may also answer an upload that it has completed with
                success.
            BrokenUploadError: a part that the server does not hold, or no longer: abandon it and begin anew.
            StorageError: no parts, or one but the last below 5 MiB.
        """
        self._parts.complete(bucket, key, upload_id, parts, if_absent=if_absent)

    def abandon_parts(self, bucket: str, key: str, upload_id: str) -> None:
        """Forget an upload and its parts. One that is not open is no error on most servers.

        Raises:
            ObjectNotFoundError: the server minds.
        """
        self._parts.abandon(bucket, key, upload_id)

    def _within(self, bucket: str, key: str, size: int, limit: int | None) -> None:
        if limit is not None and size > limit:
            raise StorageError(f"s3://{bucket}/{key}: expected at most {limit} bytes, found {size}")
