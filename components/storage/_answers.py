"""Tell an S3 server's answers from others. A captive portal answers anything with 200, or with 204, 302, 404 or 511.

An answer of whatever status counts only if it carries an S3 header (`x-amz-request-id` of AWS, SeaweedFS, MinIO,
versitygw and Ceph; `x-goog-...` of Google), is not encoded on the way, and is HTML only where HTML was asked for. What
the single calls add: bytes by their MD5, facts by their headers, documents by their root element.
"""

import io
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3

from ._bytes import content_type
from ._wire import Wire, read_bounded

_SMALL = 32 * 2**20
"""Of an answer that is read whole; a listing of 1,000 keys of 1,024 characters stays below."""
_LARGEST = 2**53
_MD5 = re.compile(r"[0-9a-f]{32}")
_SERVERS = ("x-amz-", "x-goog-")


class NotS3Error(urllib3.exceptions.HTTPError):
    """It answers, but not as S3 does, or not about these bytes: nothing is believed, and it is tried again."""


class S3Wire(Wire):
    """A `Wire` that hands out nothing but an S3 server's answers."""

    def urlopen(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:  # type: ignore[override]
        """Raises NotS3Error: somebody else answered."""
        preload = bool(options.pop("preload_content", True))
        options.setdefault("whole", preload)
        options["headers"] = dict(options.get("headers") or {}) | {"Accept-Encoding": "identity"}
        response = super().urlopen(method, url, preload_content=False, **options)
        try:
            _check_speaker(response, method, url)
            data = read_bounded(response, _SMALL) if preload else b""
        except BaseException:
            response.close()
            raise
        if not preload:
            return response
        return urllib3.HTTPResponse(
            body=io.BytesIO(data), headers=response.headers, status=response.status, reason=response.reason,
            request_method=method, request_url=url, decode_content=False,
        )  # fmt: skip


def _check_speaker(response: urllib3.BaseHTTPResponse, method: str, url: str) -> None:
    headers, kind = response.headers, response.headers.get("Content-Type", "").lower()
    about = f"{response.status} {kind or 'without a type'}"
    if not any(name.lower().startswith(_SERVERS) for name in headers):
        raise NotS3Error(
            f"expected an S3 server's answer with x-amz-request-id, got {about}: does a login page or a proxy stand "
            "between?"
        )
    if headers.get("Content-Encoding", "identity").lower() not in {"", "identity", "aws-chunked"}:
        raise NotS3Error(f"expected bytes as they are stored, got them as {headers['Content-Encoding'][:40]!r}")
    is_page = content_type(unquote(urlsplit(url).path)).startswith("text/html") and response.status in {200, 206}
    if "html" in kind and not (is_page and method in {"GET", "HEAD"}):
        raise NotS3Error(f"expected no HTML, got {about}")
    if "Content-Length" in headers:
        length_of(response)


def length_of(response: urllib3.BaseHTTPResponse) -> int:
    """The length that the headers say. Raises NotS3Error: none, or none that can be."""
    text = response.headers.get("Content-Length", "")
    if not re.fullmatch(r"[0-9]{1,16}", text, re.ASCII) or int(text) >= _LARGEST:
        raise NotS3Error(f"expected a Content-Length in bytes, got {text[:40]!r}")
    return int(text)


def etag_of(response: urllib3.BaseHTTPResponse) -> str:
    """The ETag without its quotes. Raises NotS3Error: there is none."""
    etag = response.headers.get("ETag", "").removeprefix("W/").strip('"')
    if not etag:
        raise NotS3Error("expected an ETag, got none")
    return etag


def modified_at(response: urllib3.BaseHTTPResponse) -> datetime:
    """When the object was written. Raises NotS3Error: it does not say."""
    text = response.headers.get("Last-Modified", "")
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        raise NotS3Error(f"expected Last-Modified with a date, got {text[:40]!r}") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def check_md5(response: urllib3.BaseHTTPResponse, md5: str) -> None:
    """Compare bytes with the ETag, where that is their MD5: not of multipart objects, nor of those encrypted by a key.

    Raises:
        NotS3Error: they are other bytes.
    """
    etag = etag_of(response).lower()
    if _MD5.fullmatch(etag) and etag != md5 and not _has_other_etag(response):
        raise NotS3Error(f"expected bytes of MD5 {etag}, as the ETag says, got {md5}")


def check_empty(response: urllib3.BaseHTTPResponse) -> None:
    """A deletion is answered without words. Raises NotS3Error: there are some."""
    if response.data:
        raise NotS3Error(f"expected no body, got {response.data[:40]!r}")


def _has_other_etag(response: urllib3.BaseHTTPResponse) -> bool:
    headers = response.headers
    kms = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    return kms or "x-amz-server-side-encryption-customer-algorithm" in headers


def parse(document: bytes, root: str) -> ET.Element:
    """An S3 document by its root element. Raises NotS3Error: another, a cut one, or none."""
    try:
        found = ET.fromstring(document.strip())  # noqa: S314  # expat refuses billion laughs
    except (ET.ParseError, ValueError, LookupError) as error:
        raise NotS3Error(f"expected {root}, got {document[:40]!r} ({error})") from None
    if name_of(found) != root:
        raise NotS3Error(f"expected {root}, got {name_of(found)[:40]!r}")
    return found


def text_of(element: ET.Element, tag: str) -> str:
    """The text of the first element of that name, "" where there is none."""
    return next((found.text or "" for found in element.iter() if name_of(found) == tag), "")


def entries_of(element: ET.Element, tag: str) -> list[dict[str, str]]:
    """Every element of that name, as the texts of its children by their names."""
    return [{name_of(child): child.text or "" for child in found} for found in element.iter() if name_of(found) == tag]


def name_of(element: ET.Element) -> str:
    """Without the namespace."""
    return str(element.tag).rpartition("}")[2]


def problem_of(document: bytes) -> tuple[str, str]:
    """Code and message of an S3 error, "" where it is none."""
    try:
        error = parse(document, "Error")
    except NotS3Error:
        return "", ""
    return text_of(error, "Code"), text_of(error, "Message")
