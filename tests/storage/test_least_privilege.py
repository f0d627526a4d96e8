"""Who may do what, found out by trying everything: each identity, each bucket, each operation, on real servers."""

import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
import urllib3

from components.contracts import Settings, UploadedPart
from components.contracts.errors import ObjectNotFoundError, StorageError
from components.storage import BUCKETS, S3Store
from infra._identities import identities

pytestmark = [pytest.mark.s3, pytest.mark.parametrize("s3", ["seaweedfs", "minio"], indirect=True)]

OPERATIONS = ("get", "stat", "list", "put", "overwrite", "remove", "begin", "uploads", "parts", "send", "complete")
READ = {"get", "stat", "list"}
WRITE = {"put", "overwrite", "begin", "send", "complete"}
ALLOWED: dict[str, dict[str, set[str]]] = {
    "gateway": {"inbox": WRITE | {"list", "uploads", "parts", "abandon"}, "receipts": {"get", "stat"}},
    "robot": {"releases": READ},
    "pages": {"reports": {"get", "stat"}},
}
"""Of each whole bucket. What is granted below single prefixes is asked for by tests of their own."""
COARSE = {"get": {"uploads", "parts"}, "put": {"abandon"}}
"""On SeaweedFS whoever may read a bucket sees its open uploads too (ids and sizes, no content), and whoever may write
may abandon them."""


class Attempts:
    """Every operation, tried by one identity on one bucket; the platform lays out beforehand what it needs."""

    def __init__(self, platform: S3Store, store: S3Store, bucket: str, prefix: str = "") -> None:
        self.platform, self.store, self.bucket = platform, store, bucket
        self.folder = f"{prefix}t-{uuid.uuid4().hex}"

    def allowed(self) -> set[str]:
        return {name for name in (*OPERATIONS, "abandon") if self._is_allowed(getattr(self, f"_{name}"))}

    def _is_allowed(self, attempt: Callable[[], object]) -> bool:
        try:
            attempt()
        except ObjectNotFoundError:
            raise
        except StorageError as error:
            assert "not allowed" in str(error), error  # noqa: PT017
            return False
        return True

    def _there(self) -> str:
        key = f"{self.folder}/{uuid.uuid4().hex}"
        self.platform.put(self.bucket, key, b"secret")
        return key

    def _open(self) -> tuple[str, str]:
        key = f"{self.folder}/{uuid.uuid4().hex}"
        return key, self.platform.begin_parts(self.bucket, key)

    def _get(self) -> None:
        self.store.get(self.bucket, self._there())

    def _stat(self) -> None:
        assert self.store.stat(self.bucket, self._there()) is not None

    def _list(self) -> None:
        key = self._there()
        assert [info.key for info in self.store.list(self.bucket, key)] == [key]

    def _put(self) -> None:
        self.store.put(self.bucket, f"{self.folder}/{uuid.uuid4().hex}", b"1", if_absent=True)

    def _overwrite(self) -> None:
        self.store.put(self.bucket, self._there(), b"1")

    def _remove(self) -> None:
        key = self._there()
        try:
            self.store.remove(self.bucket, key)
        finally:
            gone = self.platform.stat(self.bucket, key) is None
        assert gone

    def _begin(self) -> None:
        self.store.begin_parts(self.bucket, f"{self.folder}/{uuid.uuid4().hex}")

    def _uploads(self) -> None:
        key, upload = self._open()
        assert self.store.open_uploads(self.bucket, key) == [upload]

    def _parts(self) -> None:
        key, upload = self._open()
        self._send_part(self.platform, key, upload)
        assert len(self.store.list_parts(self.bucket, key, upload)) == 1

    def _send(self) -> None:
        self._send_part(self.store, *self._open())

    def _complete(self) -> None:
        key, upload = self._open()
        part = self._send_part(self.platform, key, upload)
        self.store.complete_parts(self.bucket, key, upload, [part], if_absent=True)

    def _abandon(self) -> None:
        self.store.abandon_parts(self.bucket, *self._open())

    def _send_part(self, store: S3Store, key: str, upload: str) -> UploadedPart:
        link = store.part_link(self.bucket, key, upload, 1, expires=timedelta(minutes=1))
        answer = urllib3.request("PUT", link, body=b"part", retries=False)
        if answer.status == 403:
            raise StorageError("not allowed")
        assert answer.status == 200, answer.data
        return UploadedPart(number=1, etag=answer.headers["ETag"].strip('"'), size=4)


