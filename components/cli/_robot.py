"""`drover robot ...`: what a robot does."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from components.contracts import Settings

from ._console import console, fail_if

app = typer.Typer(no_args_is_help=True, help="What a robot does: record, upload, take updates.")


@app.command("simulate")
def robot_simulate(
    robots: Annotated[int, typer.Option(min=1)] = 4,
    episodes: Annotated[int, typer.Option(min=1)] = 96,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    spools: Annotated[Path | None, typer.Option(help="Their spools; default: below the home.")] = None,
) -> None:
    """Several simulated robots, each a process, record demonstrations and upload them."""
    from components import simulation, storage
    from infra.bar import bar

    settings = Settings()
    open_store = partial(storage.connect, settings, identity="robot")
    open_store()  # what is missing is said once, not by every robot
    with bar("robots record") as show:
        done: set[str] = set()

        def note(event: simulation.FleetEvent) -> None:
            if event.kind in {"recorded", "skipped"}:
                done.add(event.episode)
                show(len(done), episodes)

        report = simulation.simulate_fleet(
            open_store,
            spools or settings.home / "robots",
            robots=robots,
            episodes=episodes,
            seed=seed,
            progress=note,
        )
    console.print(f"{len(report.recorded)} recorded, {len(report.skipped)} were there, {len(report.uploaded)} uploaded")
    fail_if(report.failed)


@app.command("upload")
def robot_upload(
    folder: Annotated[Path, typer.Argument(help="A folder of episode files (*.h5); they are copied, never changed.")],
    robot: Annotated[str, typer.Option(help="Whose episodes they are.")] = "robot-1",
) -> None:
    """Send existing episode files to the inbox; run it again to collect receipts."""
    from components import robot as robots
    from components import storage

    settings = Settings()
    store = storage.connect(settings, identity="robot")
    spool = robots.Spool(settings.home / "robots" / robot)
    spool.recover()
    report = robots.upload_folder(folder, robots.Uploader(spool, store, robot))
    table = Table("episode", "state", box=None, header_style="dim")
    for name in report.sent:
        table.add_row(name, "sent")
    for name in report.waiting:
        table.add_row(name, "in the inbox, not ingested yet")
    for name in report.confirmed:
        rule = report.quarantined.get(name)
        table.add_row(name, f"[yellow]quarantined: {rule}[/]" if rule else "[green]accepted[/]")
    console.print(table)
    fail_if(report.failed)


@app.command("enrol")
def robot_enrol(
    robot: Annotated[str, typer.Argument(help="Its id, e.g. robot-1.")],
    hardware: Annotated[str, typer.Option(help="Its hardware id.")] = "simulated",
    *,
    replace: Annotated[bool, typer.Option(help="It has a new key: the old one no longer counts.")] = False,
) -> None:
    """Make a robot's folder with its own key and its root of trust, and register it with the platform."""
    from components import promotion, storage

    settings = Settings()
    store, home = storage.connect(settings), settings.home / "robots" / robot / "agent"
    repository = promotion.open_repository(store, settings)
    promotion.enrol_robot(store, repository, robot, home, hardware=hardware, replace=replace)
    console.print(f"{robot} is enrolled: {home}")


@app.command("agent")
def robot_agent(
    robot: str,
    trial_driver: Annotated[str, typer.Option(help="module:function that drives trials.")],
    hardware: str | None = None,
    *,
    once: bool = False,
) -> None:
    """Run a robot's update agent until it is stopped."""
    from components.robot import run_agent

    settings = Settings()
    home = settings.home / "robots" / robot / "agent"
    state = run_agent(settings, robot, home, trial_driver=trial_driver, hardware=hardware, once=once)
    console.print(f"{robot}: {state}")
