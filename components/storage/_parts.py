"""Multipart uploads: parts arrive in any order, from anywhere, and become visible together."""

import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, NamedTuple

import tenacity
import urllib3

from components.contracts import UploadedPart
from components.contracts.errors import AlreadyExistsError, BrokenUploadError, ObjectNotFoundError, StorageError

from ._bytes import Slice, content_type, digests_of
from ._calls import elements_of, text_of
from ._requests import LostAnswerError, Requests


class OpenUpload(NamedTuple):
    """A multipart upload that is neither completed nor abandoned."""

    key: str
    upload_id: str
    begun_at: datetime


class Parts:
    """The multipart uploads of one server. What the methods promise is said where `S3Store` offers them."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def begin(self, bucket: str, key: str) -> str:
        headers = {"Content-Type": content_type(key)}
        answer = self._requests.send("POST", bucket, key, query={"uploads": ""}, headers=headers)
        upload_id = text_of(answer.data, "UploadId")
        if not upload_id:
            raise StorageError(f"s3://{bucket}/{key}: expected an upload's id, got none: is that server an S3?")
        return upload_id

    def uploads(self, bucket: str, key: str) -> list[str]:
        """Of one key, the newest last."""
        found = [upload for upload in self._listed(bucket, key) if upload.key == key]
        return [upload.upload_id for upload in found]

    def all_uploads(self, bucket: str) -> list[OpenUpload]:
        """Of a bucket, the newest last. Without a prefix: MinIO knows no other than a whole key."""
        return self._listed(bucket, "")

    def _listed(self, bucket: str, prefix: str) -> list[OpenUpload]:
        found: list[OpenUpload] = []
        query: dict[str, str] | None = {"uploads": "", "prefix": prefix}
        while query is not None:
            answer = self._requests.send("GET", bucket, None, query=query).data
            found += [
                OpenUpload(upload["Key"], upload["UploadId"], _moment(upload.get("Initiated", "")))
                for upload in elements_of(answer, "Upload")
            ]
            marker = text_of(answer, "NextKeyMarker"), text_of(answer, "NextUploadIdMarker")
            more = text_of(answer, "IsTruncated") == "true" and any(marker)
            if more and (not prefix or marker[0] <= prefix):
                query = {"uploads": "", "prefix": prefix, "key-marker": marker[0], "upload-id-marker": marker[1]}
            else:
                query = None
        return sorted(found, key=lambda upload: (upload.begun_at, upload.upload_id))

    def list(self, bucket: str, key: str, upload_id: str) -> list[UploadedPart]:
        newest: dict[int, tuple[str, UploadedPart]] = {}  # SeaweedFS keeps and lists every sending of a part
        marker: str | None = "0"
        while marker is not None:
            query = {"uploadId": upload_id, "part-number-marker": marker}
            answer = self._requests.send("GET", bucket, key, query=query).data
            for entry in elements_of(answer, "Part"):
                number, size, at = int(entry["PartNumber"]), int(entry["Size"]), entry.get("LastModified", "")
                if size == 0 or (number in newest and newest[number][0] > at):
                    continue  # whoever holds a link may send nothing; that is no part
                newest[number] = (at, UploadedPart(number=number, etag=entry["ETag"].strip('"'), size=size))
            marker = text_of(answer, "NextPartNumberMarker") if text_of(answer, "IsTruncated") == "true" else None
        return [newest[number][1] for number in sorted(newest)]

    def newest_part(self, bucket: str, upload: OpenUpload) -> datetime:
        """When the upload's last part came; when it was begun, where none did."""
        newest, marker = upload.begun_at, "0"
        while marker:
            query = {"uploadId": upload.upload_id, "part-number-marker": marker}
            answer = self._requests.send("GET", bucket, upload.key, query=query).data
            for entry in elements_of(answer, "Part"):
                newest = max(newest, _moment(entry.get("LastModified", "")))
            marker = text_of(answer, "NextPartNumberMarker") if text_of(answer, "IsTruncated") == "true" else ""
        return newest

    def link(
        self, bucket: str, key: str, upload_id: str, number: int, *, expires: timedelta, size: int | None = None
    ) -> str:
        query = {"partNumber": str(number), "uploadId": upload_id}
        return self._requests.url("PUT", bucket, key, query=query, expires=expires, length=size)

    def complete(
        self, bucket: str, key: str, upload_id: str, parts: Sequence[UploadedPart], *, if_absent: bool
    ) -> None:
        done = ET.Element("CompleteMultipartUpload")
        for part in parts:
            element = ET.SubElement(done, "Part")
            ET.SubElement(element, "PartNumber").text = str(part.number)
            ET.SubElement(element, "ETag").text = f'"{part.etag}"'
        document: bytes = ET.tostring(done)
        query = {"uploadId": upload_id}
        try:
            self._requests.send(
                "POST", bucket, key, query=query, body=lambda: document, if_absent=if_absent, says="ETag"
            )
        except LostAnswerError:
            self._requests.expect_ours(bucket, key, _etag_of(parts))
        except BrokenUploadError as broken:  # or made one object by an earlier try, whose answer was lost
            try:
                self._requests.expect_ours(bucket, key, _etag_of(parts))
            except (AlreadyExistsError, ObjectNotFoundError):
                raise broken from None

    def abandon(self, bucket: str, key: str, upload_id: str) -> None:
        self._requests.send("DELETE", bucket, key, query={"uploadId": upload_id})

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(BrokenUploadError), stop=tenacity.stop_after_attempt(3), reraise=True
    )
    def put(self, bucket: str, key: str, file: BinaryIO, size: int, *, part_bytes: int, if_absent: bool) -> None:
        """A whole file; the last request makes it visible and carries the condition."""
        upload_id = self.begin(bucket, key)
        parts = []
        try:
            for number, start in enumerate(range(0, size, part_bytes), 1):
                piece = Slice(file, start, min(part_bytes, size - start))
                digests = digests_of(piece)
                answer = self._requests.send(
                    "PUT",
                    bucket,
                    key,
                    query={"partNumber": str(number), "uploadId": upload_id},
                    body=lambda piece=piece: piece,  # type: ignore[misc]  # bound now, not when called
                    headers={"Content-MD5": digests.md5},
                )
                parts.append(UploadedPart(number=number, etag=answer.headers["ETag"].strip('"'), size=piece.size))
            self.complete(bucket, key, upload_id, parts, if_absent=if_absent)
        except BaseException:
            self._forget(bucket, key, upload_id)
            raise

    def _forget(self, bucket: str, key: str, upload_id: str) -> None:
        """Best effort, one try: the server may be what is broken. `open_uploads` still shows what was left."""
        try:
            self._requests.exchange("DELETE", self._requests.url("DELETE", bucket, key, query={"uploadId": upload_id}))
        except urllib3.exceptions.HTTPError:
            return


def _etag_of(parts: Sequence[UploadedPart]) -> str:
    """Of the object that these parts make: how S3 servers compute it (without encryption)."""
    try:
        digests = b"".join(bytes.fromhex(part.etag) for part in parts)
    except ValueError:
        return ""
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"


def _moment(text: str) -> datetime:
    """Of a server's words; one that says none is taken to have begun at once."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
