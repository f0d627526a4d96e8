"""`drover ...`: thin, every command calls one door. Rooms are imported where they are called."""

import os
import sys
import traceback
from typing import NoReturn

import typer

from components.contracts import plain_logs, printable_lines
from components.contracts.errors import DroverError
from components.terminal import Console, styled

from . import (
    _checks,
    _collections,
    _coverage,
    _dataset,
    _episodes,
    _export,
    _fleet,
    _gate,
    _gc,
    _import,
    _logs,
    _quarantine,
    _rebuild,
    _report,
    _robot,
    _rollout,
    _run,
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
app.command("run")(_run.run)
app.command("logs")(_logs.logs)
_robot.app.add_typer(_fleet.app)
app.add_typer(_robot.app, name="robot")
app.add_typer(_import.app, name="import")
app.add_typer(_export.app, name="export")
app.add_typer(_quarantine.app, name="quarantine")
_episodes.app.add_typer(_collections.app)
app.add_typer(_episodes.app, name="episodes")
app.add_typer(_dataset.app, name="dataset")
app.add_typer(_checks.app, name="checks")
app.command("coverage")(_coverage.coverage)
app.command("suggest")(_suggest.suggest)
app.add_typer(_rollout.app, name="rollout")
app.add_typer(_gate.app, name="gate")
app.command("gc")(_gc.gc)
app.command("rebuild")(_rebuild.rebuild)
app.command("report")(_report.report)
app.command("compare")(_report.compare)
app.command("leaderboard")(_report.leaderboard)

__all__ = ["app", "main"]


def main() -> None:
    """The console script: errors that Drover raises on purpose, and a user's slips, are one message, never a trace."""
    plain_logs()
    try:
        status = app(standalone_mode=False)  # Typer's own panels pass on escape sequences
    except DroverError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        _fail(f"this command needs {error.name}, which a robot's installation leaves out: install drover[platform]")
    except BrokenPipeError:  # whoever read, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is flushed at the end goes nowhere
        sys.exit(0)
    except typer.Abort:
        _fail("aborted; nothing was changed")
    except typer.TyperException as error:
        message = " ".join(error.format_message().split())
        if not message:  # a group without a command has shown its help
            sys.exit(error.exit_code)
        _fail(f"{message.rstrip('.')}; see `--help`", error.exit_code)
    except Exception:  # noqa: BLE001  # a fault of ours: its trace, with whatever text is in it
        sys.stderr.write(printable_lines(traceback.format_exc().rstrip()) + "\n")
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int = 1) -> NoReturn:
    Console(stderr=True).print(styled(("error:", "red"), f" {message}"))
    sys.exit(status)
