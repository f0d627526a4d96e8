"""`drover ...`: thin, every command calls one door. Rooms are imported where they are called."""

import sys
from typing import NoReturn

import typer
from rich.console import Console
from rich.text import Text

from components.contracts.errors import DroverError

from . import (
    _checks,
    _collections,
    _coverage,
    _episodes,
    _export,
    _fleet,
    _gate,
    _import,
    _quarantine,
    _rebuild,
    _report,
    _robot,
    _rollout,
    _stack,
    _suggest,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From what robots saw to a better policy on each.",
)
app.add_typer(_stack.app)
_robot.app.add_typer(_fleet.app)
app.add_typer(_robot.app, name="robot")
app.add_typer(_import.app, name="import")
app.add_typer(_export.app, name="export")
app.add_typer(_quarantine.app, name="quarantine")
_episodes.app.add_typer(_collections.app)
app.add_typer(_episodes.app, name="episodes")
app.add_typer(_checks.app, name="checks")
app.command("coverage")(_coverage.coverage)
app.command("suggest")(_suggest.suggest)
app.add_typer(_rollout.app, name="rollout")
app.add_typer(_gate.app, name="gate")
app.command("rebuild")(_rebuild.rebuild)
app.command("report")(_report.report)
app.command("compare")(_report.compare)
app.command("leaderboard")(_report.leaderboard)

__all__ = ["app", "main"]


def main() -> None:
    """The console script: errors that Drover raises on purpose are one message, never a trace."""
    try:
        app()
    except DroverError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail(f"this command needs {error.name}, which a robot's installation leaves out: install drover[platform]")


def _fail(message: str) -> NoReturn:
    Console(stderr=True).print("[red]error:[/]", Text(message), highlight=False)
    sys.exit(1)
