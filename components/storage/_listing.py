"""Listings of buckets: each page an S3 listing of that bucket and prefix, or the whole is tried again."""

from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element

import urllib3

from ._answers import NotS3Error, entries_of, parse, text_of
from ._protocol import ObjectInfo, listed
from ._requests import Requests

_ROOT = "ListBucketResult"


def list_objects(requests: Requests, bucket: str, prefix: str) -> list[ObjectInfo]:
    """All objects under `prefix`, by key. Folders, which some servers list, are none."""
    found: list[ObjectInfo] = []
    token: str | None = ""
    while token is not None:
        query = {"list-type": "2", "encoding-type": "url", "prefix": prefix}
        query |= {"continuation-token": token} if token else {}

        def check(response: urllib3.BaseHTTPResponse) -> None:
            page = parse(response.data, _ROOT)
            _objects(page, bucket, prefix)
            _next_token(page)

        answer = requests.send("GET", bucket, None, query=query, check=check)
        page = parse(answer.data, _ROOT)
        found += _objects(page, bucket, prefix)
        token = _next_token(page)
    return sorted(found, key=lambda info: info.key)  # SeaweedFS goes folder by folder, which is not the order of keys


def _objects(page: Element, bucket: str, prefix: str) -> list[ObjectInfo]:
    encoded = text_of(page, "EncodingType") == "url"
    try:
        entries = [
            (unquote_plus(entry["Key"]) if encoded else entry["Key"], entry["Size"], entry["LastModified"])
            for entry in entries_of(page, "Contents")
        ]
    except KeyError as error:
        raise NotS3Error(f"expected objects with Key, Size and LastModified ({error})") from None
    found = [info for entry in entries if (info := listed(bucket, *entry))]
    if strange := next((info.key for info in found if not info.key.startswith(prefix)), None):
        raise NotS3Error(f"expected keys under {prefix!r}, got {strange[:80]!r}")
    return [info for info in found if not info.key.endswith("/")]


def _next_token(page: Element) -> str | None:
    if text_of(page, "IsTruncated") != "true":
        return None
    token = text_of(page, "NextContinuationToken")
    if not token:
        raise NotS3Error("expected where a cut listing goes on, got nothing")
    return token
