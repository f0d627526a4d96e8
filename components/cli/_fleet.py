"""`drover robot invite|revoke|list`: who belongs to the fleet."""

from datetime import timedelta
from typing import Annotated

import typer
from rich.table import Table

from components.contracts import Settings
from components.terminal import echo, styled

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
    """Every robot that was ever enrolled."""
    from components import ingest, storage

    settings, unnamed = Settings(), set()
    table = Table("robot", "state", "hardware", "enrolled (UTC)", "key", box=None, header_style="dim")
    for entry in ingest.fleet(storage.connect(settings), with_revoked=True):
        state = styled(("revoked", "red") if entry.revoked else ("enrolled", "green"))
        table.add_row(
            entry.robot, state, entry.hardware, f"{entry.enrolled_at:%Y-%m-%d %H:%M}", entry.public_key[:16] + "..."
        )
        unnamed |= {entry.hardware} - set(settings.release_hardware)
    console.print(table)
    if unnamed:
        console.print(f"No release is for {', '.join(sorted(unnamed))}: DROVER_RELEASE_HARDWARE does not name it.")
