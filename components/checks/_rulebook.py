"""The rules that hold here: defaults, and what the user's checks.toml says instead."""

import json
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from components.contracts import Frozen, Settings
from components.contracts.errors import ConfigurationError

from ._rules import Rule, Thresholds, rules

FILE = "checks.toml"
DEFAULTS = Path(__file__).parent / FILE
ALWAYS_ERRORS = ("finite", "too-short", "duplicate")
Severity = Literal["error", "warning", "off"]


class Rulebook(Frozen):
    """Thresholds, and severities other than the defaults. Its digest names the rules that a verdict stands on."""

    thresholds: Thresholds = Thresholds()
    severities: dict[str, Severity] = Field(default_factory=dict)

    def rules(self) -> tuple[Rule, ...]:
        """The rules that are looked at, errors first: of several the first is what an episode is quarantined for."""
        table = []
        for rule in rules(self.thresholds):
            severity = self.severities.get(rule.rule, rule.severity)
            if severity != "off":
                table.append(rule.model_copy(update={"severity": severity}))
        return tuple(sorted(table, key=lambda rule: rule.severity != "error"))


def load_rulebook(settings: Settings | None = None) -> Rulebook:
    """The user's rules: `DROVER_CHECKS_FILE`, else `<home>/checks.toml`, else the defaults.

    Raises:
        ConfigurationError: the file is missing where it was named, is no TOML, or holds an unknown name, another type
            or a figure that makes no sense.
    """
    path = rulebook_file(settings or Settings())
    return Rulebook() if path is None else read_rulebook(path)


def rulebook_file(settings: Settings) -> Path | None:
    """Where the user's rules are; None: there are none."""
    if settings.checks_file is not None:
        return settings.checks_file
    path = settings.home / FILE
    return path if path.is_file() else None


def read_rulebook(path: Path) -> Rulebook:
    """One file's rules. Raises as `load_rulebook`."""
    document = read_toml(path, sections=("thresholds", "severity"), hint="`drover checks init` writes one")
    thresholds, chosen = document.get("thresholds", {}), document.get("severity", {})
    _check_names(path, "thresholds", thresholds, list(Thresholds.model_fields))
    defaults: dict[str, str] = {rule.rule: rule.severity for rule in rules(Thresholds())}
    _check_names(path, "severity", chosen, sorted(defaults))
    for name, severity in chosen.items():
        allowed = ("error",) if name in ALWAYS_ERRORS else ("error", "warning", "off")
        if severity not in allowed:
            raise ConfigurationError(f"{path}: [severity] {name}: expected {' or '.join(allowed)}, got {severity!r}")
    try:
        return Rulebook(
            thresholds=Thresholds.model_validate_json(json.dumps(thresholds, default=str), strict=True),
            severities={name: severity for name, severity in chosen.items() if severity != defaults[name]},
        )
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        raise ConfigurationError(
            f"{path}: [thresholds] {name}: {fault['msg']}, got {fault['input']!r}; its default is in {DEFAULTS}"
        ) from None


def read_toml(path: Path, *, sections: tuple[str, ...], hint: str) -> dict[str, Any]:
    """A file of tables.

    Raises:
        ConfigurationError: it cannot be read, or holds anything but those tables.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: expected a settings file, but: {error.strerror}; {hint}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: expected TOML, but: {error}; {hint}") from None
    for name, section in document.items():
        if name not in sections or not isinstance(section, dict):
            raise ConfigurationError(f"{path}: expected the tables {', '.join(sections)}, got {name!r}; {hint}")
    return document


def _check_names(path: Path, section: str, found: dict[str, Any], known: list[str]) -> None:
    for name in found:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ConfigurationError(f"{path}: [{section}] has no {name!r}; {hint}")
