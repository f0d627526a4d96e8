"""`drover up | down | status | demo`: the stack on this machine, and the whole loop on it."""

import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from components.contracts import Settings
from components.contracts.errors import ConfigurationError
from components.terminal import echo, echo_json, styled

from ._console import console

StoreOption = Annotated[str, typer.Option("--store", help="seaweedfs (embedded) or minio (a binary on the PATH).")]

app = typer.Typer()


@app.command()
def up(store: StoreOption = "seaweedfs", *, foreground: bool = False) -> None:
    """Start the embedded stack and leave it running; a second `up` finds the first."""
    from infra import local

    if store not in {"seaweedfs", "minio"}:
        raise ConfigurationError(f"--store: expected seaweedfs or minio, got {store!r}")
    if foreground:
        local.run(Settings(), store=store)  # type: ignore[arg-type]  # checked above
    else:
        console.print(_stack_table(local.up(Settings(), store=store)))  # type: ignore[arg-type]


@app.command()
def down() -> None:
    """End the embedded stack."""
    from infra import local

    ended = local.down(Settings())
    console.print(f"ended {ended} processes" if ended else "nothing was running")


@app.command()
def status(
    *,
    secrets: Annotated[bool, typer.Option("--secrets", help="Print Prefect's and the Bento's too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what runs, where, since when, and how to sign in."""
    from components import promotion
    from infra import local

    settings = Settings()
    rows = local.status(settings)
    sign_in = dict(_sign_in(settings, secrets=secrets)) if rows else {}
    demo_keys = (promotion.keys_folder(settings) / promotion.WARNING_FILE).exists()
    if as_json:
        parts = [asdict(row) | {"since": row.since.isoformat() if row.since else None} for row in rows]
        document = {"home": str(settings.home), "parts": parts, "sign_in": sign_in, "demo_keys": demo_keys}
        echo_json(json.dumps(document, indent=2, ensure_ascii=False))
        return
    if rows:
        console.print(_stack_table(rows))
    else:
        console.print("nothing is running: start it with `drover up`")
    for name, line in sign_in.items():
        console.print(f"{name}: {line}")
    if demo_keys:
        console.print("releases are signed with DEMO KEYS: they prove nothing (docs/operations.md)", style="yellow")


@app.command()
def env() -> None:
    """Print what a shell needs to use this stack, Prefect's credential included: eval "$(drover env)"."""
    from infra import local

    for name, value in local.environment(Settings()).items():
        echo(f"export {name}={shlex.quote(value)}")


@app.command()
def demo(
    robots: Annotated[int, typer.Option(min=1, help="Robots that record.")] = 4,
    episodes: Annotated[int, typer.Option(min=24, help="Episodes that they record in all.")] = 128,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result for machines (docs/demo.schema.json).")
    ] = None,
) -> None:
    """The whole loop on this machine: robots, episodes, policies, evidence, release, fleet."""
    from infra import demo as story

    before = os.umask(0o077)  # what its robots and agents write is for its owner alone
    try:
        result = story.run_demo(robots=robots, episodes=episodes, console=console)
    finally:
        os.umask(before)
    if json_file:
        json_file.write_text(result.model_dump_json(indent=2))
    raise typer.Exit(0 if result.promotion.decision != "refused" else 3)


def _sign_in(settings: Settings, *, secrets: bool) -> Iterator[tuple[str, str]]:
    """A line for each server that a person signs in at. Prefect's secret runs code, so it is not shown unasked."""
    from components import storage

    if settings.pages_url:
        yield "reports", storage.sign_in_url(settings)
    if settings.ray_page_url and settings.ray_token_file:
        shown = settings.ray_token_file.read_text().strip() if secrets else f"what is in {settings.ray_token_file}"
        yield "ray", f"{settings.ray_page_url} asks for {shown}"
    for name, url, secret, where in (
        ("prefect", (settings.prefect_api_url or "").removesuffix("/api"), settings.prefect_auth, "asks for"),
        ("bento", settings.serving_url, settings.serving_token, "wants `Authorization: Bearer` with"),
    ):
        if url and secret:
            shown = secret.get_secret_value() if secrets else "what `drover status --secrets` prints"
            yield name, f"{url} {where} {shown}"


def _stack_table(rows: list[Any]) -> Table:
    columns = ("part", "where", "pid", "state", Column("since", no_wrap=True), "restarts", "MiB", "")
    table = Table(*columns, box=None, header_style="dim")
    for row in rows:
        since = f"{row.since:%m-%d %H:%M}" if row.since else ""
        colour = {"running": "green", "waiting": "dim"}.get(row.state, "yellow")
        table.add_row(
            row.name, row.where, str(row.pid or ""), styled((row.state, colour)), since, str(row.restarts),
            f"{row.memory_mib:,.0f}", row.note,
        )  # fmt: skip
    return table
