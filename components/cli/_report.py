"""`drover report`, `drover compare` and `drover leaderboard`: what was measured, in the terminal and as files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from components.contracts import EvaluationReport, Settings
from components.contracts.errors import ConfigurationError
from components.terminal import echo_json, styled

from ._console import console
from ._report_tables import board, closed_loop, paired_trials, scores, shifts, side_by_side

if TYPE_CHECKING:
    from components.evaluation import Verdict, Versus
    from components.storage import ObjectStore

Wanted = Annotated[str, typer.Argument(metavar="ID", help="How a report's digest begins, or `latest`.")]
_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "dim")}


def report(
    wanted: Wanted = "latest",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report's document, and end.")] = False,
    save: Annotated[Path | None, typer.Option(help="Write report.html and report.json into this folder.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the document's JSON schema, and end.")] = False,
) -> None:
    """One evaluation: verdict, leaderboard, closed loop, shifts, and where its page is."""
    if schema:
        echo_json(json.dumps(EvaluationReport.model_json_schema(), indent=2))
        return
    from components import evaluation, storage

    settings = Settings()
    store = storage.connect(settings)
    found = evaluation.open_report(store, wanted)
    if as_json:
        echo_json(found.canonical_json().decode())
        return
    _show(found, evaluation.judge(found))
    if save is not None:
        _save(store, found, save)
    storage.read_page(store, found.page_key)  # where one is refused, its address is not given either
    console.print(f"page: {storage.page_url(settings, store, found.page_key, sign_in=True)}")


def _show(found: EvaluationReport, verdict: "Verdict") -> None:
    about = f"evaluation {found.digest()[:12]}: {found.subject} on dataset {found.dataset[:12]}"
    console.print(f"{about}, {found.episodes} test episodes, {found.frames} frames")
    console.print(verdict.headline, style="bold green" if verdict.good else "bold red")
    for reason in verdict.reasons:
        mark, colour = _MARKS[reason.good]
        line = styled((mark, colour), f" {reason.text}")
        console.print(line.append(" simulated", "yellow") if reason.simulated else line)
    tables = [scores(found), closed_loop(found), paired_trials(found), shifts(found)]
    for table in tables:
        if table is not None:
            console.print(table)


def _save(store: "ObjectStore", found: EvaluationReport, folder: Path) -> None:
    """A file that is there stays, unless it holds the same bytes."""
    from components import storage

    files = {"report.html": storage.read_page(store, found.page_key), "report.json": found.canonical_json()}
    for name, data in files.items():
        target = folder / name
        if target.exists() and target.read_bytes() != data:
            raise ConfigurationError(f"{target} is there already and is another report; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
        console.print(f"wrote {folder / name}")


def compare(first: Wanted, second: Wanted) -> None:
    """Two evaluations side by side. A difference is stated where it is paired, and nowhere else."""
    from components import evaluation, storage

    store = storage.connect(Settings())
    reports = [evaluation.open_report(store, wanted) for wanted in (first, second)]
    found = evaluation.stand_beside(store, *reports)
    console.print(side_by_side(found))
    for line in _told(found):
        console.print(line)


def _told(found: "Versus") -> list[Text]:
    """What may be said of the two together."""
    from components.evaluation import words

    lines = []
    if found.same_subject:
        lines.append(styled("Both reports are about the same policy."))
    if not found.same_dataset:
        lines.append(
            styled("Figures on frames are not comparable: the reports are on different test data.", style="yellow")
        )
    if found.frames:
        gain = found.frames.mae_gain
        lines.append(
            styled(
                f"Paired by episode (report {found.frames.report[:12]}): A's MAE is lower than B's by "
                f"{words(gain, sign=True)}, its key accuracy higher by "
                f"{words(found.frames.key_accuracy_gain, sign=True)}, n={gain.n}: {_said(gain.low, gain.high)}."
            )
        )
        if found.frames.trained_elsewhere:
            elsewhere = "One of them was trained on another dataset; whether it saw these frames is not checked."
            lines.append(styled(elsewhere, style="yellow"))
    if found.trials:
        gain = found.trials.difference
        test = "" if found.trials.p_value is None else f", McNemar p={found.trials.p_value:.3g}"
        lines.append(
            styled(
                f"Paired by room: A succeeds more often than B by {words(gain, 2, sign=True)} in {gain.n} rooms "
                f"(A alone {found.trials.subject_only}, B alone {found.trials.reference_only}{test}): "
                f"{_said(gain.low, gain.high)}. ",
                ("simulated", "yellow"),
            )
        )
    return lines + [styled(f"Not paired: {why}. No conclusion.", style="yellow") for why in found.unpaired]


def _said(low: float, high: float) -> str:
    return "A is better" if low > 1e-9 else "B is better" if high < -1e-9 else "not told apart"


def leaderboard(
    dataset: Annotated[str | None, typer.Option(help="Only this one, by how its version begins.")] = None,
) -> None:
    """All evaluated policies by dataset, lowest error first. Different test data is never in one ranking."""
    from components import evaluation, storage

    boards = evaluation.standings(evaluation.reports(storage.connect(Settings())), dataset)
    if not boards:
        console.print("there is no evaluation yet; `train-and-promote` makes one")
    for item in boards:
        table: Table = board(item)
        console.print(table)
        if item.older:
            console.print(f"{item.older} older reports on the same subjects are left out", style="dim")
