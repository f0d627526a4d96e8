"""`drover logs [RUN|PART]`: what a part of the stack or a flow run wrote."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from components.contracts import Settings
from components.contracts.errors import ConfigurationError, StackError
from components.terminal import echo

from ._console import console

if TYPE_CHECKING:
    from infra.runs import LogLine, Run, Runs

_POLL_S = 0.5
_RUN_POLL_S = 1.5
_LATE_S = 6.0
"""Prefect's clients send their records in batches; those of a run's end come after its state."""
_LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}


def logs(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|PART]", help="A flow run (name, id, or the flow's name), or a part of the stack."),
    ] = None,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="At most so many, the newest.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
) -> None:
    """Show the log of a part of the stack or of a flow run, the newest line last. Without a name: what there is."""
    from infra import local

    settings = Settings()
    files = local.log_files(settings)
    if source is None:
        _overview(settings, files)
        return
    shown = _file_lines(files[source], lines, follow=follow) if source in files else None
    if shown is None:
        shown = _run_lines(settings, source, files, lines, follow=follow)
    try:
        for line in shown:
            echo(line)
    except KeyboardInterrupt:  # the way to end --follow
        raise typer.Exit(130) from None


def _overview(settings: Settings, files: dict[str, Path]) -> None:
    from infra.runs import open_runs

    if not files:
        raise ConfigurationError(f"expected logs in {settings.home / 'logs'}, found none: `drover up` starts the stack")
    table = Table("part", "log", box=None, header_style="dim")
    for name, path in files.items():
        table.add_row(name, str(path))
    console.print(table)
    if not settings.prefect_api_url:
        return
    with open_runs(settings) as runs:
        table = Table("run", "flow", "state", "begun (UTC)", "", box=None, header_style="dim")
        for flow, run in runs.recent():
            begun = f"{run.begun:%Y-%m-%d %H:%M:%S}" if run.begun else ""
            table.add_row(run.name, flow, run.title, begun, run.message.partition("\n")[0])
        console.print(table)


def _file_lines(path: Path, lines: int, *, follow: bool) -> Iterator[str]:
    from infra import local

    with local.Tail(path) as tail:
        yield from local.last_lines(path, lines)
        while follow:
            yield from tail.new_lines()
            time.sleep(_POLL_S)


def _run_lines(settings: Settings, source: str, files: dict[str, Path], lines: int, *, follow: bool) -> Iterator[str]:
    """A flow run's records; with `follow` until it is over."""
    from infra.runs import open_runs

    known = f"parts here: {', '.join(files) or 'none'}"
    if not settings.prefect_api_url:
        raise StackError(f"expected a part of the stack or a run, got {source!r}; {known}; runs need `drover up`")
    with open_runs(settings) as runs:
        run = runs.find(source)
        if run is None:
            raise ConfigurationError(f"expected a part of the stack or a run, got {source!r}; {known}; "
                                     "`drover logs` lists the runs")  # fmt: skip
        seen: set[str] = set()
        newest = runs.logs(run, last=lines)
        yield from list(_fresh(newest, seen))[-lines:]
        if follow:
            yield from _followed(runs, run, newest, seen)


def _followed(runs: "Runs", run: "Run", newest: "list[LogLine]", seen: set[str]) -> Iterator[str]:
    over_since: float | None = None
    while over_since is None or time.monotonic() - over_since < _LATE_S:
        if over_since is None and (now := runs.refresh(run)).is_over:
            run, over_since = now, time.monotonic()
        time.sleep(_RUN_POLL_S)
        found = runs.logs(run, since=newest[-1].at if newest else None)
        newest = found or newest
        yield from _fresh(found, seen)
    yield f"{run.name}: {run.title}"


def _fresh(lines: "list[LogLine]", seen: set[str]) -> Iterator[str]:
    for line in lines:
        if line.id not in seen:
            seen.add(line.id)
            head = f"{line.at:%Y-%m-%d %H:%M:%S} {_LEVELS.get(line.level, line.level)} "
            first, *more = line.text.split("\n")
            yield head + first
            yield from (f"    {text}" for text in more)
