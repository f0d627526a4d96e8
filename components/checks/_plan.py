"""The collection plan: how many episodes to record of each scenario, pattern, distance and position."""

import json
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from components.contracts import Frozen, Settings
from components.contracts.errors import ConfigurationError
from components.episodes import DISTANCES, PATTERNS, POSITIONS, SCENARIOS

from ._rulebook import read_toml

PLAN_FILE = "collection.toml"
PLAN_DEFAULTS = Path(__file__).parent / PLAN_FILE
Cell = tuple[str | None, str | None, str | None, str | None]
"""scenario, pattern, distance, position; None where the plan leaves the axis out."""
_KNOWN = {"scenarios": SCENARIOS, "patterns": PATTERNS, "distances": DISTANCES, "positions": POSITIONS}


class Axes(Frozen):
    """What episodes are counted by; an empty axis is left out."""

    scenarios: tuple[str, ...] = SCENARIOS
    patterns: tuple[str, ...] = PATTERNS
    distances: tuple[str, ...] = DISTANCES
    positions: tuple[str, ...] = POSITIONS

    @model_validator(mode="after")
    def _are_known(self) -> Self:
        for name, known in _KNOWN.items():
            chosen = getattr(self, name)
            if unknown := [value for value in chosen if value not in known]:
                raise ValueError(f"{name}: expected some of {', '.join(known)}, got {unknown[0]!r}")
            if len(set(chosen)) < len(chosen):
                raise ValueError(f"{name}: expected each once")
        return self


class Targets(Frozen):
    """How many."""

    episodes: Annotated[int, Field(ge=1, le=1_000_000)] = 2
    """Of each combination whose weights are 1."""
    weights: dict[str, Annotated[float, Field(ge=0, le=1000)]] = Field(default_factory=lambda: {"core": 2.0})


class CollectionPlan(Frozen):
    """Axes and targets."""

    axes: Axes = Axes()
    targets: Targets = Targets()

    @model_validator(mode="after")
    def _weighs_what_is_there(self) -> Self:
        # By value: `left` is a position; the side of a scenario is part of its name.
        parts = {value for known in _KNOWN.values() for value in known}
        if unknown := [name for name in self.targets.weights if name not in parts]:
            raise ValueError(
                f"weights: expected names of scenarios, patterns, distances or positions, got {unknown[0]!r}"
            )
        return self

    def cells(self) -> dict[Cell, int]:
        """Every combination and how many episodes it wants."""
        axes = self.axes
        lists = (axes.scenarios, axes.patterns, axes.distances, axes.positions)
        found: dict[Cell, int] = {}
        for scenario, pattern, distance, position in product(*(values or (None,) for values in lists)):
            cell = (scenario, pattern, distance, position)
            found[cell] = round(
                self.targets.episodes * prod(self.targets.weights.get(part or "", 1.0) for part in cell)
            )
        return found


def load_plan(settings: Settings | None = None) -> CollectionPlan:
    """The user's plan: `DROVER_COLLECTION_PLAN`, else `<home>/collection.toml`, else the defaults.

    Raises:
        ConfigurationError: the file is missing where it was named, is no TOML, or makes no sense.
    """
    settings = settings or Settings()
    path = settings.collection_plan
    if path is None:
        path = settings.home / PLAN_FILE
        if not path.is_file():
            return CollectionPlan()
    return read_plan(path)


def read_plan(path: Path) -> CollectionPlan:
    """One file's plan. Raises as `load_plan`."""
    document = read_toml(path, sections=("axes", "targets"), hint="`drover coverage --init` writes one")
    try:
        return CollectionPlan.model_validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        raise ConfigurationError(f"{path}: {name}: {fault['msg']}; the defaults are in {PLAN_DEFAULTS}") from None
