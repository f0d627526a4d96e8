"""`drover dataset build|list|show|keep`: versions of datasets, without training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from components.contracts import SPLITS, DatasetSpec, Settings
from components.contracts.errors import ConfigurationError

from . import _episode_tables as tables
from ._console import console
from ._episodes import Json

if TYPE_CHECKING:
    from components.contracts import DatasetVersion
    from components.datasets import DatasetEntry

app = typer.Typer(no_args_is_help=True, help="Versions of datasets: build one, list them, look at one.")

Version = Annotated[str, typer.Argument(help="How its version begins, four digits or more.")]


@app.command("build")
def build_dataset(
    spec: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A DatasetSpec as JSON; default: the flow's.")
    ] = None,
    collection: Annotated[str | None, typer.Option(help="Only episodes of this collection, name or name@3.")] = None,
    source: Annotated[str | None, typer.Option(help="Only episodes of this source, e.g. robot, donkey.")] = None,
    *,
    keep: Annotated[bool, typer.Option(help="Keep it, also while nothing refers to it.")] = True,
) -> None:
    """Build a dataset of the admitted episodes, as `train-and-promote` does with the same spec, which then finds it."""
    from components import datasets, ingest, storage
    from infra.bar import bar

    store = storage.connect(Settings())
    storage.prepare(store)
    wanted, records = datasets.select(store, _spec(spec, collection, source), ingest.records(store))
    with bar("episodes") as show:
        version = datasets.build_dataset(store, wanted, records, progress=show)
    if keep:
        datasets.keep_dataset(store, version.version)
    console.print(f"dataset {version.version}: {_splits(version)}")


@app.command("list")
def list_datasets(*, as_json: Json = False) -> None:
    """Every version, the newest first."""
    from components import datasets, storage

    entries = datasets.list_datasets(storage.connect(Settings()))
    if as_json:
        tables.show_json([_facts(entry) for entry in entries])
        return
    table = Table("version", "episodes", "built (UTC)", "kept", "used by", box=None, header_style="dim")
    for entry in entries:
        use = entry.use
        used = ", ".join((*use.releases, *use.models, *(f"report {digest[:12]}" for digest in use.reports)))
        built, kept = f"{entry.built_at:%Y-%m-%d %H:%M}", "by name" if entry.kept else ""
        table.add_row(entry.dataset.version[:16], _splits(entry.dataset), built, kept, used or "nothing")
    console.print(table)


@app.command("show")
def show_dataset(version: Version, *, as_json: Json = False) -> None:
    """One version: its spec, splits, scenarios, size, and who used it."""
    from components import datasets, storage

    store = storage.connect(Settings())
    wanted = datasets.find_dataset(store, version).version
    entry = next(item for item in datasets.list_datasets(store) if item.dataset.version == wanted)
    facts = _facts(entry)
    if as_json:
        tables.show_json(facts)
        return
    table = Table(box=None, show_header=False)
    for name, value in facts.items():
        table.add_row(name, _text(value))
    console.print(table)


@app.command("keep")
def keep_dataset(
    version: Version, *, off: Annotated[bool, typer.Option("--off", help="Do not keep it any more.")] = False
) -> None:
    """Keep a version also while nothing refers to it, or no longer (docs/retention.md)."""
    from components import datasets, storage

    store = storage.connect(Settings())
    found = datasets.find_dataset(store, version).version
    datasets.keep_dataset(store, found, keep=not off)
    console.print(f"dataset {found} is {'kept as long as something refers to it' if off else 'kept'}")


def _spec(path: Path | None, collection: str | None, source: str | None) -> DatasetSpec:
    spec = DatasetSpec.parse(path.read_bytes(), source=str(path)) if path else DatasetSpec()
    said = {name: value for name, value in (("collection", collection), ("source", source)) if value is not None}
    try:
        return DatasetSpec.model_validate(spec.model_dump() | said)
    except ValueError as error:
        raise ConfigurationError(f"expected a collection and a source that a dataset can have, got {said}") from error


def _splits(dataset: "DatasetVersion") -> str:
    counts = ", ".join(f"{len(dataset.of(split))} {split}" for split in SPLITS)
    return f"{len(dataset.episodes)} episodes ({counts})"


def _facts(entry: "DatasetEntry") -> dict[str, Any]:
    dataset = entry.dataset
    return {
        "version": dataset.version,
        "built_at": entry.built_at.isoformat(),
        "kept": entry.kept,
        "episodes": len(dataset.episodes),
        "splits": {split: len(dataset.of(split)) for split in SPLITS},
        "frames": sum(episode.frames for episode in dataset.episodes),
        "robots": sorted({episode.robot for episode in dataset.episodes}),
        "scenarios": sorted({episode.scenario or "none" for episode in dataset.episodes}),
        "axes": list(dataset.axes),
        "bytes": sum(shard.size for shard in dataset.shards),
        "spec": dataset.spec.model_dump(mode="json"),
        "models": list(entry.use.models),
        "releases": list(entry.use.releases),
        "reports": list(entry.use.reports),
    }


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {found}" for name, found in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
