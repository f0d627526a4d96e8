"""What the page's tables show, row by row, looked up in a report."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from components.contracts import (
    BASELINES,
    EXPERT,
    INCUMBENT,
    UNSHIFTED,
    Estimate,
    EvaluationReport,
    OpenLoopScore,
    Protocol,
    ShiftEffect,
)
from components.episodes import SCENARIOS

from ._plots import INK

BOARD = (("MAE", "mae", 3), ("key accuracy", "key-accuracy", 2), ("macro-F1", "macro-f1", 2),
         ("within 0.15", "within-0.15", 2), ("Brier", "brier", 3), ("ECE", "ece", 3))  # fmt: skip
"""Heading, metric, digits."""
_PROTOCOLS: tuple[tuple[Protocol, str], ...] = (
    ("all-frames", "all frames"),
    ("middle-frame", "middle frame"),
    ("random-frame", "random frame"),
    ("first-frame", "first frame"),
)


@dataclass(frozen=True)
class Cell:
    """One field of a heat map: its text, and how strongly it is shaded."""

    text: str
    background: str
    ink: str


@dataclass(frozen=True)
class ProtocolTable:
    """One metric under the protocols side by side."""

    heading: str
    digits: int
    columns: tuple[str, ...]
    rows: tuple[tuple[OpenLoopScore, tuple[Estimate | None, ...]], ...]


@dataclass(frozen=True)
class ShiftRow:
    """One suite of the heat map."""

    name: str
    effect: ShiftEffect | None
    """None in the rooms as they are."""
    cells: tuple[Cell | None, ...]
    """A scenario each."""
    success: Estimate | None
    expert: Estimate | None
    """What the change does to whoever sees everything."""


def ranked(report: EvaluationReport) -> list[OpenLoopScore]:
    """Lowest error first."""
    return sorted(report.scores, key=lambda score: score.mae.value)


def compared(report: EvaluationReport) -> list[OpenLoopScore]:
    """Whom plots by scenario and frame show: the subject, the incumbent if there is one, and the best baseline."""
    scores = {score.name: score for score in report.scores}
    best = min((scores[name] for name in BASELINES), key=lambda score: score.mae.value)
    return [scores[name] for name in (report.subject, INCUMBENT, best.name) if name in scores]


def figures(report: EvaluationReport, metric: str, **sample: object) -> dict[str, Estimate]:
    """Name -> figure; empty where it was not measured."""
    found = report.find(metric, **sample)
    return dict(found.figures) if found else {}


def protocols(report: EvaluationReport) -> tuple[list[ProtocolTable], list[str]]:
    """A table a metric, and the warnings that go with them."""
    tables, warnings = [], []
    for heading, metric, digits in BOARD[:2]:
        found = [(title, report.find(metric, protocol=protocol)) for protocol, title in _PROTOCOLS]
        shown = [(title, item) for title, item in found if item is not None]
        if len(shown) < 2:
            continue
        tables.append(
            ProtocolTable(
                heading,
                digits,
                tuple(title for title, _ in shown),
                tuple((score, tuple(item.figures.get(score.name) for _, item in shown)) for score in ranked(report)),
            )
        )
        warnings += [item.warning for _, item in shown if item.warning and item.warning not in warnings]
    return tables, warnings


def heat(share: float, text: str) -> Cell:
    """A shade of one blue: darker is more, which grey print and colour-blind people see alike."""
    red, green, blue, _ = mpl.colormaps["Blues"](0.07 + 0.78 * min(max(share, 0.0), 1.0))
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
    return Cell(text, to_hex((red, green, blue)), "#ffffff" if dark else INK)


def shift_rows(report: EvaluationReport) -> tuple[list[str], list[ShiftRow]]:
    """The scenarios, and a row a suite: the rooms as they are first. Nothing where no suite was driven."""
    if not report.shifts:
        return [], []
    named = [(UNSHIFTED, None), *((item.shift, item) for item in report.shifts)]
    scenarios = [name for name in SCENARIOS if report.find("success", shift=report.shifts[0].shift, scenario=name)]
    rows = []
    for name, effect in named:
        cells = tuple(_rate(report, name, scenario) for scenario in scenarios)
        whole = figures(report, "success", shift=name)
        rows.append(ShiftRow(name, effect, cells, whole.get(report.subject), whole.get(EXPERT)))
    return scenarios, rows


def _rate(report: EvaluationReport, shift: str, scenario: str) -> Cell | None:
    rate = figures(report, "success", shift=shift, scenario=scenario).get(report.subject)
    return heat(rate.value, f"{round(rate.value * rate.n)}/{rate.n}") if rate else None


def confusion(pressed: Sequence[str], predicted: Sequence[str]) -> tuple[list[str], list[list[Cell | None]]]:
    """Keys, the commonest first, and (K, K) cells: a row a pressed key, a column a predicted one; shaded by the row's
    share. None where it never happened."""
    labels, counts = np.unique(pressed, return_counts=True)
    ordered = [str(name) for name in labels[np.argsort(-counts, kind="stable")]]
    ordered += sorted(set(predicted) - set(ordered))
    index = {name: position for position, name in enumerate(ordered)}
    table: NDArray[np.int64] = np.zeros((len(ordered), len(ordered)), dtype=np.int64)
    np.add.at(table, ([index[name] for name in pressed], [index[name] for name in predicted]), 1)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    cells = [
        [heat(float(share), str(count)) if count else None for share, count in zip(*row, strict=True)]
        for row in zip(shares, table, strict=True)
    ]
    return ordered, cells
