"""`drover robot ...`: what a robot does."""

import contextlib
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.table import Table

from components.contracts import UNKNOWN_HARDWARE, Settings
from components.contracts.errors import ConfigurationError, InvalidDocumentError, StorageError
from components.terminal import styled

from ._console import console, fail_if

if TYPE_CHECKING:
    from components.contracts import EnrolledRobot
    from components.robot import UploadReport

app = typer.Typer(no_args_is_help=True, help="What a robot does: record, upload, take updates.")
_STANDARD_INPUT = "-"
_TOKEN_CHARACTERS = 256


@app.callback()
def robot_commands() -> None:
    """What a robot does: record, upload, take updates."""
    os.umask(0o077)  # whatever these commands write is for its owner alone


def _private_home() -> Settings:
    """The settings; their home, where it is there and this user's, is closed to others."""
    settings = Settings()
    with contextlib.suppress(FileNotFoundError):
        if settings.home.stat().st_uid == os.geteuid():
            settings.home.chmod(0o700)
    return settings


@app.command("simulate")
def robot_simulate(
    robots: Annotated[int, typer.Option(min=1)] = 4,
    episodes: Annotated[int, typer.Option(min=1)] = 96,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    spools: Annotated[Path | None, typer.Option(help="Their spools; default: below the home.")] = None,
) -> None:
    """Several simulated robots, each a process, record demonstrations and upload them."""
    from components import ingest, simulation, storage
    from infra.bar import bar

    settings = _private_home()
    enrol = partial(ingest.enrol_here, storage.connect(settings), settings, hardware="simulated")
    with bar("robots record") as show:
        done: set[str] = set()

        def note(event: simulation.FleetEvent) -> None:
            if event.kind in {"recorded", "skipped"}:
                done.add(event.episode)
                show(len(done), episodes)

        report = simulation.simulate_fleet(
            enrol,
            spools or settings.home / "robots",
            robots=robots,
            episodes=episodes,
            seed=seed,
            progress=note,
        )
    console.print(f"{len(report.recorded)} recorded, {len(report.skipped)} were there, {len(report.uploaded)} uploaded")
    fail_if(report.failed)


@app.command("join")
def robot_join(
    robot: Annotated[str, typer.Argument(help="Its id, e.g. robot-7.")],
    gateway: Annotated[str, typer.Option(help="The platform's gateway, e.g. https://drover.example:8443.")],
    token: Annotated[
        str,
        typer.Option(
            prompt="The token that `drover robot invite` printed",
            hide_input=True,
            envvar=["DROVER_JOIN_TOKEN", "DROVER_TOKEN"],
            help="`-` reads it from standard input. Every user of the machine can see what is on a command line.",
        ),
    ],
    hardware: Annotated[str, typer.Option(help="Its hardware id; without one it only uploads.")] = UNKNOWN_HARDWARE,
) -> None:
    """On the robot, once: make its key, and let the platform know it by a one-time token."""
    from components import robot as robots

    if token == _STANDARD_INPUT:
        token = sys.stdin.readline(_TOKEN_CHARACTERS).strip()
    home = _private_home().home / "robots" / robot / "agent"
    pin = robots.enrol(robot, token, home, gateway, hardware=hardware)
    console.print(f"{robot} may upload to {pin.url}; its key is in {home} and leaves it never")


@app.command("upload")
def robot_upload(
    folder: Annotated[
        Path | None, typer.Argument(help="A folder of episode files (*.h5); they are copied, never changed.")
    ] = None,
    *,
    robot: Annotated[str | None, typer.Option(help="Whose episodes they are; required.")] = None,
    follow: Annotated[
        bool, typer.Option(help="Pass after pass, until it is stopped: what a robot's service runs.")
    ] = False,
) -> None:
    """Send what waits in a robot's spool, or a folder of files, to the inbox; run it again to collect receipts.

    On the platform's own machine a new name is let in as a source of episodes: it uploads, and takes no releases.
    """
    from components import ingest, storage
    from components import robot as robots

    settings = _private_home()
    robot = robot or _no_name(settings, "--robot NAME")
    home = settings.home / "robots" / robot
    if not (home / "agent" / robots.PIN_FILE).exists():  # on the platform's machine nobody needs to be invited
        try:
            store = storage.connect(settings)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{robot} has not joined a platform (`drover robot join`), and none runs here: {error}"
            ) from None
        ingest.enrol_here(store, settings, robot, home / "agent")
    uploader = robots.Uploader(robots.Spool(home), robots.open_gateway(home / "agent"))
    uploader.spool.recover()
    report = robots.upload_folder(folder, uploader) if folder else uploader.sync()
    console.print(_upload_table(report))
    if follow:
        robots.run_uploader(uploader, stop=_until_signalled(), told=lambda done: console.print(_upload_table(done)))
    fail_if(report.failed)


def _no_name(settings: Settings, expected: str) -> NoReturn:
    """No robot is made up for who names none."""
    spools = settings.home / "robots"
    here = sorted(folder.name for folder in spools.iterdir() if folder.is_dir()) if spools.is_dir() else []
    raise ConfigurationError(f"expected {expected}, found none; in {spools} there are: {', '.join(here) or 'none'}")


