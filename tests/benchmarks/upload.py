"""Uploading a 24 MB episode through the gateway against one plain PUT of the same bytes to the same server."""

import itertools
import os
import tempfile
from datetime import timedelta
from pathlib import Path

import urllib3
from minio import Minio

from components.contracts import Settings
from components.robot import Spool, Uploader, open_gateway
from components.storage import connect, prepare
from infra.local import store_alone
from tests.benchmarks.paired import Row, paired
from tests.faults.upload_world import UploadWorld

SIZE = 24 * 10**6


def measure() -> list[Row]:
    """Over the embedded SeaweedFS: ours hashes the file, asks the gateway twice, and sends five parts with their
    MD5, each of which the server syncs; the robot's journal syncs too."""
    with tempfile.TemporaryDirectory(prefix="drover-bench-") as name:
        root = Path(name)
        data = os.urandom(SIZE)
        with store_alone(Settings(home=root / "home")) as settings:
            prepare(connect(settings))
            world = UploadWorld(settings, root)
            http = urllib3.PoolManager()
            assert settings.s3_endpoint
            assert settings.s3_secret
            client = Minio(
                settings.s3_endpoint, settings.s3_key, settings.s3_secret.get_secret_value(), secure=False,
                region=settings.s3_region,
            )  # fmt: skip
            keys = itertools.count()
            with world.gateway() as url:
                world.enrol("robot-1", url)
                uploaders = (_uploader(world, root / "spools", number, data) for number in itertools.count())
                ready = [next(uploaders) for _ in range(12)]

                def ours() -> None:
                    report = ready.pop().sync()
                    assert len(report.sent) == 1
                    assert report.bytes_sent == SIZE

                def peer() -> None:
                    link = client.presigned_put_object(
                        bucket_name="inbox", object_name=f"peer/{next(keys)}", expires=timedelta(hours=1)
                    )
                    assert http.request("PUT", link, body=data).status == 200

                seconds, ratio = paired(ours, peer)
    return [
        {
            "name": "upload of 24 MB through the gateway",
            "value": SIZE / seconds / 1e6,
            "unit": "MB/s",
            "peer": "one plain PUT",
            "ratio": ratio,
            "goal": 2.5,
        }
    ]


def _uploader(world: UploadWorld, folder: Path, number: int, data: bytes) -> Uploader:
    """Of a spool with one episode in it, of other bytes than all others."""
    spool = Spool(folder / str(number))
    spool.path_of(f"episode-{number}").write_bytes(number.to_bytes(4, "big") + data[4:])
    return Uploader(spool, open_gateway(world.home("robot-1")))
