"""Every store there is, for tests that hold for all of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from components.contracts import Settings
from components.storage import BUCKETS, FolderStore, ObjectStore, S3Store, connect
from tests.stores import SERVERS, running


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Settings]]:
    """Starts a server when it is first asked for; all end together."""
    served: dict[str, Settings] = {}
    with ExitStack() as stack:

        def serving(kind: str) -> Settings:
            if kind not in served:
                served[kind] = stack.enter_context(running(kind, tmp_path_factory.mktemp(kind))).settings
            return served[kind]

        yield serving


@pytest.fixture(params=SERVERS)
def s3(request: pytest.FixtureRequest, serve: Callable[[str], Settings]) -> Settings:
    """Each real server in turn."""
    return serve(request.param)


@pytest.fixture
def platform(s3: Settings) -> S3Store:
    return connect(s3)


@pytest.fixture
def robot(s3: Settings) -> S3Store:
    if s3.robot_s3_key is None:
        pytest.skip("versitygw runs with the platform's identity alone here")
    return connect(s3, identity="robot")


@pytest.fixture(params=["folder", *SERVERS])
def store(request: pytest.FixtureRequest, tmp_path: Path, serve: Callable[[str], Settings]) -> ObjectStore:
    if request.param == "folder":
        for bucket in BUCKETS:
            (tmp_path / "objects" / bucket).mkdir(parents=True)
        return FolderStore(tmp_path / "objects")
    return connect(serve(request.param))
