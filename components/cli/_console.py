"""What every command writes to, and how trouble with single episodes ends one."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from components.terminal import Console, styled

if TYPE_CHECKING:
    from components.episodes.formats import Conversion

console = Console()


def fail_if(failed: dict[str, str]) -> None:
    for name, why in failed.items():
        console.print(styled((name, "red"), f": {why}"))
    if failed:
        raise typer.Exit(1)


def tell(done: "Conversion", out: Path, robot: str | None = None) -> None:
    """What an import (for `robot`) or an export did, what it assumed, and what it could not keep."""
    console.print(f"{done.episodes} episodes, {done.frames} frames in {out}")
    counts = [str(tally) for tally in done.counts]
    for mark, lines in (("count", counts), ("note", done.notes), ("lost", done.lost)):
        for line in lines:
            console.print(styled((mark, "yellow"), f" {line}"))
    if robot:
        console.print(f"send them: drover robot upload {out} --robot {robot}")
