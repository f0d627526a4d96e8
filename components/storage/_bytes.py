"""Bytes on their way: digests, slices of files, types by suffix."""

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import urllib3

from ._files import open_plain, remove_any

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


class Download:
    """A body on its way into a file, over as many connections as it takes."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        """With `resume`, what is there counts."""
        self._path = path
        self._etag: str | None = None
        self.sha256, self.size = hashlib.sha256(), 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.is_own = True
        """No byte is an earlier process's."""
        if not resume or not self._goes_on():
            self.restart()

    def _goes_on(self) -> bool:
        """Count what is there; False: there is nothing, or no plain file."""
        try:
            with open_plain(self._path) as file:
                for chunk in _chunks(file):
                    self.sha256.update(chunk)
                    self.size += len(chunk)
        except OSError:
            return False
        self.is_own = self.size == 0
        return True

    def restart(self) -> None:
        """Begin at the beginning."""
        remove_any(self._path)  # what is there may be a link; a new file is nobody else's
        open_plain(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL).close()
        self.sha256, self.size = hashlib.sha256(), 0
        self.md5, self.is_own = hashlib.md5(usedforsecurity=False), True

    def take(self, response: urllib3.BaseHTTPResponse, limit: int | None) -> None:
        """Append a body that was asked for from `size` on; stops once past `limit`. What came before a cut is kept."""
        etag = response.headers.get("ETag")
        if self.size and (response.status != 206 or (self._etag is not None and etag != self._etag)):
            self.restart()
            if response.status == 206:
                raise urllib3.exceptions.ProtocolError("the object changed while it was read")
        self._etag = etag
        with open_plain(self._path, os.O_WRONLY | os.O_APPEND) as file:
            while chunk := response.read1(_CHUNK, decode_content=False):
                self.sha256.update(chunk)
                self.md5.update(chunk)
                self.size += len(chunk)
                if limit is not None and self.size > limit:
                    return
                file.write(chunk)
