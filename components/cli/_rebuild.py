"""`drover rebuild`: run a report's evaluation again and compare every figure."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from components.contracts import Estimate, Settings
from components.terminal import styled

from ._console import console

if TYPE_CHECKING:
    from components.evaluation import Difference, Rebuilt

DIFFERS = 3
"""Exit code: it ran again, and something is not what it was."""
_SHOWN = 20


def rebuild(
    evidence: Annotated[str, typer.Argument(help="How a report's digest begins, `latest`, or a report.json.")],
    from_: Annotated[
        Literal["evaluation", "members", "episodes"],
        typer.Option("--from", help="What is made again: the figures, the members too, or the dataset too."),
    ] = "evaluation",
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the new report beside the old one.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write what was found as JSON.")] = None,
) -> None:
    """Run again from the recorded lineage and compare every figure. Exit code 0: equal; 3: something differs."""
    from components import evaluation, storage

    settings = Settings()
    store = storage.connect(settings)
    report = evaluation.open_evidence(store, evidence)
    with console.status(styled("rebuild")) as status:
        found = evaluation.rebuild(
            store, report, level=from_, keep=keep, settings=settings,
            progress=lambda stage, done, total: status.update(styled(f"{stage}: {done} of {total}")),
        )  # fmt: skip
    if out is not None:
        out.write_bytes(found.canonical_json() + b"\n")
    _tell(found)
    if not found.equal:
        sys.exit(DIFFERS)


def _tell(found: "Rebuilt") -> None:
    """Lineage first: it may explain the rest."""
    _table("lineage", found.lineage)
    if found.lineage and not found.equal:
        console.print("the lineage differs, which may explain what follows", style="yellow")
    _table("made", found.made)
    _table("figure", found.figures)
    differ, what = len(found.made) + len(found.figures), f"report {found.report[:12]}, rebuilt from its {found.level}"
    if found.equal:
        console.print(styled(("equal", "green"), f": {what}: all {found.compared} compared are what they were"))
        return
    known = [item.inside for item in found.figures if item.inside is not None]
    console.print(
        styled(
            ("differs", "red"),
            f": {what}: {differ} of {found.compared} compared; {sum(known)} of {len(known)} estimates lie in the old "
            "interval",
        )
    )


def _table(title: str, items: "tuple[Difference, ...]") -> None:
    if not items:
        return
    table = Table(title, "before", "after", "in the old interval", box=None, header_style="dim")
    for item in items[:_SHOWN]:
        inside = styled(("no", "red")) if item.inside is False else "yes" if item.inside else ""
        table.add_row(item.path, _words(item.before), _words(item.after), inside)
    console.print(table)
    if len(items) > _SHOWN:
        console.print(f"and {len(items) - _SHOWN} more")


def _words(value: object) -> str:
    if isinstance(value, Estimate):
        return f"{value.value:.6g} [{value.low:.6g}, {value.high:.6g}] n={value.n}"
    if isinstance(value, float):
        return f"{value:.10g}"
    return "-" if value is None else str(value)
