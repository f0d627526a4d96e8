"""Make a MinIO server ready: buckets, the probe of conditional writes, the robots' identity.

`python -m infra.setup_store`, for compose.yaml and for a MinIO of one's own; the embedded stack does this itself.
Safe to run again.
"""

import logging
import sys

from components.contracts import Settings
from components.contracts.errors import ConfigurationError, DroverError
from components.storage import connect, prepare

from . import _store

log = logging.getLogger(__name__)


def main(settings: Settings) -> None:
    """What the module's docstring says, on the server that the settings name.

    Raises:
        ConfigurationError: no robot's key is set.
        StorageError: the server is away, or not fit.
    """
    if not settings.robot_s3_key or settings.robot_s3_secret is None:
        raise ConfigurationError("expected DROVER_ROBOT_S3_KEY and DROVER_ROBOT_S3_SECRET, found none: set them")
    store = connect(settings, patience=60.0)
    prepare(store)
    robot = _store.Identity(settings.robot_s3_key, settings.robot_s3_secret.get_secret_value())
    assert settings.s3_key is not None  # `connect` has looked
    assert settings.s3_secret is not None
    platform = _store.Identity(settings.s3_key, settings.s3_secret.get_secret_value())
    _store.make_minio_users(store.endpoint, platform, {"robot": robot}, secure=settings.s3_secure)
    log.info("%s is ready: buckets, conditional writes, the robots' identity", settings.s3_endpoint)


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        main(Settings())
    except DroverError as problem:
        log.error("%s", problem)  # noqa: TRY400  # a user's mistake needs no traceback
        sys.exit(2)
