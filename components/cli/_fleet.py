"""`drover robot invite|revoke|list|show`: who belongs to the fleet, and what it runs."""

from datetime import datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from components.contracts import UNKNOWN_HARDWARE, Settings
from components.terminal import echo, echo_json, styled

from ._console import console

app = typer.Typer()


@app.command("invite")
def robot_invite(
    robot: Annotated[str, typer.Argument(help="Its id, e.g. robot-7.")],
    hours: Annotated[float, typer.Option(min=0.01, help="How long the token is good.")] = 24.0,
    *,
    replace: Annotated[bool, typer.Option(help="It is enrolled or was revoked, and comes with a new key.")] = False,
) -> None:
    """Print a one-time token with which this robot enrols itself (`drover robot join`, on the robot)."""
    from components import ingest, storage

    settings = Settings()
    token = ingest.invite_robot(storage.connect(settings), robot, replace=replace, life=timedelta(hours=hours))
    where = settings.gateway_url or "<the gateway's URL>"
    console.print(f"On the robot, once, within {hours:g} h:")
    console.print(f"  drover robot join {robot} --gateway {where}")
    console.print("The token that it asks for is shown here only, and is good once:")
    echo(token)


@app.command("revoke")
def robot_revoke(robot: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """A robot that is stolen or gone: no uploads and no assignments from now on, and its reports are ignored."""
    from components import ingest, storage

    same_key = ingest.revoke_robot(storage.connect(Settings()), robot)
    console.print(f"{robot} is revoked; `drover robot invite {robot} --replace` lets it in again with a new key")
    for other in same_key:
        console.print(f"{other} has the same key and is still enrolled: `drover robot revoke {other}` shuts it out too")


@app.command("list")
def robot_list() -> None:
    """Every robot and source of episodes that was ever enrolled."""
    from components import ingest, storage

    settings, unnamed = Settings(), set()
    table = Table("robot", "state", "hardware", "enrolled (UTC)", "key", box=None, header_style="dim")
    entries, damaged = ingest.read_fleet(storage.connect(settings))
    for entry in entries:
        state = styled(("revoked", "red") if entry.revoked else ("enrolled", "green"))
        known = entry.hardware != UNKNOWN_HARDWARE
        hardware = entry.hardware if known else "none: uploads only"
        table.add_row(
            entry.robot, state, hardware, f"{entry.enrolled_at:%Y-%m-%d %H:%M}", entry.public_key[:16] + "..."
        )
        if entry.takes_releases and entry.hardware not in settings.release_hardware:
            unnamed.add(entry.hardware)
    for robot in damaged:
        table.add_row(robot, styled(("damaged", "red")), "", "", "")
    console.print(table)
    if unnamed:
        console.print(f"No release is for {', '.join(sorted(unnamed))}: DROVER_RELEASE_HARDWARE does not name it.")
    for robot, why in damaged.items():
        console.print(f"{robot} counts for nothing, its entry cannot be read: {why}")
        console.print(f"  drover robot invite {robot} --replace lets it in with a new key; revoke shuts it out")


@app.command("show")
def robot_show(
    robot: Annotated[str, typer.Argument(help="Its id.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Which release a robot runs, which it should run, and why they differ; ends with 1 if it is not enrolled."""
    from components import promotion, storage

    settings = Settings()
    sheet = promotion.show_robot(storage.connect(settings), settings, robot)
    if as_json:
        echo_json(sheet.model_dump_json(indent=2))
    else:
        table = Table(box=None, show_header=False)
        for name, value in (
            ("robot", sheet.robot),
            ("state", styled((sheet.state, "green" if sheet.state == "up-to-date" else "yellow"))),
            ("reason", sheet.reason),
            ("what to do", sheet.to_do or "nothing"),
            ("runs", sheet.runs or "nothing that it reported"),
            ("should run", sheet.should_run or "no release"),
            ("hardware", sheet.hardware or ""),
            ("last report", _when(sheet.reported_at)),
            ("last upload", _when(sheet.uploaded_at)),
        ):
            table.add_row(name, value)
        console.print(table)
    if sheet.state == "not-enrolled":
        raise typer.Exit(1)


def _when(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else "never"
