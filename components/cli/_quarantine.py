"""`drover quarantine ...`: uploads that broke a rule."""

import typer
from rich.table import Table

from components.contracts import Settings

from ._console import console

app = typer.Typer(no_args_is_help=True, help="Uploads that broke a rule.")


@app.command("list")
def quarantine_list() -> None:
    """What was put aside, and why."""
    from components import ingest, storage

    table = Table("episode", "robot", "rule", "expected", "observed", box=None, header_style="dim")
    for item in ingest.quarantined(storage.connect(Settings())):
        finding = item.finding
        table.add_row(item.name, item.robot or "?", finding.rule, finding.expected, finding.observed)
    console.print(table)
