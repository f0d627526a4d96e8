"""For all tests."""

import os

import psutil
import pytest
from hypothesis import settings

settings.register_profile("drover", deadline=None)  # how fast this machine is at the moment is nobody's bug
settings.load_profile("drover")

WORKER_BYTES = 4 * 2**30
"""Memory of a test process, with the stores and children that it starts."""


def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: two processes a core, as most tests wait for servers and children, and no more than memory holds."""
    cores = len(os.sched_getaffinity(0))
    return int(max(1, min(2 * cores, psutil.virtual_memory().total // WORKER_BYTES)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files marked `long` begin first: a process that began one at the end would keep the others waiting."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
