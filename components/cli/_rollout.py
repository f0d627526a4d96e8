"""`drover rollout ...`: releases on their way to the fleet."""

from typing import Annotated

import typer
from rich.table import Table

from components.contracts import Settings
from components.contracts.errors import ConfigurationError

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


@app.command("rollback")
def rollout_rollback(
    to: Annotated[
        str | None, typer.Option(metavar="RELEASE", help="Go back to this release; default: the one before.")
    ] = None,
    *,
    safe_stop: Annotated[bool, typer.Option("--safe-stop", help="Go back to no policy: the robots stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Give every robot that runs something newer an older release, at once; a rollout under way is halted first."""
    from components import promotion, storage

    if to and safe_stop:
        raise ConfigurationError("expected --to or --safe-stop, got both")
    settings = Settings()
    store = storage.connect(settings)
    repository = promotion.open_repository(store, settings)
    plan = promotion.plan_rollback(store, repository, to=to, safe_stop=safe_stop)
    name = plan.target.name if plan.target else "no policy (safe stop)"
    table = Table("robot", "now", "after", "note", box=None, header_style="dim")
    for change in plan.changes:
        table.add_row(change.robot, change.before, name, change.note)
    console.print(table)
    console.print(f"{len(plan.changes)} robots go to {name}; rollouts that end: {', '.join(plan.ends) or 'none'}")
    if not yes:
        typer.confirm("Roll back?", abort=True)
    for state in promotion.order_rollback(store, repository, plan.target):
        console.print(f"{state.plan.deployment}: {state.status}, {state.reason}")
    console.print("assigned; `drover robot show NAME` says when a robot has taken it")
