"""Pages in `reports`: written through one function, and compared with what it noted before anybody sees one.

reports/<key>             the page
models/pages/<key>.json   PageDigest: the SHA-256 that the page has to have

The digests lie in another bucket: whoever gets hold of a key that may write `reports` plants no page and changes none
unnoticed, and neither does a disk. Pages are drawn again under the same name (a trend), so that a key that holds its
content's hash would not do. Documents that do (an evaluation, a rulebook, trials) are compared with that.

What is not covered: the platform's own key, which may write both; figures of batches, which are no pages.
"""

import hashlib
import re

from components.contracts import Frozen, ObjectRef, Sha256
from components.contracts.errors import IntegrityError, InvalidDocumentError, ObjectNotFoundError

from ._protocol import ObjectStore

_PAGES = "reports"
_DIGESTS = "models"
_LIMIT = 64 * 2**20
_NAMED = re.compile(r"/(?:([0-9a-f]{64})\.jsonl?|([0-9a-f]{64})/report\.json)$")
_DIGEST_LIMIT = 64 * 1024


class PageDigest(Frozen):
    """Digest and size of a page's bytes."""

    page: str
    sha256: Sha256
    replaced: Sha256 | None = None
    """The page before, while this one is being written: a writer that is killed leaves either, and both are ours."""


def keep_page(store: ObjectStore, key: str, page: bytes) -> ObjectRef:
    """Write a page, or draw it again.

    Args:
        store: with the platform's identity: nobody else may.
        key: in `reports`.
        page: its bytes.

    Raises:
        StorageError: the store failed.
    """
    sha256 = hashlib.sha256(page).hexdigest()
    try:
        replaced = hashlib.sha256(read_page(store, key)).hexdigest()
    except (ObjectNotFoundError, IntegrityError):
        replaced = None
    digest = PageDigest(page=key, sha256=sha256, replaced=replaced)
    store.put(_DIGESTS, _digest_key(key), digest.canonical_json())
    ref = store.put(_PAGES, key, page)
    if digest.replaced:
        store.put(_DIGESTS, _digest_key(key), digest.model_copy(update={"replaced": None}).canonical_json())
    return ref


def read_page(store: ObjectStore, key: str, *, limit: int = _LIMIT) -> bytes:
    """A page that the platform wrote: what is shown, exported or opened comes from here.

    Raises:
        ObjectNotFoundError: there is no such page.
        IntegrityError: it was planted or changed.
    """
    page = store.get(_PAGES, key, limit=limit)
    named = _NAMED.search(key)
    digest = PageDigest(page=key, sha256=named[1] or named[2]) if named else _digest(store, key)
    if digest is None:
        raise IntegrityError(
            f"s3://{_PAGES}/{key} is not shown: it was planted, or written by a Drover that noted no digests. Draw it "
            "again: `drover rebuild ID --keep` an evaluation, `drover checks trend` and `drover coverage` theirs"
        )
    found = hashlib.sha256(page).hexdigest()
    if (digest.page, found) not in {(key, digest.sha256), (key, digest.replaced)}:
        raise IntegrityError(
            f"s3://{_PAGES}/{key} is not shown: expected the page of SHA-256 {digest.sha256[:12]} that was written "
            f"there, found {found[:12]}; it was changed. Draw it again, and look who may write {_PAGES}"
        )
    return page


def _digest(store: ObjectStore, key: str) -> PageDigest | None:
    """None also for one that cannot be read: its page is refused until it is drawn again."""
    try:
        document = store.get(_DIGESTS, _digest_key(key), limit=_DIGEST_LIMIT)
        return PageDigest.parse(document, source=f"s3://{_DIGESTS}/{_digest_key(key)}")
    except (ObjectNotFoundError, InvalidDocumentError):
        return None


def _digest_key(key: str) -> str:
    return f"pages/{key}.json"
