import threading
import time

import pytest

from tests.bentos.served import JPEGS, START_S, Bento, serve
from tests.packaging.made import Made, made_once


@pytest.fixture(scope="session")
def made() -> Made:
    return made_once()


@pytest.fixture(scope="session")
def bento(made, tmp_path_factory) -> Bento:
    with serve(tmp_path_factory.mktemp("home")) as started:
        yield started


@pytest.fixture(scope="session")
def served(bento, made):
    """The Bento after a first promotion, which it has to notice by itself."""
    from components.packaging import serve_package

    before = bento.act(JPEGS[0])
    ready_before = bento.client.get("/readyz").status_code
    serve_package(made.store, made.package, bento.home, release="release-1")
    pause, end = threading.Event(), time.monotonic() + START_S
    while bento.act(JPEGS[0]).status_code == 503:
        assert time.monotonic() < end
        pause.wait(0.1)
    return before, ready_before


@pytest.fixture
def asked(bento, served):
    return bento
