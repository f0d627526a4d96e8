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

from ._answers import NotS3Error, check_empty, check_md5, entries_of, etag_of, parse, text_of
from ._bytes import Slice, content_type, digests_of
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
        root = "InitiateMultipartUploadResult"
        answer = self._requests.send("POST", bucket, key, query={"uploads": ""}, headers=headers, root=root)
        upload_id = text_of(parse(answer.data, root), "UploadId")
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
            root = "ListMultipartUploadsResult"
            answer = parse(self._requests.send("GET", bucket, None, query=query, root=root).data, root)
            found += [
                OpenUpload(upload["Key"], upload["UploadId"], _moment(upload.get("Initiated", "")))
                for upload in entries_of(answer, "Upload")
                if upload.get("Key") and upload.get("UploadId")
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
            found = self._requests.send("GET", bucket, key, query=query, root="ListPartsResult", check=_check_parts)
            answer = parse(found.data, "ListPartsResult")
            for part, at in _parts_of(answer):
                if part.number not in newest or newest[part.number][0] <= at:
                    newest[part.number] = (at, part)
            marker = text_of(answer, "NextPartNumberMarker") if text_of(answer, "IsTruncated") == "true" else None
        return [newest[number][1] for number in sorted(newest)]

    def newest_part(self, bucket: str, upload: OpenUpload) -> datetime:
        """When the upload's last part came; when it was begun, where none did."""
        newest, marker = upload.begun_at, "0"
        while marker:
            query = {"uploadId": upload.upload_id, "part-number-marker": marker}
            root = "ListPartsResult"
            answer = parse(self._requests.send("GET", bucket, upload.key, query=query, root=root).data, root)
            for entry in entries_of(answer, "Part"):
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
            root = "CompleteMultipartUploadResult"
            answer = self._requests.send(
                "POST", bucket, key, query=query, body=lambda: document, if_absent=if_absent, root=root
            )
            if text_of(parse(answer.data, root), "ETag").strip('"') != _etag_of(parts):
                self._expect_size(bucket, key, sum(part.size for part in parts))
        except LostAnswerError:
            self._requests.expect_ours(bucket, key, _etag_of(parts))
        except BrokenUploadError as broken:  # or made one object by an earlier try, whose answer was lost
            try:
                self._requests.expect_ours(bucket, key, _etag_of(parts))
            except (AlreadyExistsError, ObjectNotFoundError):
                raise broken from None

    def _expect_size(self, bucket: str, key: str, size: int) -> None:
        """An ETag that is none of the usual kind confirms nothing: what is there has to be as long as its parts."""
        _, found, _ = self._requests.facts(bucket, key)
        if found != size:
            raise StorageError(f"s3://{bucket}/{key}: expected {size} bytes of the parts, found {found}; send it again")

    def abandon(self, bucket: str, key: str, upload_id: str) -> None:
        self._requests.send("DELETE", bucket, key, query={"uploadId": upload_id}, check=check_empty)

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
                    check=lambda answer, md5=digests.etag: check_md5(answer, md5),  # type: ignore[misc]  # bound now
                )
                parts.append(UploadedPart(number=number, etag=etag_of(answer), size=piece.size))
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


def _parts_of(answer: ET.Element) -> list[tuple[UploadedPart, str]]:
    """With when each came. Whoever holds a link may send nothing; that is no part."""
    try:
        return [
            (
                UploadedPart(number=int(entry["PartNumber"]), etag=entry["ETag"].strip('"'), size=int(entry["Size"])),
                entry.get("LastModified", ""),
            )
            for entry in entries_of(answer, "Part")
            if int(entry["Size"]) > 0
        ]
    except (KeyError, ValueError) as error:
        raise NotS3Error(f"expected parts with PartNumber, ETag and Size ({error})") from None


def _check_parts(response: urllib3.BaseHTTPResponse) -> None:
    _parts_of(parse(response.data, "ListPartsResult"))


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
