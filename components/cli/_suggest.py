"""`drover suggest`: what to record and what to take into training next."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from components.contracts import Settings
from components.contracts.errors import EvidenceError

from ._console import console

if TYPE_CHECKING:
    from components.contracts import Ensemble
    from components.evaluation import Suggestions
    from components.storage import ObjectStore

LATEST = "latest"


def suggest(
    dataset: Annotated[
        str, typer.Option(help="A dataset's version, or how it begins: its newest evaluated ensemble is asked.")
    ] = LATEST,
    *,
    episodes: Annotated[int, typer.Option(min=1, help="How many to suggest.")] = 10,
    most: Annotated[int, typer.Option(min=1, help="Candidates that are decoded, the youngest.")] = 200,
) -> None:
    """Rank scenarios to record, and recorded episodes to take into training, by what the ensemble does not know."""
    from components import datasets, evaluation, ingest, storage

    store = storage.connect(Settings())
    subject = _subject(store, dataset)
    found = evaluation.suggest(
        store,
        datasets.open_dataset(store, subject.dataset),
        subject,
        datasets.catalogue(store, ingest.records(store)),
        episodes=episodes,
        most=most,
    )
    _show(found)


def _subject(store: "ObjectStore", dataset: str) -> "Ensemble":
    """The newest evaluated ensemble of the dataset; of any, or else the promoted one, where none is named."""
    from components import datasets, evaluation, promotion

    version = None
    if dataset != LATEST:
        version = datasets.find_dataset(store, dataset).version
        asked = [report for report in evaluation.reports(store) if report.dataset == version]
    else:
        asked = [evaluation.open_report(store)] if evaluation.report_digests(store) else []
    if asked:
        return asked[0].inputs.ensemble
    promoted = promotion.find_incumbent(store)
    if promoted and version in {None, promoted.ensemble.dataset}:
        return promoted.ensemble
    raise EvidenceError(
        "expected an evaluated ensemble or a promoted policy to ask"
        + (f", trained on dataset {version[:12]}" if version else "")
        + ", found none; `drover run train-and-promote` makes one"
    )


def _show(found: "Suggestions") -> None:
    console.print(f"{found.subject} of dataset {found.dataset[:12]}; doubt is the {found.measure}")
    scenarios = _table("record next", "scenario", "doubt", "95 % interval", "episodes")
    for item in found.scenarios:
        doubt = item.doubt
        scenarios.add_row(
            item.scenario, f"{doubt.value:.3f}", f"{doubt.low:.3f} to {doubt.high:.3f}", str(doubt.n), item.reason
        )
    console.print(scenarios)
    if found.episodes:
        table = _table("take into training next", "episode", "scenario")
        for episode in found.episodes:
            deleted = " Deleted: `drover episodes restore` first." if episode.excluded else ""
            table.add_row(
                episode.sha256[:12], episode.scenario or "none", f"{episode.title}: {episode.reason}.{deleted}"
            )
        console.print(table)
    else:
        console.print("no episode to suggest: none was admitted since the dataset was built, and none is deleted")
    for why, count in found.left_out.items():
        console.print(f"{count} not ranked: {why}")


def _table(title: str, *columns: str) -> Table:
    """Names and figures stay whole on a narrow terminal; the reason beside them wraps."""
    return Table(
        *(Column(name, no_wrap=True) for name in columns), Column("why", overflow="fold"), box=None, title=title
    )
