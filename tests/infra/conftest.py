"""Folders of their own for stacks of their own; nothing of a stack may outlive its test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.contracts import Settings
from infra import _processes, local


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "home"
    yield folder
    local.down(Settings(home=folder))
    assert list(_processes.marked(folder)) == []


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home)
