"""Bytes on their way: digests, slices of files, types by suffix."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import urllib3

_CHUNK = 2**18
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".h5": "application/x-hdf5",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}


def content_type(key: str) -> str:
    """By suffix, so that a browser shows a report instead of saving it; the same on every machine."""
    return _TYPES.get(PurePosixPath(key).suffix.lower(), "application/octet-stream")


@dataclass(frozen=True)
class Digests:
    """Of one body: `sha256` for us; `md5` (base64) so that the server refuses bytes changed on the way; `etag`."""

    sha256: str
    md5: str
    etag: str
    size: int


class Slice:
    """A stretch of a file as a request's body, from its start each time it is iterated. For one reader at a time."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self.size = file, start, size

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(self._start)
        left = self.size
        while left:
            chunk = self._file.read(min(_CHUNK, left))
            if not chunk:
                raise OSError("the file became shorter while it was read")
            left -= len(chunk)
            yield chunk


def digests_of(content: bytes | BinaryIO | Slice) -> Digests:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    chunks = [content] if isinstance(content, bytes) else content if isinstance(content, Slice) else _chunks(content)
    for chunk in chunks:
        sha256.update(chunk)
        md5.update(chunk)
        size += len(chunk)
    return Digests(sha256.hexdigest(), base64.b64encode(md5.digest()).decode(), md5.hexdigest(), size)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def download(response: urllib3.BaseHTTPResponse, path: Path, limit: int | None) -> tuple[str, int]:
    """Body into a file; stops once past `limit`. Returns SHA-256 and size."""
    sha256, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for chunk in response.stream(_CHUNK):
            sha256.update(chunk)
            size += len(chunk)
            if limit is not None and size > limit:
                break
            file.write(chunk)
    return sha256.hexdigest(), size
