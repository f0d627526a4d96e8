"""`drover ...`: thin, every command calls one door. Rooms are imported where they are called."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.contracts import Settings
from components.contracts.errors import ConfigurationError, DroverError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From what robots saw to a better policy on each.",
)
robot_app = typer.Typer(no_args_is_help=True, help="What a robot does: record, upload, take updates.")
import_app = typer.Typer(no_args_is_help=True, help="Other people's recordings as episodes.")
quarantine_app = typer.Typer(no_args_is_help=True, help="Uploads that broke a rule.")
rollout_app = typer.Typer(no_args_is_help=True, help="Releases on their way to the fleet.")
app.add_typer(robot_app, name="robot")
app.add_typer(import_app, name="import")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(rollout_app, name="rollout")

console = Console()
StoreOption = Annotated[str, typer.Option("--store", help="seaweedfs (embedded) or minio (a binary on the PATH).")]


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


@app.command()
def up(store: StoreOption = "seaweedfs", *, foreground: bool = False) -> None:
    """Start the embedded stack and leave it running; a second `up` finds the first."""
    from infra import local

    if store not in {"seaweedfs", "minio"}:
        raise ConfigurationError(f"--store: expected seaweedfs or minio, got {store!r}")
    if foreground:
        local.run(Settings(), store=store)  # type: ignore[arg-type]  # checked above
    else:
        console.print(_stack_table(local.up(Settings(), store=store)))  # type: ignore[arg-type]


@app.command()
def down() -> None:
    """End the embedded stack."""
    from infra import local

    ended = local.down(Settings())
    console.print(f"ended {ended} processes" if ended else "nothing was running")


@app.command()
def status() -> None:
    """What runs, where, since when."""
    from components import promotion
    from infra import local

    settings = Settings()
    rows = local.status(settings)
    console.print(_stack_table(rows) if rows else "nothing is running: start it with `drover up`")
    if (promotion.keys_folder(settings) / promotion.WARNING_FILE).exists():
        console.print("[yellow]releases are signed with DEMO KEYS: they prove nothing (docs/operations.md)[/]")


@app.command()
def demo(
    robots: Annotated[int, typer.Option(min=1, help="Robots that record.")] = 4,
    episodes: Annotated[int, typer.Option(min=24, help="Episodes that they record in all.")] = 128,
    json: Annotated[Path | None, typer.Option(help="Write the result for machines (docs/demo.schema.json).")] = None,
) -> None:
    """The whole loop on this machine: robots, episodes, policies, evidence, release, fleet."""
    from infra import demo as story

    result = story.run_demo(robots=robots, episodes=episodes, console=console)
    if json:
        json.write_text(result.model_dump_json(indent=2))
    raise typer.Exit(0 if result.promotion.decision != "refused" else 3)


@robot_app.command("simulate")
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
    _fail_if(report.failed)


@robot_app.command("upload")
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
    _fail_if(report.failed)


@robot_app.command("enrol")
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


@robot_app.command("agent")
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


@import_app.command("donkey")
def import_donkey(
    tub: Annotated[Path, typer.Argument(help="A Donkey tub (version 2): a folder or a .tar.gz.")],
    out: Annotated[Path, typer.Option(help="Folder for the episode files.")] = Path("episodes"),
    robot: Annotated[str, typer.Option(help="Whose episodes they become.")] = "donkey",
    frames: Annotated[int, typer.Option(min=2, help="Frames an episode.")] = 50,
) -> None:
    """Turn a Donkey tub into episode files; then `drover robot upload` sends them."""
    from components import episodes

    files = episodes.import_donkey(tub, out, robot=robot, frames_per_episode=frames)
    console.print(f"{len(files)} episodes in {out}; send them: drover robot upload {out} --robot {robot}")


@rollout_app.command("list")
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


@rollout_app.command("abort")
def rollout_abort(deployment: Annotated[str, typer.Argument(help="The rollout's name.")]) -> None:
    """Stop it now: no robot is assigned any more, and those that were reached get the previous release back."""
    from components import promotion, storage

    settings = Settings()
    store = storage.connect(settings)
    state = promotion.abort_rollout(store, promotion.open_repository(store, settings), deployment)
    console.print(f"{deployment}: {state.status}, {state.reason}")


@rollout_app.command("resume")
def rollout_resume(deployment: Annotated[str, typer.Argument(help="The rollout's name.")]) -> None:
    """Go on with a paused rollout."""
    from components import promotion, storage

    state = promotion.resume_rollout(storage.connect(Settings()), deployment)
    console.print(f"{deployment}: {state.status}, {state.reason}")


@quarantine_app.command("list")
def quarantine_list() -> None:
    """What was put aside, and why."""
    from components import ingest, storage

    table = Table("episode", "robot", "rule", "expected", "observed", box=None, header_style="dim")
    for item in ingest.quarantined(storage.connect(Settings())):
        finding = item.finding
        table.add_row(item.name, item.robot or "?", finding.rule, finding.expected, finding.observed)
    console.print(table)


def _stack_table(rows: list[Any]) -> Table:
    table = Table("part", "where", "pid", "state", "since", "restarts", "MiB", "", box=None, header_style="dim")
    for row in rows:
        since = f"{row.since:%Y-%m-%d %H:%M:%S}" if row.since else ""
        colour = {"running": "green", "waiting": "dim"}.get(row.state, "yellow")
        table.add_row(
            row.name, row.where, str(row.pid or ""), f"[{colour}]{row.state}[/]", since, str(row.restarts),
            f"{row.memory_mib:,.0f}", row.note,
        )  # fmt: skip
    return table


def _fail_if(failed: dict[str, str]) -> None:
    for name, why in failed.items():
        console.print(f"[red]{name}[/]: {why}", highlight=False)
    if failed:
        raise typer.Exit(1)
