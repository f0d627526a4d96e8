"""The user's file of rules: what it may say, and what is said about its mistakes."""

import tomllib
from pathlib import Path

import pytest

from components import checks
from components.contracts import Settings
from components.contracts.errors import ConfigurationError


def written(folder: Path, text: str) -> Path:
    path = folder / checks.FILE
    path.write_text(text)
    return path


def test_shipped_file_holds_every_default_and_every_rule() -> None:
    assert checks.read_rulebook(checks.DEFAULTS) == checks.Rulebook()
    shipped = tomllib.loads(checks.DEFAULTS.read_text())
    assert set(shipped["thresholds"]) == set(checks.Thresholds.model_fields)
    named = {rule.rule for rule in checks.rules(checks.Thresholds())}
    assert set(shipped["severity"]) == named - {"finite", "too-short", "duplicate"}


def test_home_is_where_the_file_is_looked_for(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert checks.load_rulebook(settings) == checks.Rulebook()
    written(tmp_path, "[thresholds]\nsharpness = 0.4\npress_s = [0.5, 20]\n")
    found = checks.load_rulebook(settings)
    assert (found.thresholds.sharpness, found.thresholds.press_s) == (0.4, (0.5, 20.0))
    assert found.digest() != checks.Rulebook().digest()


def test_named_file_outranks_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "[thresholds]\nsharpness = 0.4\n")
    other = tmp_path / "mine.toml"
    other.write_text("[thresholds]\nsharpness = 0.1\n")
    monkeypatch.setenv("DROVER_HOME", str(tmp_path))
    monkeypatch.setenv("DROVER_CHECKS_FILE", str(other))
    assert checks.load_rulebook().thresholds.sharpness == 0.1
    other.unlink()
    with pytest.raises(ConfigurationError, match="No such file"):
        checks.load_rulebook()


def test_severities_move_rules_and_errors_stay_first(tmp_path: Path) -> None:
    path = written(tmp_path, '[severity]\nblurred = "error"\nside = "warning"\nidling = "off"\nfrozen = "error"\n')
    rulebook = checks.read_rulebook(path)
    severity = {rule.rule: rule.severity for rule in rulebook.rules()}
    assert (severity["blurred"], severity["side"]) == ("error", "warning")
    assert "idling" not in severity
    kinds = [rule.severity for rule in rulebook.rules()]
    assert kinds == sorted(kinds)
    assert rulebook.severities == {"blurred": "error", "side": "warning", "idling": "off"}  # defaults are no change


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[thresholds]\nsharpnes = 0.2", "did you mean sharpness"),
        ("[thresholds]\nzzz = 0.2", "has no 'zzz'"),
        ("[thresholds]\nsharpness = 1.2", "less than or equal to 1"),
        ("[thresholds]\nsharpness = '0.2'", "valid number"),
        ("[thresholds]\nsharpness = true", "valid number"),
        ("[thresholds]\nframes = 2.5", "valid integer"),
        ("[thresholds]\nsharpness = nan", "sharpness"),
        ("[thresholds]\npress_s = [5, 1]", "a lower and a higher"),
        ("[thresholds]\npress_s = [1]", "press_s"),
        ("[thresholds]\nyear = 2015-01-01", "year"),
        ("[severity]\nblured = 'error'", "did you mean blurred"),
        ("[severity]\nblurred = 'fatal'", "error or warning or off"),
        ("[severity]\nfinite = 'off'", "expected error"),
        ("[severity]\nblurred = 1", "error or warning or off"),
        ("[rules]\nx = 1", "expected the tables"),
        ("sharpness = 0.2", "expected the tables"),
        ("[thresholds", "expected TOML"),
    ],
)
def test_mistake_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError, match=said) as caught:
        checks.read_rulebook(path)
    assert str(path) in str(caught.value)
