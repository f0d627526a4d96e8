"""`drover episodes ...`: the admitted episodes, and what people decide about them."""

import getpass
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.contracts import Settings
from components.contracts.errors import ConfigurationError
from components.terminal import echo, styled

from . import _episode_tables as tables
from ._console import console
from ._episode_filter import filtered

if TYPE_CHECKING:
    from components.datasets import Entry, EpisodeFilter
    from components.storage import ObjectStore

app = typer.Typer(no_args_is_help=True, help="Admitted episodes: look, correct, leave out, and group them.")

_SHOWN = 20
"""As many episodes are told one by one when several are edited."""

Ids = Annotated[
    list[str] | None, typer.Argument(help="How its SHA-256 begins, robot/name, or its name.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="For machines, on standard output.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why, for whoever reads the history.")]
Author = Annotated[str | None, typer.Option(help="Who decides. (default: the user's name)", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list")
@filtered
def list_episodes(
    *,
    wanted: "EpisodeFilter",
    limit: Annotated[int, typer.Option(min=0, help="At most so many lines; 0 for all.")] = 50,
    ids: Annotated[bool, typer.Option("--ids", "-q", help="Their SHA-256s alone, all of them, one a line.")] = False,
    as_json: Json = False,
) -> None:
    """The episodes, the newest first."""
    _, entries, chosen = chosen_by(wanted)
    chosen.reverse()
    if ids or as_json:
        if as_json:
            tables.show_json([tables.entry_json(entry) for entry in chosen])
        else:
            for entry in chosen:
                echo(entry.sha256)
        return
    shown = chosen[:limit] if limit else chosen
    tables.show_entries(shown)
    rest = f", {len(chosen) - len(shown):,} more with --limit 0" if len(shown) < len(chosen) else ""
    deleted = sum(entry.excluded for entry in entries)
    console.print(f"{len(chosen):,} of {len(entries):,} episodes{rest}; {deleted:,} are deleted (--excluded only)")


@app.command("show")
def show_episode(episode: str, *, as_json: Json = False) -> None:
    """Everything about one episode: what was measured, its warnings, edits and receipt, and where it is."""
    from components import datasets

    store, entries = everything()
    entry = datasets.find_episode(entries, episode)
    places = datasets.places_of(store, entry)
    if as_json:
        admitted = entry.record.summary.model_dump(mode="json", include={"instruction", "scenario"})
        tables.show_json(tables.entry_json(entry) | {"admitted_as": admitted} | places.model_dump(mode="json"))
    else:
        tables.show_entry(entry, places)


@app.command("stats")
@filtered
def show_stats(*, wanted: "EpisodeFilter", as_json: Json = False) -> None:
    """What the episodes hold: counts, hours, keys, actions, words."""
    from components import datasets

    figures = datasets.figures(chosen_by(wanted)[2])
    if as_json:
        tables.show_json(figures.model_dump(mode="json"))
    else:
        tables.show_figures(figures)


@app.command("edit")
def edit(
    episodes: Ids = None,
    *,
    instruction: Annotated[str | None, typer.Option(help="What the robot was told.")] = None,
    scenario: Annotated[str | None, typer.Option(help="E.g. 1box_vert_left.")] = None,
    reason: Reason,
    author: Author = None,
) -> None:
    """Correct an instruction or a scenario. The file stays as it is; the next dataset has it corrected."""
    if instruction is None and scenario is None:
        raise ConfigurationError("expected --instruction or --scenario, got neither; say what to correct")
    store, entries = everything()
    found = named(entries, episodes)
    _edit(store, found, {"instruction": instruction, "scenario": scenario, "reason": reason, "by": who(author)})
    edited = {entry.sha256 for entry in found}
    if instruction and (new := _new_words(instruction, [entry for entry in entries if entry.sha256 not in edited])):
        console.print(
            styled(
                ("note", "yellow"),
                f" no other episode is told {', '.join(new)}: a policy knows what it was trained on",
            )
        )


@app.command("delete")
@filtered
def delete(
    episodes: Ids = None, *, wanted: "EpisodeFilter", reason: Reason, author: Author = None, yes: Yes = False
) -> None:
    """Leave episodes out of every dataset that is built from now on. No byte is removed; `restore` takes it back."""
    _exclude(episodes, wanted, excluded=True, reason=reason, by=who(author), yes=yes)


@app.command("restore")
@filtered
def restore(
    episodes: Ids = None, *, wanted: "EpisodeFilter", reason: Reason, author: Author = None, yes: Yes = False
) -> None:
    """Take a deletion back."""
    if not episodes:
        wanted = wanted.model_copy(update={"excluded": "only"})
    _exclude(episodes, wanted, excluded=False, reason=reason, by=who(author), yes=yes)


@app.command("view")
def view(
    episode: str,
    *,
    save: Annotated[Path | None, typer.Option(help="Write a Rerun recording (.rrd) there, and open nothing.")] = None,
) -> None:
    """Open an episode in Rerun's viewer: frames with the actions drawn in, the instruction, the axes over time."""
    from components import datasets
    from components.episodes import formats

    if save and save.exists():
        raise ConfigurationError(f"--save: {save} is there already; name a new file")
    if not save and not _has_display():
        raise ConfigurationError("this machine has no display: use --save FILE.rrd and open it with `rerun` elsewhere")
    store, entries = everything()
    entry = datasets.find_episode(entries, episode)
    with tempfile.TemporaryDirectory(prefix="drover-view-") as folder:
        path = Path(folder) / f"{entry.summary.name}.h5"
        datasets.fetch_episode(store, entry.record, path, told=entry.summary)
        (recording,) = formats.export_rerun([path], Path(folder) / "rerun").files
        if save:
            save.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(recording, save)
            console.print(f"{save}: {entry.title}; open it with: rerun {save}")
        else:
            quiet = os.environ | {"CI": "1"}  # the viewer sends usage data otherwise
            subprocess.run([sys.executable, "-m", "rerun", str(recording)], env=quiet, check=False)


def who(author: str | None) -> str:
    """Who decides: as said, or the user's name."""
    if author:
        return author
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user often has no name
        raise ConfigurationError("this user has no name: say who decides with --author") from None


def _has_display() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _new_words(instruction: str, others: "Sequence[Entry]") -> list[str]:
    from components.episodes import words

    known = {word for text in {entry.summary.instruction for entry in others} for word in words(text)}
    return sorted(set(words(instruction)) - known)


def everything() -> "tuple[ObjectStore, list[Entry]]":
    from components import datasets, ingest, storage

    store = storage.connect(Settings())
    return store, datasets.catalogue(store, ingest.records(store))


def chosen_by(wanted: "EpisodeFilter") -> "tuple[ObjectStore, list[Entry], list[Entry]]":
    """The store, all episodes, and those that the filter lets through; the first recorded first."""
    from components import datasets

    store, entries = everything()
    return store, entries, datasets.choose(store, entries, wanted)


def named(entries: "Sequence[Entry]", episodes: list[str] | None) -> "list[Entry]":
    """Each episode once, in the order in which they were named."""
    from components import datasets

    if not episodes:
        raise ConfigurationError("expected at least one episode, got none; `drover episodes list` has them")
    found = [datasets.find_episode(entries, name) for name in episodes]
    return list({entry.sha256: entry for entry in found}.values())


def named_or_filtered(
    episodes: list[str] | None, wanted: "EpisodeFilter"
) -> "tuple[ObjectStore, list[Entry], list[Entry]]":
    """The store, all episodes, and those that are named, or that the filter lets through."""
    said = ", ".join(wanted.model_dump(exclude_defaults=True))
    if not episodes:
        return chosen_by(wanted)
    if said:
        raise ConfigurationError(f"expected episodes or filters, got both (filters: {said}); use one of them")
    store, entries = everything()
    return store, entries, named(entries, episodes)


def _exclude(
    episodes: list[str] | None, wanted: "EpisodeFilter", *, excluded: bool, reason: str, by: str, yes: bool
) -> None:
    verb = "delete" if excluded else "restore"
    if not episodes and not wanted.model_dump(exclude_defaults=True, exclude={"excluded"}):
        raise ConfigurationError(f"expected episodes, or filters such as --session, got neither; say what to {verb}")
    store, _, found = named_or_filtered(episodes, wanted)
    if not found:
        raise ConfigurationError(f"no episode is as the filters say: nothing to {verb}")
    if not episodes and not yes:
        tables.show_entries(found[:_SHOWN])
        typer.confirm(f"{verb} {len(found)} episodes?", abort=True)
    _edit(store, found, {"excluded": excluded, "reason": reason, "by": by})


def _edit(store: "ObjectStore", found: "Sequence[Entry]", fields: dict[str, Any]) -> None:
    from components import datasets

    written = 0
    for entry in found:
        made = datasets.edit_episode(store, entry.record, **fields)
        written += made is not None
        if len(found) <= _SHOWN:
            said = tables.edit_line(made) if made else "as asked for already, nothing written"
            console.print(f"{entry.sha256[:12]} {entry.title}: {said}")
    if len(found) > _SHOWN:
        console.print(f"{written:,} edited, {len(found) - written:,} were as asked for already")
