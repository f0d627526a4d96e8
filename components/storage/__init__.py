"""Buckets and objects, over S3 or a folder; and local files, written durably and read without hanging.

What is not covered: what the objects mean (keys and layout belong to the rooms that write them), versions, object lock,
a key that is also the folder of another (`a` beside `a/b`), and listings too long for memory (0.5 kB an object).
"""

from ._bytes import content_type
from ._connect import connect, pace_of, page_url, prepare, sign_in_url
from ._content import (
    expect_answers,
    fetch,
    fetch_file,
    get_document,
    put_document,
    put_once,
    refresh,
    refresh_file,
    sha256_of_file,
)
from ._files import (
    copy_durably,
    fsync_folder,
    open_plain,
    read_plain,
    remove_any,
    set_aside,
    sha256_of_plain,
    write_durably,
)
from ._folder import FolderStore
from ._garbage import GRACE, LEAST_GRACE, QUARANTINE_RETENTION, Garbage, find_garbage, sweep
from ._memory import memory_key, recall, remember
from ._overlay import OverlayStore
from ._pages import keep_page, read_page
from ._protocol import BUCKETS, ObjectInfo, ObjectStore
from ._s3 import S3Store
from ._wire import Pace, Wire, read_bounded

__all__ = [
    "BUCKETS",
    "GRACE",
    "LEAST_GRACE",
    "QUARANTINE_RETENTION",
    "FolderStore",
    "Garbage",
    "ObjectInfo",
    "ObjectStore",
    "OverlayStore",
    "Pace",
    "S3Store",
    "Wire",
    "connect",
    "content_type",
    "copy_durably",
    "expect_answers",
    "fetch",
    "fetch_file",
    "find_garbage",
    "fsync_folder",
    "get_document",
    "keep_page",
    "memory_key",
    "open_plain",
    "pace_of",
    "page_url",
    "prepare",
    "put_document",
    "put_once",
    "read_bounded",
    "read_page",
    "read_plain",
    "recall",
    "refresh",
    "refresh_file",
    "remember",
    "remove_any",
    "set_aside",
    "sha256_of_file",
    "sha256_of_plain",
    "sign_in_url",
    "sweep",
    "write_durably",
]
