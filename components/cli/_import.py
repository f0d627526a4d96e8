"""`drover import ...`: other people's recordings as episodes."""

from pathlib import Path
from typing import Annotated

import typer

from ._console import console

app = typer.Typer(no_args_is_help=True, help="Other people's recordings as episodes.")


@app.command("donkey")
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
