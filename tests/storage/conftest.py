"""Every store there is, for tests that hold for all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.contracts import Settings
from components.storage import BUCKETS, FolderStore, ObjectStore, S3Store, connect
from infra.local import store_alone


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with store_alone(Settings(home=tmp_path_factory.mktemp("store"))) as settings:
        yield settings


@pytest.fixture
def platform(s3: Settings) -> S3Store:
    return connect(s3)


@pytest.fixture
def robot(s3: Settings) -> S3Store:
    return connect(s3, identity="robot")


@pytest.fixture(params=["folder", "seaweedfs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        for bucket in BUCKETS:
            (tmp_path / "objects" / bucket).mkdir(parents=True)
        return FolderStore(tmp_path / "objects")
    return connect(request.getfixturevalue("s3"))
