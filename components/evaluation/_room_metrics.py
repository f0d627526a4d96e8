"""What came of drives, as metrics: rates and means of everybody in the same rooms, over all and by scenario.

What is not covered: rooms of other kinds than the simulation draws, and, by scenario, more than a few rooms each: those
intervals are wide because they have to be.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np

from components.contracts import Estimate, Metric, RoomMetric, RoomSample, TrialOutcome
from components.simulation import SIMULATOR

from ._intervals import RATE, Array, Bootstrap, Bounds, Table, wilson
from ._sequential import anytime_mean, anytime_rate

Driven = Mapping[str, Sequence[TrialOutcome]]
"""By driver, in the rooms' order; equal rooms for all."""

RATES: Final[dict[RoomMetric, str]] = {
    "success": "success",
    "reached": "reached",
    "right-side": "right_side",
    "collisions": "collided",
}
MEANS: Final[dict[RoomMetric, tuple[str, Bounds]]] = {
    "spl": ("spl", RATE),
    "steps": ("steps", Bounds(0.0)),
    "duration-s": ("duration_s", Bounds(0.0)),
    "distance-m": ("distance_m", Bounds(0.0)),
}
STOPPED_WARNING = (
    "The run could stop early, and this interval takes the number of rooms as fixed beforehand: read it as a rough one."
)


def room_metrics(driven: Driven, *, seed: int, stop_early: bool = False) -> list[Metric]:
    """Every quantity over all rooms, then by scenario.

    Args:
        driven: everybody who drove, the references included, all under one shift or none.
        seed: of the rooms and the bootstrap.
        stop_early: the number of rooms may have followed from what came out.

    Returns:
        A mean without bounds is left out where it is of one single room: that tells nothing of other rooms.
    """
    someone = next(iter(driven.values()))
    whole = RoomSample(simulator=SIMULATOR, seed=seed, rooms=len(someone), shift=someone[0].shift)
    found = list(_metrics(driven, whole, stop_early))
    for scenario in sorted({item.scenario for item in someone}):
        part = {name: [item for item in own if item.scenario == scenario] for name, own in driven.items()}
        rooms = sum(item.scenario == scenario for item in someone)
        found += _metrics(part, whole.model_copy(update={"scenario": scenario, "rooms": rooms}), stop_early)
    return found


def _metrics(driven: Driven, sample: RoomSample, stop_early: bool) -> Iterator[Metric]:
    rate = anytime_rate if stop_early else wilson
    for name, attribute in RATES.items():
        counts = {who: sum(getattr(item, attribute) for item in own) for who, own in driven.items()}
        figures = {who: rate(count, sample.rooms) for who, count in counts.items()}
        yield Metric(name=name, sample=sample, figures=figures)
    means = _means(driven, sample.rooms, sample.seed)
    if stop_early:
        means["spl"] = {who: anytime_mean([item.spl for item in own]) for who, own in driven.items()}
    for name, figures in means.items():
        if figures:
            warning = STOPPED_WARNING if stop_early and name != "spl" else None
            yield Metric(name=name, sample=sample, figures=figures, warning=warning)


def _means(driven: Driven, rooms: int, seed: int) -> dict[RoomMetric, dict[str, Estimate]]:
    """All quantities of all drivers from the same draws; none of a quantity where somebody's has no interval."""
    columns: dict[str, Array] = {
        attribute: np.array([[getattr(item, attribute) for item in own] for own in driven.values()], dtype=float).T
        for attribute, _ in MEANS.values()
    }
    resampled = Bootstrap(rooms, seed=seed).of(columns)
    found: dict[RoomMetric, dict[str, Estimate]] = {}
    for name, (attribute, bounds) in MEANS.items():
        figures = {
            who: resampled.estimate(partial(_mean, attribute, column, rooms), bounds, "bootstrap-by-trial")
            for column, who in enumerate(driven)
        }
        if all(figures.values()):
            found[name] = {who: figure for who, figure in figures.items() if figure}
    found["spl"] = {who: _with_failures_unmet(figure, driven[who]) for who, figure in found["spl"].items()}
    return found


def _with_failures_unmet(spl: Estimate, own: Sequence[TrialOutcome]) -> Estimate:
    """As unsure of the SPL as of the success rate: where nobody failed, no draw of the bootstrap knows of a failure."""
    wins = sum(item.success for item in own)
    rate, each = wilson(wins, len(own)), spl.value * len(own) / max(wins, 1)
    return spl.model_copy(
        update={"low": min(spl.low, rate.low * each), "high": max(spl.high, min(1.0, rate.high * each))}
    )


def _mean(attribute: str, column: int, rooms: int, sums: Table) -> Array:
    return sums[attribute][..., column] / rooms
