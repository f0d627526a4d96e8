"""Quota of one robot in the inbox: what waits there and what it has begun, against `UploadLimits`."""

import threading
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple

from pydantic import Field

from components.contracts import Frozen
from components.storage import S3Store

from ._limits import Limits
from ._problems import Refused

_INBOX = "inbox"
ABANDONED_AFTER = timedelta(days=2)
"""An open upload to which no part came for that long is dropped by the platform (`drop_abandoned_uploads`)."""

_SHOWN = timedelta(minutes=1)
"""By then the store lists an upload that was begun here."""


class UploadLimits(Frozen):
    """Limits of one robot."""

    file_bytes: Annotated[int, Field(ge=1)] = Limits().file_bytes
    """Ingest would not open a larger one."""
    links: Annotated[int, Field(ge=1)] = 32
    """In one answer."""
    open_uploads: Annotated[int, Field(ge=1)] = 64
    """Of one robot, begun and not completed."""
    waiting_bytes: Annotated[int, Field(ge=1)] = 20 * 10**9
    """Of one robot, in the inbox and in open uploads as declared. Beyond it no other upload is begun."""
    waiting_episodes: Annotated[int, Field(ge=1)] = 500
    """Of one robot, in the inbox."""
    link_life: timedelta = timedelta(minutes=15)


class UploadQuota:
    """Asked before an upload is begun; going on with one is always allowed.

    What waits and what is open, the store knows; how large an open one was declared to be is in memory: of one that
    another gateway began, or this one before a restart, as much is counted as the largest episode has.
    """

    def __init__(self, store: S3Store, limits: UploadLimits) -> None:
        self._store, self._limits = store, limits
        self._begun: dict[str, dict[str, _Begun]] = defaultdict(dict)
        self._lock = threading.Lock()

    def take(self, robot: str, key: str, size: int, now: datetime) -> None:
        """Count an upload that is begun now.

        Raises:
            Refused: `busy`: too much waits or is open. The words stay the same as long as the limits do.
            StorageError: the store failed.
        """
        waiting = [info.size for info in self._store.list(_INBOX, f"{robot}/")]
        listed = {upload.key for upload in self._store.all_open_uploads(_INBOX) if upload.key.startswith(f"{robot}/")}
        with self._lock:
            begun = self._begun[robot]
            for other in [other for other, upload in begun.items() if other not in listed and upload.at + _SHOWN < now]:
                del begun[other]  # completed at another gateway, or dropped
            others = (listed | set(begun)) - {key}
            declared = sum(begun[other].size if other in begun else self._limits.file_bytes for other in others)
            self._expect_room(len(others), len(waiting), sum(waiting) + declared + size)
            begun[key] = _Begun(size, now)

    def forget(self, robot: str, key: str) -> None:
        """It was completed: from now on it is counted in the inbox."""
        with self._lock:
            self._begun[robot].pop(key, None)

    def _expect_room(self, others: int, waiting: int, size: int) -> None:
        limits = self._limits
        if others >= limits.open_uploads:
            raise Refused("busy", f"{limits.open_uploads} uploads were begun and not completed: complete those first")
        if waiting >= limits.waiting_episodes:
            raise Refused(
                "busy", f"{limits.waiting_episodes} episodes of this robot wait to be ingested: try again later"
            )
        if size > limits.waiting_bytes:
            raise Refused("busy", f"{limits.waiting_bytes} bytes of this robot wait to be ingested: try again later")


class _Begun(NamedTuple):
    size: int
    at: datetime


def drop_abandoned_uploads(store: S3Store, *, age: timedelta = ABANDONED_AFTER) -> int:
    """Drop uploads into the inbox to which no part came for `age`, and so the parts that they hold.

    A robot that comes back later begins anew. MinIO drops them itself, a day after they were begun.

    Returns:
        How many were dropped.
    """
    return len(store.abandon_older_than(_INBOX, age))