def _until_signalled() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def _upload_table(report: "UploadReport") -> Table:
    table = Table("episode", "state", box=None, header_style="dim")
    if not any((report.sent, report.waiting, report.held, report.confirmed, report.failed)):
        table.add_row("none", "nothing waits in the spool")
    for name in report.sent:
        table.add_row(name, "sent")
    for name in report.waiting:
        table.add_row(name, "in the inbox, not ingested yet")
    for name, why in report.held.items():
        table.add_row(name, f"not now: {why}")
    for name in report.confirmed:
        rule = report.quarantined.get(name)
        table.add_row(name, styled((f"quarantined: {rule}", "yellow") if rule else ("accepted", "green")))
    return table


@app.command("status")
def robot_status(robot: Annotated[str | None, typer.Argument(help="Its id.")] = None) -> None:
    """What waits on a robot, and its alarms; ends with 1 if there is one."""
    from components import robot as robots

    settings = Settings()
    robot = robot or _no_name(settings, "its id")
    folder = settings.home / "robots" / robot
    if not folder.is_dir():
        raise ConfigurationError(f"expected the spool of {robot} at {folder}, found nothing; is that its name?")
    found = robots.Spool(folder).status()
    table = Table(box=None, show_header=False)
    for name, value in (
        ("spool", found.folder),
        ("used", f"{found.used_bytes / 1e6:,.1f} of {found.capacity_bytes / 1e6:,.0f} MB"),
        ("free on the disk", f"{found.disk_free_bytes / 1e6:,.0f} MB"),
        ("being recorded", str(found.recording)),
        ("to be sent", str(found.pending - found.sent)),
        ("sent, not confirmed", str(found.sent)),
        ("confirmed and deleted", str(found.confirmed)),
        ("no whole episodes", f"{found.quarantined} in quarantine/" if found.quarantined else "0"),
    ):
        table.add_row(name, value)
    console.print(table)
    for alarm in found.alarms:
        console.print(styled((f"ALARM {alarm.kind}", "red"), f" since {alarm.since:%Y-%m-%d %H:%M} UTC: {alarm.text}"))
    if found.alarms:
        raise typer.Exit(1)


@app.command("enrol")
def robot_enrol(
    robot: Annotated[str, typer.Argument(help="Its id, e.g. robot-1.")],
    hardware: Annotated[
        str, typer.Option(help="Its hardware id, as DROVER_RELEASE_HARDWARE names it; `unknown`: it takes no releases.")
    ],
    *,
    replace: Annotated[bool, typer.Option(help="It has a new key: the old one no longer counts.")] = False,
) -> None:
    """Let a robot take releases: its folder, key, root of trust, gateway and hardware.

    For a robot that is enrolled with the same key, the hardware is changed.
    """
    from components import ingest, promotion, storage

    settings = _private_home()
    store, home = storage.connect(settings), settings.home / "robots" / robot / "agent"
    repository = promotion.open_repository(store, settings)
    promotion.enrol_robot(store, repository, robot, home, hardware=hardware, replace=replace)
    if settings.gateway_url is None:
        console.print(f"no gateway is set (DROVER_GATEWAY_URL): what {robot} reports waits until it has joined one")
    else:
        ingest.enrol_here(store, settings, robot, home, hardware=hardware)
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

    settings = _private_home()
    home = settings.home / "robots" / robot / "agent"
    if fault := _why_no_agent(settings, robot, home):
        raise ConfigurationError(fault)
    state = run_agent(settings, robot, home, trial_driver=trial_driver, hardware=hardware, once=once)
    console.print(f"{robot}: {state}")


def _registered(settings: Settings, robot: str) -> "EnrolledRobot | str | None":
    """The registry's entry where the platform's identity is on this machine, or why there is none that counts."""
    from components import ingest, storage

    try:
        entry = ingest.enrolled_robot(storage.connect(settings, patience=2.0), robot)
    except (ConfigurationError, StorageError):
        return None  # a robot's own machine
    except InvalidDocumentError as error:
        return f"the registry's entry of {robot} cannot be read ({error}); see `drover robot list`"
    if entry is None:
        return f"{robot} is not enrolled"
    return f"{robot} was revoked" if entry.revoked else entry


def _why_no_agent(settings: Settings, robot: str, home: Path) -> str | None:
    """Why this robot's agent cannot run here: what its folder lacks, and what the registry says of it."""
    from components.robot import RobotIdentity, agent_home_fault

    entry, fault = _registered(settings, robot), agent_home_fault(robot, home)
    if isinstance(entry, str):
        return f"{entry}. In its folder: {fault or 'nothing is missing'}"
    if entry is None or fault:
        enrolled = f"{robot} is enrolled with hardware {entry.hardware} since {entry.enrolled_at:%F}; " if entry else ""
        return enrolled + fault if fault else None
    if RobotIdentity(home).public_key != entry.public_key:
        return (
            f"{robot} is enrolled with another key than {home} holds, so nothing that it reports counts. Run the agent "
            f"with the folder that it was enrolled with, or give it this key: `drover robot enrol {robot} --hardware "
            f"{entry.hardware} --replace`"
        )
    return None
