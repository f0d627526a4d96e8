"""From settings to a store that is ready to be relied on."""

import uuid
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from components.contracts import Settings
from components.contracts.errors import AlreadyExistsError, ConfigurationError, StorageError

from ._calls import PATIENCE_S
from ._pages import read_page
from ._protocol import BUCKETS, ObjectStore
from ._s3 import S3Store
from ._wire import Pace

Identity = Literal["platform", "gateway", "robot"]


def connect(settings: Settings, *, identity: Identity = "platform", patience: float = PATIENCE_S) -> S3Store:
    """The object store that the settings name. Nothing is sent yet.

    Args:
        identity: `gateway` may open and complete uploads, read receipts, enrol robots and write their reports; `robot`
            may only read releases.
        patience: seconds during which a call is tried again while the server does not answer.

    Raises:
        ConfigurationError: no endpoint, or no key for that identity.
    """
    if not settings.s3_endpoint:
        raise ConfigurationError(
            "expected an object store, found none: run `drover up` for one on this machine, "
            "or set DROVER_S3_ENDPOINT, DROVER_S3_KEY and DROVER_S3_SECRET for an S3 of yours"
        )
    prefix, key, secret = {
        "platform": ("S3", settings.s3_key, settings.s3_secret),
        "gateway": ("GATEWAY_S3", settings.gateway_s3_key, settings.gateway_s3_secret),
        "robot": ("ROBOT_S3", settings.robot_s3_key, settings.robot_s3_secret),
    }[identity]
    if not key or secret is None:
        raise ConfigurationError(
            f"the object store at {settings.s3_endpoint} needs the {identity}'s key and secret: "
            f"set DROVER_{prefix}_KEY and DROVER_{prefix}_SECRET"
        )
    return S3Store(
        settings.s3_endpoint,
        key,
        secret.get_secret_value(),
        region=settings.s3_region,
        secure=settings.s3_secure,
        identity=identity,
        patience=patience,
        pace=pace_of(settings),
    )


def pace_of(settings: Settings) -> Pace:
    """The least that a connection has to do, by the settings."""
    return Pace(
        least_bytes_s=settings.transfer_least_bytes_s, window_s=settings.transfer_window_s, call_s=settings.call_s
    )


def prepare(store: ObjectStore) -> None:
    """Make the buckets, and make sure that of two conditional writes one loses. Cheap; safe to call again.

    Raises:
        StorageError: the server cannot be reached, or ignores `If-None-Match`: two writers would both believe
            that they won, so it is refused.
    """
    if not isinstance(store, S3Store):
        return
    for bucket in BUCKETS:
        store.ensure_bucket(bucket)
    key = f"probe/{uuid.uuid4().hex}"
    try:
        for large in (False, True):
            if not _second_write_loses(store, f"{key}-{large}", large=large):
                kind = "multipart uploads" if large else "writes"
                raise StorageError(
                    f"the object store at {store.endpoint} ignores If-None-Match on {kind}: of two writers both would "
                    "win. Use one that honours it (SeaweedFS, MinIO, versitygw, AWS S3), or run `drover up`"
                )
    finally:
        for large in (False, True):
            store.remove("datasets", f"{key}-{large}")


def _second_write_loses(store: S3Store, key: str, *, large: bool) -> bool:
    write = store.put_in_parts if large else store.put
    write("datasets", key, b"first", if_absent=True)
    try:
        write("datasets", key, b"second", if_absent=True)
    except AlreadyExistsError:
        return store.get("datasets", key) == b"first"
    return False


def page_url(settings: Settings, store: ObjectStore, key: str, *, sign_in: bool = False) -> str:
    """A URL of an object in the `reports` bucket for a person's browser.

    The stack's page server where it runs, because pages whose parts refer to each other need one origin; a link
    good for a week elsewhere. The page server shows no page that was planted or changed; of a link that is asked here.

    Args:
        sign_in: put the page server's password into it, for who owns the stack: to print, not to keep or send.

    Raises:
        ObjectNotFoundError, IntegrityError: without a page server, as `read_page`.
    """
    if not settings.pages_url:
        read_page(store, key)
        return store.link("reports", key, hours=7 * 24)
    return sign_in_url(settings, key) if sign_in else f"{settings.pages_url.rstrip('/')}/{key}"


def sign_in_url(settings: Settings, key: str = "") -> str:
    """A link that signs a browser in at the page server and shows a page, or says that it is signed in.

    Raises:
        ConfigurationError: no page server runs.
    """
    if not settings.pages_url:
        raise ConfigurationError("expected a page server, found none: run `drover up`")
    url = urlsplit(settings.pages_url)
    password = settings.pages_token.get_secret_value() if settings.pages_token else ""
    query = urlencode({"page": key}, safe="/") if key else ""
    return urlunsplit((url.scheme, f"drover:{quote(password, safe='')}@{url.netloc}", "/sign-in", query, ""))
