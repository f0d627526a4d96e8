from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home_of_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No rules of whoever runs the tests."""
    monkeypatch.setenv("DROVER_HOME", str(tmp_path / "home"))
