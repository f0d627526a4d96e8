"""The report as one self-contained page: nothing is fetched, nothing runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from components.contracts import Ensemble, EvaluationReport, OpenLoopScore, TrainedPolicy, TrialOutcome
from components.datasets import EpisodeFrames

from . import _plots
from ._closed_loop import DrivenRow, rows
from ._intervals import DRAWS
from ._metrics import CONTINUOUS_WITHIN, WITHIN, Actions, Truth
from ._pictures import draw_frames, label
from ._rooms import draw_rooms
from ._verdict import judge

_BLIND = "median-per-step-and-scenario"
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,  # names and instructions come from episodes' files: they are hostile
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True)
class Material:
    """What the page shows beside the report's own figures."""

    subject: TrainedPolicy | Ensemble
    truth: Truth
    episodes: Sequence[EpisodeFrames]
    """The test split."""
    predicted: Sequence[Actions]
    """The subject's, in the order of `episodes`."""
    outcomes: Sequence[TrialOutcome]
    seed: int


def render(report: EvaluationReport, material: Material) -> bytes:
    """UTF-8 HTML. Equal arguments give equal bytes."""
    scores = sorted(report.scores, key=lambda score: score.mae.value)
    driven: list[DrivenRow] = rows(report.closed_loop, material.outcomes)
    page = _TEMPLATES.get_template("report.html.j2").render(
        report=report,
        verdict=judge(report),
        scores=scores,
        comparisons=[item for item in report.comparisons if item.subject == report.subject],
        driven=driven,
        plots=_all_plots(report, material, scores),
        pictures=draw_frames(
            material.episodes,
            material.predicted,
            keys=material.truth.keys,
            within=CONTINUOUS_WITHIN,
            seed=material.seed,
        ),
        keys=material.truth.keys,
        limits=[str(limit) for limit in WITHIN],
        swapped=any(item.name == "swapped-instruction" for item in report.ablations),
        instructions=sorted({item.instruction for item in material.episodes}),
        simulated_frames="simulated" in report.sources,
        recipe=_recipe(material.subject),
        draws=f"{DRAWS:,}",
        seed=material.seed,
    )
    return page.encode()


def _all_plots(
    report: EvaluationReport, material: Material, scores: Sequence[OpenLoopScore]
) -> Mapping[str, str | None]:
    named = {score.name: score for score in scores}
    truth = material.truth
    if truth.keys:
        actions = _plots.confusion(*_confusion(truth, material.predicted), report.subject)
    else:
        driven, predicted = truth.frames(truth.episodes), truth.frames(material.predicted)
        actions = _plots.true_against_predicted(driven, predicted, truth.axes)
    return {
        "errors": _plots.errors(scores, report.axes),
        "by_scenario": _plots.errors_by_scenario([named[report.subject], named[_BLIND]]),
        "actions": actions,
        "curves": _plots.learning_curves(report.curves),
        "trajectories": draw_rooms(report.closed_loop, material.outcomes) if report.closed_loop else None,
    }


def _confusion(truth: Truth, predicted: Sequence[Actions]) -> tuple[list[str], NDArray[np.int64]]:
    """Labels and (K, K) counts of the keys that were pressed or predicted, the commonest first."""
    pressed = [label(row, keys=True) for item in truth.episodes for row in item[1:]]
    guessed = [label(row, keys=True) for item in predicted for row in item[1:]]
    labels, counts = np.unique(pressed, return_counts=True)
    ordered = [str(name) for name in labels[np.argsort(-counts, kind="stable")]]
    ordered += sorted(set(guessed) - set(ordered))
    index = {name: position for position, name in enumerate(ordered)}
    table = np.zeros((len(ordered), len(ordered)), dtype=np.int64)
    np.add.at(table, ([index[name] for name in pressed], [index[name] for name in guessed]), 1)
    return ordered, table


def _recipe(subject: TrainedPolicy | Ensemble) -> list[tuple[str, str]]:
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
