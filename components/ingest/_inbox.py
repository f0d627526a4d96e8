"""Keys of the inbox and their parts."""

import logging
import re

from components.storage import ObjectInfo, ObjectStore

from ._candidate import Upload
from ._limits import Limits

_LOG = logging.getLogger(__name__)
_KEY = re.compile(
    r"(?P<robot>[a-z0-9][a-z0-9-]{0,62})/(?P<sha256>[0-9a-f]{64})/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,127})\.h5"
)
KEY_SHAPE = "<robot>/<sha256>/<name>.h5"


def waiting_uploads(store: ObjectStore, limits: Limits) -> list[Upload]:
    """The inbox, oldest first; what is too large to be fetched is left out, with an alarm in the log."""
    uploads = []
    for info in sorted(store.list("inbox"), key=lambda info: (info.modified_at, info.key)):
        if info.size <= limits.fetch_bytes:
            uploads.append(_named(info))
        else:
            _LOG.error(
                "ALARM inbox: %a stays where it is: expected at most %d bytes, found %d; look at who sent it", info.key,
                limits.fetch_bytes, info.size,
            )  # fmt: skip
    return uploads


def _named(info: ObjectInfo) -> Upload:
    match = _KEY.fullmatch(info.key)
    if match is None:
        return Upload("inbox", info.key, None, _safe_name(info.key), None, info.size, info.modified_at)
    return Upload("inbox", info.key, match["robot"], match["name"], match["sha256"], info.size, info.modified_at)


def _safe_name(key: str) -> str:
    """A name for the quarantine's key, from a key that is none of ours."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", key.rsplit("/", 1)[-1]).removesuffix(".h5").lstrip("._-")
    return name[:128] or "unnamed"
