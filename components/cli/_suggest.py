"""`drover suggest`: what to record and what to take into training next."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

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

    version = None if dataset == LATEST else datasets.find_dataset(store, dataset).version
    for report in evaluation.reports(store):
        if version in {None, report.dataset}:
            return report.inputs.ensemble
    promoted = promotion.find_incumbent(store)
    if promoted and version in {None, promoted.ensemble.dataset}:
        return promoted.ensemble
    raise EvidenceError(
        "expected an evaluated ensemble or a promoted policy to ask"
        + (f", trained on dataset {version[:12]}" if version else "")
        + ", found none; `prefect deployment run train-and-promote/on-demand` makes one"
    )


def _show(found: "Suggestions") -> None:
    console.print(f"{found.subject} of dataset {found.dataset[:12]}; doubt is the {found.measure}", highlight=False)
    scenarios = Table("scenario", "doubt", "95 % interval", "episodes", "why", box=None, title="record next")
    for item in found.scenarios:
        doubt = item.doubt
        scenarios.add_row(
            item.scenario, f"{doubt.value:.3f}", f"{doubt.low:.3f} to {doubt.high:.3f}", str(doubt.n), item.reason
        )
    console.print(scenarios)
    if found.episodes:
        table = Table("episode", "scenario", "session", "why", box=None, title="take into training next")
        for episode in found.episodes:
            name = f"{episode.sha256[:12]} {episode.title}{' (deleted: restore it)' if episode.excluded else ''}"
            table.add_row(name, episode.scenario or "none", episode.session, episode.reason)
        console.print(table)
    else:
        console.print("no episode to suggest: none was admitted since the dataset was built, and none is deleted")
    for why, count in found.left_out.items():
        console.print(f"{count} not ranked: {why}", highlight=False)
