"""The report as one self-contained page: nothing is fetched, nothing runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from components.contracts import (
    AXES,
    UNSHIFTED,
    Ensemble,
    EvaluationReport,
    RoomSample,
    TrainedPolicy,
    TrialOutcome,
    printable_value,
)
from components.datasets import EpisodeFrames
from components.evaluation._intervals import DRAWS
from components.evaluation._metrics import CONTINUOUS_WITHIN, WITHIN
from components.evaluation._truth import Actions, Truth

from . import _certainty_plots, _error_plots
from ._films import Film, failures, film
from ._pictures import Place, draw_frames, label
from ._plots import COLOURS, MARKS
from ._rooms import draw_rooms
from ._tables import BOARD, compared, confusion, figures, protocols, ranked, shift_rows
from ._verdict import judge

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,  # names and instructions come from episodes' files: they are hostile
    finalize=printable_value,
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)
_GLYPHS = {"o": "●", "v": "▼", "D": "◆", "s": "■", "^": "▲", "X": "✖"}


@dataclass(frozen=True)
class Material:
    """What the page shows beside the report's own figures."""

    truth: Truth
    episodes: Sequence[EpisodeFrames]
    """The test split."""
    predicted: Sequence[Actions]
    """The subject's, in the order of `episodes`."""
    outcomes: Sequence[TrialOutcome] = ()
    saliency: Mapping[Place, NDArray[np.floating]] = field(default_factory=dict)
    """Of the frames of `chosen_frames`: how much each part of them mattered to the subject."""


def render(report: EvaluationReport, material: Material) -> bytes:
    """UTF-8 HTML. Equal arguments give equal bytes."""
    page = _TEMPLATES.get_template("report.html.j2").render(
        report=report,
        digest=report.digest(),
        verdict=judge(report),
        parts=_parts(report),
        keys=material.truth.keys,
        draws=f"{DRAWS:,}",
        **_board(report),
        **_frames(report, material),
        **_rooms(report, material),
        plots=_plots(report, material),
        recipe=_recipe(report),
        instructions=sorted({item.instruction for item in material.episodes}),
    )
    return page.encode()


def _parts(report: EvaluationReport) -> list[tuple[str, str]]:
    """Anchor and title of what the page has, in its order."""
    found = [("leaderboard", "Leaderboard")]
    if protocols(report)[0]:
        found.append(("protocols", "Which frames count"))
    found += [("errors", "Errors"), ("keys", "Keys"), ("curves", "Learning curves"), ("certainty", "How sure it is")]
    found += [("senses", "Does it see and listen"), ("frames", "Ten frames"), ("driving", "Closed loop")]
    if report.shifts:
        found.append(("shifts", "Shifts"))
    return [*found, ("origin", "Origin")]


def _board(report: EvaluationReport) -> dict[str, Any]:
    tables, warnings = protocols(report)
    return {
        "scores": ranked(report),
        "board": [(title, figures(report, metric), digits) for title, metric, digits in BOARD],
        "comparisons": [item for item in report.comparisons if item.subject == report.subject],
        "limits": [str(limit) for limit in WITHIN],
        "protocols": tables,
        "warnings": warnings,
    }


def _frames(report: EvaluationReport, material: Material) -> dict[str, Any]:
    keys = material.truth.keys
    pictures = draw_frames(
        material.episodes, material.predicted, material.saliency,
        keys=keys, within=CONTINUOUS_WITHIN, seed=report.inputs.seed,
    )  # fmt: skip
    pressed = [label(row, keys=keys) for item in material.truth.episodes for row in item[1:]]
    guessed = [label(row, keys=keys) for item in material.predicted for row in item[1:]]
    return {
        "pictures": pictures,
        "lit": any(picture.mattered for picture in pictures),
        "confusion": confusion(pressed, guessed) if keys else None,
        "swapped": any(item.name == "swapped-instruction" for item in report.ablations),
        "reliabilities": [
            (item.policy, _certainty_plots.reliability(item, simulated=report.simulated)) for item in report.reliability
        ],
    }


