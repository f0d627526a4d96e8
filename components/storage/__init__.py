"""Buckets and objects, over S3 or a folder.

What is not covered: what the objects mean (keys and layout belong to the rooms that write them), versions, object lock,
a key that is also the folder of another (`a` beside `a/b`), and listings too long for memory (0.5 kB an object).
"""

from ._bytes import content_type
from ._connect import connect, page_url, prepare
from ._content import fetch, fetch_file, get_document, put_document, put_once, sha256_of_file
from ._folder import FolderStore
from ._memory import memory_key, recall, remember
from ._overlay import OverlayStore
from ._pages import keep_page, read_page
from ._protocol import BUCKETS, ObjectInfo, ObjectStore
from ._s3 import S3Store

__all__ = [
    "BUCKETS",
    "FolderStore",
    "ObjectInfo",
    "ObjectStore",
    "OverlayStore",
    "S3Store",
    "connect",
    "content_type",
    "fetch",
    "fetch_file",
    "get_document",
    "keep_page",
    "memory_key",
    "page_url",
    "prepare",
    "put_document",
    "put_once",
    "read_page",
    "recall",
    "remember",
    "sha256_of_file",
]
