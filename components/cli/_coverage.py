"""`drover coverage`: what the collection plan still misses."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from components.contracts import Settings
from components.contracts.errors import ConfigurationError
from components.terminal import styled

from ._console import console

if TYPE_CHECKING:
    from components.checks import CellCount, Coverage

_NEXT = 8


def coverage(
    source: Annotated[str | None, typer.Option(help="Count only episodes of this source, e.g. robot.")] = None,
    *,
    init: Annotated[bool, typer.Option("--init", help="Write the default plan where it is edited, and end.")] = False,
) -> None:
    """Episodes against the collection plan, what to record next, and a heat map."""
    from components import checks, datasets, ingest, storage

    settings = Settings()
    if init:
        target = settings.collection_plan or settings.home / checks.PLAN_FILE
        try:
            checks.write_default(checks.PLAN_DEFAULTS, target)
        except FileExistsError:
            raise ConfigurationError(f"{target} is there already; edit it") from None
        console.print(f"edit {target}")
        return
    plan, store = checks.load_plan(settings), storage.connect(settings)
    records = datasets.curate(store, ingest.records(store))
    summaries = [record.summary for record in records if source in {None, record.summary.source}]
    found = checks.coverage(summaries, plan)
    for table in _tables(found):
        console.print(table)
    console.print(f"{found.filled} of {found.wanted} planned episodes are there; {found.episodes} in the collection")
    for axis, count in found.unplaced.items():
        console.print(f"{count} fill nothing: their {axis} is unknown or not in the plan", style="yellow")
    for item in found.next(_NEXT):
        cell = ", ".join(part for part in item.cell if part)
        console.print(f"record next: {cell}: {item.missing} more ({item.found} of {item.wanted})")
    page = checks.keep_coverage(store, found)
    console.print(f"heat map: {storage.page_url(settings, store, page.key, sign_in=True)}")


def _tables(found: "Coverage") -> list[Table]:
    """One a pattern: scenarios down, distances across, positions within a field."""
    axes = found.plan.axes
    counts = {item.cell: item for item in found.cells}
    positions = axes.positions or (None,)
    tables = []
    for pattern in axes.patterns or (None,):
        order = "/".join(axes.positions) or "episodes"
        table = Table("scenario", *(axes.distances or ("all",)), title=f"{pattern or 'all'}: {order}", box=None)
        for scenario in axes.scenarios or (None,):
            fields = [
                styled("  ").join(_field(counts[scenario, pattern, distance, position]) for position in positions)
                for distance in (axes.distances or (None,))
            ]
            table.add_row(scenario or "all", *fields)
        tables.append(table)
    return tables


def _field(item: "CellCount") -> Text:
    colour = "green" if not item.missing else "red" if not item.found else "yellow"
    return styled((f"{item.found}/{item.wanted}", colour))