def _rooms(report: EvaluationReport, material: Material) -> dict[str, Any]:
    driven = report.closed_loop
    scenarios, rows = shift_rows(report)
    lost = [
        item
        for item in material.outcomes
        if item.policy == report.subject and item.shift == UNSHIFTED and not item.success
    ]
    simulators = {item.sample.simulator for item in report.metrics if isinstance(item.sample, RoomSample)}
    return {
        "driven": driven,
        "plan": report.inputs.trials,
        "simulator": ", ".join(sorted(simulators)),
        "room_warnings": _warnings(report),
        "rooms": draw_rooms(driven, material.outcomes) if driven else [],
        "legend": [
            {"name": item.name, "colour": COLOURS[item.role], "mark": _GLYPHS[MARKS[item.role]]} for item in driven
        ],
        "films": _films(report, material),
        "failed": len(lost),
        "scenarios": scenarios,
        "shifts": rows,
    }


def _warnings(report: EvaluationReport) -> list[str]:
    """Of the metrics in unshifted rooms: what has to stand beside their figures, with their names."""
    named: dict[str, list[str]] = {}
    for item in report.metrics:
        sample = item.sample
        if item.warning and isinstance(sample, RoomSample) and sample.shift == UNSHIFTED and sample.scenario is None:
            named.setdefault(item.warning, []).append(item.name)
    return [f"{', '.join(names)}: {warning}" for warning, names in named.items()]


def _films(report: EvaluationReport, material: Material) -> list[Film]:
    return [film(item) for item in failures(material.outcomes, report.subject)]


def _plots(report: EvaluationReport, material: Material) -> dict[str, Any]:
    simulated, scores = report.simulated, ranked(report)
    some = compared(report)
    said = report.disagreement
    return {
        "errors": _error_plots.errors(scores, simulated=simulated),
        "by_axis": _error_plots.errors_by_axis(scores, report.axes, simulated=simulated),
        "by_scenario": _error_plots.errors_by_scenario(some, simulated=simulated),
        "by_frame": _error_plots.errors_by_frame(some, simulated=simulated),
        "scatter": [] if material.truth.keys else _scatter(report, material),
        "curves": _error_plots.learning_curves(report.curves, simulated=simulated),
        "risk": _certainty_plots.risk_coverage(said, simulated=simulated) if said else None,
        "novelty": _certainty_plots.novelty(said) if said else None,
        "ablations": _certainty_plots.ablations(report.ablations, simulated=simulated),
    }


def _scatter(report: EvaluationReport, material: Material) -> list[tuple[str, str]]:
    drawn: list[tuple[str, str]] = []
    for axis in report.axes:
        column = AXES.index(axis)
        driven, told = (
            np.concatenate([np.asarray(item[1:, column], dtype=float) for item in part])
            for part in (material.truth.episodes, material.predicted)
        )
        drawn.append((axis, _error_plots.true_against_predicted(driven, told, axis, simulated=report.simulated)))
    return drawn


def _recipe(report: EvaluationReport) -> list[tuple[str, str]]:
    policies: list[TrainedPolicy | Ensemble] = [*report.inputs.members, report.inputs.ensemble]
    subject = next(item for item in policies if item.name == report.subject)
    if isinstance(subject, TrainedPolicy):
        members = [(subject, 1.0)]
    else:
        members = list(zip(subject.members, subject.weights, strict=True))

    def words(member: TrainedPolicy, weight: float) -> str:
        return (
            f"weight {weight:.2f}, {member.spec.recipe} ({member.spec.backbone}, {member.spec.head}), "
            f"seed {member.spec.training.seed}, best epoch {member.best_epoch}"
        )

    return [(member.name, words(member, weight)) for member, weight in members]
