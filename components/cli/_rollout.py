"""`drover rollout ...`: releases on their way to the fleet."""

from typing import Annotated

import typer
from rich.table import Table

from components.contracts import Settings

from ._console import console

app = typer.Typer(no_args_is_help=True, help="Releases on their way to the fleet.")


@app.command("list")
def rollout_list() -> None:
    """Every rollout and where it stands."""
    from components import promotion, storage

    table = Table("rollout", "state", "phase", "committed", "failed", "why", box=None, header_style="dim")
    for state in promotion.rollouts(storage.connect(Settings())):
        plan = state.plan
        phase = plan.phases[min(state.phase, len(plan.phases) - 1)].name
        done = f"{len(state.committed)}/{len(plan.robots)}"
        table.add_row(plan.deployment, state.status, phase, done, ", ".join(state.failed), state.reason)
    console.print(table)


@app.command("abort")
def rollout_abort(deployment: Annotated[str, typer.Argument(help="The rollout's name.")]) -> None:
    """Stop it now: no robot is assigned any more, and those that were reached get the previous release back."""
    from components import promotion, storage

    settings = Settings()
    store = storage.connect(settings)
    state = promotion.abort_rollout(store, promotion.open_repository(store, settings), deployment)
    console.print(f"{deployment}: {state.status}, {state.reason}")


@app.command("resume")
def rollout_resume(deployment: Annotated[str, typer.Argument(help="The rollout's name.")]) -> None:
    """Go on with a paused rollout."""
    from components import promotion, storage

    state = promotion.resume_rollout(storage.connect(Settings()), deployment)
    console.print(f"{deployment}: {state.status}, {state.reason}")
