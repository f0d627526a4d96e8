import pytest

from tests.packaging.made import Made, made_once


@pytest.fixture(scope="session")
def made() -> Made:
    return made_once()
