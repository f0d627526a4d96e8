"""Make a MinIO server ready: buckets, the probe of conditional writes, the gateway's and the robots' identities, and
the key that robots believe receipts of.

`python -m infra.setup_store`, for compose.yaml and for a MinIO of one's own; the embedded stack does this itself.
Safe to run again.
"""

import logging
import sys

from pydantic import SecretStr

from components.contracts import Settings, plain_logs
from components.contracts.errors import ConfigurationError, DroverError

from ._grants import make_minio_users
from ._identities import Identity
from ._plan import make_ready

log = logging.getLogger(__name__)


def main(settings: Settings) -> None:
    """What the module's docstring says, on the server that the settings name.

    Raises:
        ConfigurationError: an identity's key is not set.
        StorageError: the server is away, or not fit.
    """
    users = {
        "robot": _identity("ROBOT_S3", settings.robot_s3_key, settings.robot_s3_secret),
        "gateway": _identity("GATEWAY_S3", settings.gateway_s3_key, settings.gateway_s3_secret),
    }
    store = make_ready(settings, patience=60.0)
    platform = _identity("S3", settings.s3_key, settings.s3_secret)
    make_minio_users(store.endpoint, platform, users, secure=settings.s3_secure)
    log.info("%s is ready: buckets, conditional writes, identities, the receipts' key", settings.s3_endpoint)


def _identity(prefix: str, key: str | None, secret: SecretStr | None) -> Identity:
    if not key or secret is None:
        raise ConfigurationError(f"expected DROVER_{prefix}_KEY and DROVER_{prefix}_SECRET, found none: set them")
    return Identity(key, secret.get_secret_value())


if __name__ == "__main__":
    plain_logs()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        main(Settings())
    except DroverError as problem:
        log.error("%s", problem)  # noqa: TRY400  # a user's mistake needs no traceback
        sys.exit(2)
