"""`drover export ...`: episodes in other people's formats."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.contracts import EpisodeRecord, Settings
from components.contracts.errors import ConfigurationError

from ._console import tell

if TYPE_CHECKING:
    from components.episodes.formats import Conversion

app = typer.Typer(no_args_is_help=True, help="Episodes in other people's formats.")

FilesArgument = Annotated[list[Path] | None, typer.Argument(help="Episode files, or folders of them.")]
OutOption = Annotated[Path, typer.Option(help="A new folder.")]
DatasetOption = Annotated[str | None, typer.Option(help="All episodes of this dataset version, from the store.")]
IdOption = Annotated[list[str] | None, typer.Option(help="SHA-256 of an admitted episode (or its beginning).")]


@app.command("lerobot")
def export_lerobot(
    out: OutOption,
    files: FilesArgument = None,
    *,
    dataset: DatasetOption = None,
    id: IdOption = None,
    frames: Annotated[str, typer.Option(help="h264-lossless (exact), av1 or h264 (lossy, small), images (exact).")] = (
        "h264-lossless"
    ),
    fps: Annotated[int | None, typer.Option(min=1, help="Frames a second; otherwise the first episode's.")] = None,
) -> None:
    """A LeRobotDataset v3.0."""
    from components.episodes import formats

    frames = _one_of("--frames", frames, ("h264-lossless", "av1", "h264", "images"))
    _export(lambda paths: formats.export_lerobot(paths, out, frames=frames, fps=fps), files, dataset, id, out)  # type: ignore[arg-type]  # checked above


@app.command("mcap")
def export_mcap(
    out: OutOption,
    files: FilesArgument = None,
    *,
    dataset: DatasetOption = None,
    id: IdOption = None,
    images: Annotated[str, typer.Option(help="png (exact) or jpeg (a tenth of the size).")] = "png",
) -> None:
    """MCAP files of ROS 2 messages, for Foxglove and ROS."""
    from components.episodes import formats

    images = _one_of("--images", images, ("png", "jpeg"))
    _export(lambda paths: formats.export_mcap(paths, out, images=images), files, dataset, id, out)  # type: ignore[arg-type]  # checked above


@app.command("rerun")
def export_rerun(
    out: OutOption,
    files: FilesArgument = None,
    *,
    dataset: DatasetOption = None,
    id: IdOption = None,
    images: Annotated[str, typer.Option(help="jpeg (for looking at) or png (exact).")] = "jpeg",
) -> None:
    """Rerun recordings (.rrd) with the action drawn in."""
    from components.episodes import formats

    images = _one_of("--images", images, ("png", "jpeg"))
    _export(lambda paths: formats.export_rerun(paths, out, images=images), files, dataset, id, out)  # type: ignore[arg-type]  # checked above


@app.command("hdf5")
def export_hdf5(
    out: OutOption, files: FilesArgument = None, *, dataset: DatasetOption = None, id: IdOption = None
) -> None:
    """The robots' own files, byte for byte."""
    from components.episodes import formats

    _export(lambda paths: formats.export_hdf5(paths, out), files, dataset, id, out)


def _export(
    export: "Callable[[Iterable[Path]], Conversion]", files: list[Path] | None, dataset: str | None,
    ids: list[str] | None, out: Path,
) -> None:  # fmt: skip
    if bool(files) + bool(dataset) + bool(ids) != 1:
        raise ConfigurationError("expected episode files, --dataset or --id, and one of these alone")
    if files:
        from components.episodes import formats

        tell(export(path for source in files for path in formats.hdf5_files(source)), out)
        return
    with tempfile.TemporaryDirectory(prefix="drover-export-") as folder:
        tell(export(_fetched(Path(folder), dataset, ids or [])), out)


def _fetched(folder: Path, dataset: str | None, ids: list[str]) -> Iterator[Path]:
    """Admitted episodes, one file on this disk at a time."""
    from components import datasets, ingest, storage

    store = storage.connect(Settings())
    if dataset:
        ids = [episode.sha256 for episode in datasets.open_dataset(store, dataset).episodes]
    records = ingest.records(store)
    for wanted in ids:
        record = _record(records, wanted)
        path = storage.fetch_file(store, record.file, folder / f"{record.summary.name}.h5")
        yield path
        path.unlink()


def _record(records: list[EpisodeRecord], wanted: str) -> EpisodeRecord:
    found = [record for record in records if record.file.sha256.startswith(wanted)]
    if len(found) != 1:
        raise ConfigurationError(
            f"expected one admitted episode of id {wanted}, found {len(found)}; give more of its SHA-256"
        )
    return found[0]


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ConfigurationError(f"{option}: expected one of {', '.join(choices)}, got {value!r}")
    return value
