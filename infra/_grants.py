"""Who may do what in the object store: one identity a purpose, each with the least that it needs.

    platform   everything
    gateway    opens, lists and completes uploads in `inbox`, whose objects it can neither read nor delete; reads
               receipts; reads and writes what enrolling changes (`models/fleet/`, `models/invitations/`,
               `models/robot-keys/`) and robots' reports (`reports/robots/`)
    robot      the update agent's: reads `releases`, writes nothing
    pages      reads `reports`, and the digests of its pages (`models/pages/`)

No server here has a right that is to write and not to overwrite: that the gateway replaces no report is its own doing,
by conditional writes; that it deletes none is the server's.

SeaweedFS knows coarse actions: `Write` also deletes, and parts are listed with `Read` alone. Bucket policies, which
only a running server takes, mend both. MinIO has policies for each user.

What is not covered: AWS, where the same rights are said in IAM; there, `s3:ListBucket` decides whether an object that
is not there is told from one that may not be read.
"""

import json
from typing import Any

from components.contracts.errors import StackError
from components.storage import S3Store

from ._identities import Identity

GATEWAY_WRITES = ("models/fleet/", "models/invitations/", "models/robot-keys/", "reports/robots/")
GATEWAY_READS = ("receipts/", "models/receipt-keys/", *GATEWAY_WRITES)
ROBOT_READS = ("releases",)
PAGES_READS = ("reports/", "models/pages/")
_BUCKET_SETTINGS = ["s3:PutBucket*", "s3:PutLifecycle*", "s3:PutEncryption*", "s3:DeleteBucket*", "s3:DeleteLifecycle*"]
"""SeaweedFS takes `Write` for the right to set them: a lifecycle rule would delete what the gateway may not."""


def seaweedfs_actions() -> dict[str, list[str]]:
    """Identity -> what its keys may do; a path with `*` is a prefix."""

    def reads(paths: tuple[str, ...]) -> list[str]:
        return [f"Read:{path}*" if path.count("/") > 1 else f"Read:{path[:-1]}" for path in paths]

    gateway = reads(GATEWAY_READS)
    return {
        "platform": ["Admin", "Read", "Write", "List", "Tagging"],
        "gateway": ["Write:inbox", "List:inbox", *gateway, *(f"Write:{path}*" for path in GATEWAY_WRITES)],
        "robot": [f"{action}:{bucket}" for bucket in ROBOT_READS for action in ("Read", "List")],
        "pages": reads(PAGES_READS),
    }


def restrict_seaweedfs(store: S3Store) -> None:
    """Bucket policies on a running SeaweedFS; safe to repeat."""
    statements = {
        bucket: [
            _statement("Deny", "gateway", ["s3:DeleteObject"], f"{bucket}/*"),
            _statement("Deny", "gateway", _BUCKET_SETTINGS, bucket),
        ]
        for bucket in sorted({"inbox", *(path.partition("/")[0] for path in GATEWAY_WRITES)})
    }
    statements["inbox"] += [
        _statement("Allow", "gateway", ["s3:ListBucketMultipartUploads"], "inbox"),
        _statement("Allow", "gateway", ["s3:ListMultipartUploadParts"], "inbox/*"),
    ]
    for bucket, said in statements.items():
        policy = {"Version": "2012-10-17", "Statement": said}
        store.client.set_bucket_policy(bucket_name=bucket, policy=json.dumps(policy))


def _statement(effect: str, identity: str, actions: list[str], resource: str) -> dict[str, Any]:
    return {
        "Effect": effect,
        "Principal": {"AWS": [f"arn:aws:iam::000000000000:user/{identity}"]},
        "Action": actions,
        "Resource": [f"arn:aws:s3:::{resource}"],
    }


def minio_policies() -> dict[str, dict[str, Any]]:
    """Identity -> its policy document."""
    grants: dict[str, list[tuple[str, tuple[str, ...]]]] = {
        "gateway": [
            ("s3:PutObject", ("inbox/*", *(f"{path}*" for path in GATEWAY_WRITES))),
            ("s3:ListBucket", ("inbox",)),
            ("s3:ListBucketMultipartUploads", ("inbox",)),
            ("s3:ListMultipartUploadParts", ("inbox/*",)),
            ("s3:AbortMultipartUpload", ("inbox/*",)),
            ("s3:GetObject", tuple(f"{path}*" for path in GATEWAY_READS)),
        ],
        "robot": [
            ("s3:GetObject", tuple(f"{bucket}/*" for bucket in ROBOT_READS)),
            ("s3:ListBucket", ROBOT_READS),
        ],
        "pages": [("s3:GetObject", tuple(f"{path}*" for path in PAGES_READS))],
    }
    return {
        name: {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": [action], "Resource": [f"arn:aws:s3:::{path}" for path in paths]}
                for action, paths in said
            ],
        }
        for name, said in grants.items()
    }


def make_minio_users(endpoint: str, root: Identity, users: dict[str, Identity], *, secure: bool = False) -> None:
    """MinIO users with these names' rights; safe to repeat.

    Args:
        users: `gateway`, `robot`, `pages` or some of them.

    Raises:
        StackError: the server refused.
    """
    from minio.credentials import StaticProvider
    from minio.error import MinioAdminException
    from minio.minioadmin import MinioAdmin

    admin = MinioAdmin(
        endpoint=endpoint, credentials=StaticProvider(root.key, root.secret), secure=secure, region="us-east-1"
    )
    policies = minio_policies()
    for name, identity in users.items():
        try:
            admin.user_add(identity.key, identity.secret)
            admin.policy_add(f"drover-{name}", policy=policies[name])
            admin.attach_policy([f"drover-{name}"], user=identity.key)
        except MinioAdminException as error:
            if "PolicyChangeAlreadyApplied" not in str(error):
                raise StackError(f"MinIO at {endpoint} refused the {name}'s identity: {error}") from error
