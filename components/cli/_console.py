"""What every command writes to, and how trouble with single episodes ends one."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from components.episodes.formats import Conversion

console = Console()


def fail_if(failed: dict[str, str]) -> None:
    for name, why in failed.items():
        console.print(f"[red]{name}[/]: {why}", highlight=False)
    if failed:
        raise typer.Exit(1)


def tell(done: "Conversion", out: Path, robot: str | None = None) -> None:
    """What an import (for `robot`) or an export did, what it assumed, and what it could not keep."""
    console.print(f"{done.episodes} episodes, {done.frames} frames in {out}", highlight=False)
    for mark, lines in (("note", done.notes), ("lost", done.lost)):
        for line in lines:
            console.print(f"[yellow]{mark}[/]", Text(line), highlight=False, soft_wrap=True)
    if robot:
        console.print(f"send them: drover robot upload {out} --robot {robot}", highlight=False)
