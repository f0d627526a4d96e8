"""Storing a 24 MB episode against one plain PUT of the same bytes."""

import io
import os
import tempfile
from datetime import timedelta
from pathlib import Path

import urllib3
from minio import Minio

from components.contracts import Settings
from components.storage import connect, prepare
from infra.local import store_alone
from tests.benchmarks.paired import Row, paired

SIZE = 24 * 10**6


def measure() -> list[Row]:
    """Over the embedded SeaweedFS: ours hashes, reads from a file and writes only if absent."""
    with tempfile.TemporaryDirectory(prefix="drover-bench-") as name:
        root = Path(name)
        path = root / "episode.h5"
        path.write_bytes(os.urandom(SIZE))
        data = path.read_bytes()
        with store_alone(Settings(home=root / "home")) as settings:
            store = connect(settings)
            prepare(store)
            http = urllib3.PoolManager()
            assert settings.s3_endpoint
            assert settings.s3_secret
            client = Minio(
                settings.s3_endpoint, settings.s3_key, settings.s3_secret.get_secret_value(), secure=False,
                region=settings.s3_region,
            )  # fmt: skip
            keys = iter(range(1000))

            def ours() -> None:
                store.put_file("inbox", f"ours/{next(keys)}", path, if_absent=True)

            def peer() -> None:
                url = client.presigned_put_object(
                    bucket_name="inbox", object_name=f"peer/{next(keys)}", expires=timedelta(hours=1)
                )
                assert http.request("PUT", url, body=io.BytesIO(data).read()).status == 200

            seconds, ratio = paired(ours, peer)
    return [
        {
            "name": "upload of 24 MB",
            "value": SIZE / seconds / 1e6,
            "unit": "MB/s",
            "peer": "one plain PUT",
            "ratio": ratio,
            "goal": 2.5,
        }
    ]
