from pathlib import Path

import pytest

from components.contracts import Settings
from components.promotion import keys_folder
from tests.faults.fleet_world import World
from tests.promotion.test_release import ROBOTS


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def world(tmp_path: Path, settings: Settings) -> World:
    """The keys lie where the settings say."""
    world = World(tmp_path, robots=ROBOTS)
    assert world.keys.folder == keys_folder(settings)
    return world
