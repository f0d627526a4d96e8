"""`drover quarantine` against a real store: list, show, replay with the checks, release."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components import ingest
from components.cli import app
from components.contracts import Finding, Settings
from components.contracts.errors import ConfigurationError
from components.storage import S3Store, connect, sha256_of_file
from tests.stores import running

pytestmark = [pytest.mark.s3, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    with running("seaweedfs", tmp_path / "served") as served:
        settings = served.settings
        assert settings.s3_endpoint
        assert settings.s3_key
        assert settings.s3_secret
        monkeypatch.setenv("DROVER_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("DROVER_S3_ENDPOINT", settings.s3_endpoint)
        monkeypatch.setenv("DROVER_S3_KEY", settings.s3_key)
        monkeypatch.setenv("DROVER_S3_SECRET", settings.s3_secret.get_secret_value())
        yield connect(Settings())


def drover(*words: str) -> str:
    result = CliRunner().invoke(app, ["quarantine", *words], catch_exceptions=False, env={"COLUMNS": "250"})
    assert result.exit_code == 0, result.output
    return result.output


def test_quarantine_is_listed_shown_replayed_and_released(platform: S3Store, record: Callable[..., Path]) -> None:
    dim, dusk = record("dim", robot="r1", seed=1), record("dusk", robot="r1", seed=2)
    findings = []
    for path in (dim, dusk):
        sha256 = sha256_of_file(path)
        platform.put_file("inbox", f"r1/{sha256}/{path.stem}.h5", path)
        findings.append(Finding(sha256=sha256, rule="exposure", severity="error", expected="light", observed="dark"))
    key = ingest.receipt_key(Settings())
    ingest.settle(platform, ingest.inspect_inbox(platform), findings, key=key)

    listed = drover("list")
    assert "dim" in listed
    assert "exposure" in listed
    short = sha256_of_file(dusk)[:10]
    shown = json.loads(drover("show", short))
    assert (shown["finding"]["observed"], shown["summary"]["frames"]) == ("dark", 4)
    with pytest.raises(ConfigurationError, match="begins 2"):
        drover("show", "")

    assert "accepted" in drover("release", short, "--reason", "dusk is wanted", "--by", "ada")
    assert "accepted" in drover("release", sha256_of_file(dusk), "--reason", "again", "--by", "bob")
    (admitted,) = ingest.records(platform)
    assert admitted.warnings[-1] == "released by ada: dusk is wanted"
    assert "dim" in drover("replay")  # judged by all checks of today: whatever they say, it is said and kept
    assert len(ingest.records(platform)) + len(ingest.quarantined(platform)) == 2