SETTINGS = {
    "lifecycle": b"<LifecycleConfiguration><Rule><ID>x</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>"
    b"<Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>",
    "cors": b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>"
    b"</CORSRule></CORSConfiguration>",
    "versioning": b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    "policy": b'{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*",'
    b'"Resource":"arn:aws:s3:::inbox/*"}]}',
    "acl": b"",
    "tagging": b"<Tagging><TagSet></TagSet></Tagging>",
    "encryption": b"<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256"
    b"</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
    "object-lock": b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
    b"<Mode>COMPLIANCE</Mode><Days>3650</Days></DefaultRetention></Rule></ObjectLockConfiguration>",
    "ownershipControls": b"<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>"
    b"</OwnershipControls>",
    "publicAccessBlock": b"<PublicAccessBlockConfiguration></PublicAccessBlockConfiguration>",
    "notification": b"<NotificationConfiguration></NotificationConfiguration>",
}


@pytest.mark.parametrize("identity", ["gateway", "robot", "pages"])
def test_no_identity_but_the_platforms_changes_how_a_bucket_is_kept(s3: Settings, identity: str) -> None:
    store = _as(s3, identity)
    allowed = []
    for bucket in BUCKETS:
        for method in ("PUT", "DELETE"):
            for setting, document in SETTINGS.items():
                link = store._requests.url(method, bucket, None, query={setting: ""})
                answer = urllib3.request(method, link, body=document if method == "PUT" else None, retries=False)
                if answer.status < 300:
                    allowed.append((method, bucket, setting))
    assert allowed == []


def _as(settings: Settings, name: str) -> S3Store:
    identity = identities(settings.home)[name]
    return S3Store(str(settings.s3_endpoint), identity.key, identity.secret, identity=name)


def _is_seaweedfs(settings: Settings) -> bool:
    return (settings.home / "store").exists()


@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize("name", ALLOWED)
def test_identity_may_do_exactly_what_is_granted(s3: Settings, platform: S3Store, name: str, bucket: str) -> None:
    found = Attempts(platform, _as(s3, name), bucket).allowed()

    granted = ALLOWED[name].get(bucket, set())
    unavoidable = set().union(*(more for right, more in COARSE.items() if right in granted and _is_seaweedfs(s3)))
    assert granted <= found, f"{name} should be allowed to, in {bucket}: {sorted(granted - found)}"
    assert found <= granted | unavoidable, f"{name} should not be allowed to, in {bucket}: {sorted(found - granted)}"


@pytest.mark.parametrize(
    ("bucket", "prefix", "may_write"),
    [
        ("models", "fleet/", True), ("models", "invitations/", True), ("models", "robot-keys/", True),
        ("models", "receipt-keys/", False), ("reports", "robots/", True),
    ],
)  # fmt: skip
def test_gateway_reads_what_it_needs_and_writes_what_it_changes(
    s3: Settings, platform: S3Store, bucket: str, prefix: str, may_write: bool
) -> None:
    found = Attempts(platform, _as(s3, "gateway"), bucket, prefix).allowed()

    assert {"get", "stat"} <= found
    assert ({"put", "overwrite"} <= found) is may_write
    assert "remove" not in found


@pytest.mark.parametrize("prefix", ["robots-evil/", "evaluations/", "checks/", "coverage/", "set-aside/robots/"])
def test_gateway_writes_nothing_else_among_the_reports(s3: Settings, platform: S3Store, prefix: str) -> None:
    found = Attempts(platform, _as(s3, "gateway"), "reports", prefix).allowed()

    assert not found & {"put", "overwrite", "remove", "begin", "send", "complete"}


def test_page_server_reads_the_digests_of_pages_and_no_more_of_their_bucket(s3: Settings, platform: S3Store) -> None:
    found = Attempts(platform, _as(s3, "pages"), "models", "pages/").allowed()

    assert {"get", "stat"} <= found
    assert not found & {"put", "overwrite", "remove", "begin", "send", "complete"}
    assert Attempts(platform, _as(s3, "pages"), "models", "fleet/").allowed() == set()


@pytest.mark.parametrize("name", ALLOWED)
def test_identity_makes_no_bucket_and_changes_no_policy(s3: Settings, platform: S3Store, name: str) -> None:
    client = _as(s3, name).client

    for attempt in (
        lambda: client.make_bucket(bucket_name=f"b-{uuid.uuid4().hex}"),
        lambda: client.remove_bucket(bucket_name="datasets"),
        lambda: client.set_bucket_policy(bucket_name="inbox", policy="{}"),
        lambda: client.delete_bucket_policy(bucket_name="inbox"),
        lambda: client.get_bucket_policy(bucket_name="inbox"),
    ):
        with pytest.raises(Exception, match="AccessDenied"):
            attempt()

    assert {bucket.name for bucket in platform.client.list_buckets()} >= set(BUCKETS)


@pytest.mark.parametrize("name", ALLOWED)
def test_identity_with_anothers_secret_is_nobody(s3: Settings, name: str) -> None:
    known = identities(s3.home)
    store = S3Store(str(s3.s3_endpoint), known["platform"].key, known[name].secret, patience=2)

    with pytest.raises(StorageError, match="key or secret is wrong"):
        store.get("inbox", "x")
