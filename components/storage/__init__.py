"""Buckets and objects, over S3 or a folder.

What is not covered: what the objects mean. Keys and layout belong to the rooms that write them.
"""

from ._content import fetch, fetch_file, get_document, put_document, put_once, sha256_of_file
from ._folder import FolderStore
from ._memory import memory_key, recall, remember
from ._protocol import BUCKETS, ObjectInfo, ObjectStore

__all__ = [
    "BUCKETS",
    "FolderStore",
    "ObjectInfo",
    "ObjectStore",
    "fetch",
    "fetch_file",
    "get_document",
    "memory_key",
    "put_document",
    "put_once",
    "recall",
    "remember",
    "sha256_of_file",
]
