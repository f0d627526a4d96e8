"""What every command writes to, and how trouble with single episodes ends one."""

import typer
from rich.console import Console

console = Console()


def fail_if(failed: dict[str, str]) -> None:
    for name, why in failed.items():
        console.print(f"[red]{name}[/]: {why}", highlight=False)
    if failed:
        raise typer.Exit(1)
