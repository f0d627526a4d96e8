"""`drover quarantine ...`: uploads that broke a rule."""

import getpass
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from components.contracts import Receipt, Settings
from components.contracts.errors import ConfigurationError
from components.terminal import echo_json

from ._console import console

app = typer.Typer(no_args_is_help=True, help="Uploads that broke a rule: nothing of them is lost.")
Sha = Annotated[str, typer.Argument(metavar="SHA256", help="Of the file; its first digits are enough.")]


@app.command("list")
def quarantine_list() -> None:
    """What was put aside, and why."""
    from components import ingest, storage

    table = Table("sha256", "episode", "robot", "rule", "expected", "observed", box=None, header_style="dim")
    store = storage.connect(Settings())
    for item in ingest.quarantined(store):
        found = item.finding
        table.add_row(
            item.file.sha256[:12], item.name, item.robot or "?", found.rule, found.expected, found.observed
        )  # fmt: skip
    console.print(table)
    unread = ingest.unreadable(store)
    if not unread:
        return
    table = Table("unreadable upload", "robot", "failed reads", "state", "error", box=None, header_style="dim")
    for upload in unread:
        state = "set aside, asked for again" if upload.set_aside else "tried again"
        table.add_row(upload.inbox_key, upload.robot or "?", str(upload.failed_reads), state, upload.error)
    console.print(table)


@app.command("show")
def quarantine_show(sha256: Sha) -> None:
    """All that is known about one upload: rules broken now and before, measurements, and where its bytes are."""
    from components import ingest, storage

    store = storage.connect(Settings())
    full = _full(sha256, [item.file.sha256 for item in ingest.quarantined(store)])
    for item in ingest.quarantined(store):
        if item.file.sha256 == full:
            echo_json(item.model_dump_json(indent=2))


@app.command("replay")
def quarantine_replay() -> None:
    """Judge all of it anew by today's rules; what passes becomes an episode, the rest stays."""
    from components import checks, ingest, storage

    settings = Settings()
    store, key = storage.connect(settings), ingest.receipt_key(settings)
    candidates, report = checks.judge(store, ingest.inspect_quarantine(store), settings)
    _say(ingest.settle(store, candidates, report.findings if report else (), key=key))


@app.command("release")
def quarantine_release(
    sha256: Sha,
    reason: Annotated[str, typer.Option(help="Why; the episode's record keeps it.")],
    by: Annotated[str, typer.Option(help="Who decides; by default, you.")] = "",
) -> None:
    """Admit one upload that broke a check. What is no episode, or not the bytes that were meant, stays."""
    from components import ingest, storage

    settings = Settings()
    store = storage.connect(settings)
    waiting = [item.file.sha256 for item in ingest.quarantined(store)]
    full = sha256 if len(sha256) == 64 else _full(sha256, waiting)
    _say([ingest.release(store, full, by=by or getpass.getuser(), reason=reason, key=ingest.receipt_key(settings))])


def _full(prefix: str, known: Sequence[str]) -> str:
    found = [sha256 for sha256 in known if sha256.startswith(prefix)]
    if len(found) != 1:
        raise ConfigurationError(
            f"expected the SHA-256 of one upload, {prefix!r} begins {len(found)}; see `drover quarantine list`"
        )
    return found[0]


def _say(receipts: Sequence[Receipt]) -> None:
    table = Table("episode", "robot", "status", "rule", box=None, header_style="dim")
    for receipt in receipts:
        table.add_row(receipt.name, receipt.robot, receipt.status, receipt.rule or "")
    console.print(table)
