"""`drover episodes collect|collections|merge|split`: named, versioned lists of episodes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from components.contracts import Settings
from components.contracts.errors import ConfigurationError

from . import _episode_tables as tables
from ._console import console
from ._episode_filter import filtered, one_of
from ._episodes import Author, Ids, Json, everything, named_or_filtered, who

if TYPE_CHECKING:
    from components.contracts import Collection
    from components.datasets import Entry, EpisodeFilter

app = typer.Typer()

Into = Annotated[str, typer.Option(help="The collection that is made, or gets its next version.")]


@app.command("collections")
def list_collections(*, as_json: Json = False) -> None:
    """The collections, each in its latest version."""
    from components import datasets, storage

    found = datasets.collections(storage.connect(Settings()))
    if as_json:
        tables.show_json([item.model_dump(mode="json") for item in found])
    else:
        tables.show_collections(found)


@app.command("collect")
@filtered
def collect(
    name: Annotated[str, typer.Argument(help="The collection that is made, or gets its next version.")],
    episodes: Ids = None,
    *,
    wanted: "EpisodeFilter",
    add: Annotated[bool, typer.Option("--add", help="To what it has.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="From what it has.")] = False,
    author: Author = None,
) -> None:
    """Make a collection of the episodes that are named, or that the filters let through."""
    from components import datasets

    if add and remove:
        raise ConfigurationError("expected --add or --remove, got both; use one of them")
    store, entries, chosen = named_or_filtered(episodes, wanted)
    listed = {entry.sha256 for entry in chosen}
    said = wanted.model_dump(mode="json", exclude_defaults=True)
    origin = (
        f"{len(episodes)} named" if episodes else ", ".join(f"{key} {value}" for key, value in said.items()) or "all"
    )
    if add or remove:
        before = datasets.open_collection(store, name)
        listed = listed | set(before.episodes) if add else set(before.episodes) - listed
        origin = f"{before.ref} {'and' if add else 'without'} {origin}"
    _tell(entries, [datasets.keep_collection(store, name, listed, origin=origin, by=who(author))])


@app.command("merge")
def merge(
    sources: Annotated[list[str], typer.Argument(help="Collections: name or name@version.")],
    *,
    into: Into,
    author: Author = None,
) -> None:
    """The episodes of several collections as one."""
    from components import datasets

    store, entries = everything()
    _tell(entries, [datasets.merge_collections(store, sources, into, by=who(author))])


@app.command("split")
def split(
    source: Annotated[str, typer.Argument(help="A collection, or `all` for every episode that is not deleted.")],
    *,
    into: Annotated[list[str], typer.Option(help="A part and its share, e.g. train=0.8. At least two.")],
    by: Annotated[
        str, typer.Option(help="Each part's share is of every scenario, or of all episodes: scenario or session.")
    ] = "scenario",
    seed: Annotated[int, typer.Option(min=0, help="Decides where the balance does not.")] = 0,
    author: Author = None,
) -> None:
    """Deal a collection's episodes to several. A robot's session, and episodes that look alike, stay together."""
    from components import datasets

    balance, shares = one_of("--by", by, ("scenario", "session")), _shares(into)
    store, entries = everything()
    records = [entry.record for entry in entries]
    parts = datasets.split_collection(store, source, records, shares, balance=balance, seed=seed, by=who(author))
    _tell(entries, parts)


def _shares(said: Sequence[str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for part in said:
        name, _, share = part.partition("=")
        try:
            value = float(share)
        except ValueError:
            raise ConfigurationError(f"--into: expected a part and its share such as train=0.8, got {part!r}") from None
        if name in shares:
            raise ConfigurationError(f"--into: expected each part once, got {name} twice")
        shares[name] = value
    return shares


def _tell(entries: "Sequence[Entry]", made: "Sequence[Collection]") -> None:
    """Each with its size, and how its episodes spread over the scenarios."""
    known = {entry.sha256: entry.summary.scenario or "none" for entry in entries}
    total = sum(len(item.episodes) for item in made)
    for item in made:
        share = f" ({len(item.episodes) / total:.0%})" if len(made) > 1 else ""
        scenarios = len({known.get(sha256) for sha256 in item.episodes})
        console.print(f"{item.ref}: {len(item.episodes):,} episodes{share} of {scenarios} scenarios")
