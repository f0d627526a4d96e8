"""`drover export ...`: episodes in other people's formats."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.contracts import Settings
from components.contracts.errors import ConfigurationError

from ._console import tell

if TYPE_CHECKING:
    from components.episodes.formats import Conversion

app = typer.Typer(no_args_is_help=True, help="Episodes in other people's formats.")

FilesArgument = Annotated[list[Path] | None, typer.Argument(help="Episode files, or folders of them.")]
OutOption = Annotated[Path, typer.Option(help="A new folder.")]
DatasetOption = Annotated[str | None, typer.Option(help="All episodes of this dataset (how its version begins).")]
IdOption = Annotated[list[str] | None, typer.Option(help="An admitted episode: how its SHA-256 begins, or robot/name.")]


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
    """Admitted episodes as people edited them, or as the dataset has them; one file on this disk at a time."""
    from components import datasets, ingest, storage

    store = storage.connect(Settings())
    entries = datasets.catalogue(store, ingest.records(store))
    members = datasets.find_dataset(store, dataset).episodes if dataset else ()
    told = {episode.sha256: episode for episode in members}
    found = [entry for entry in entries if entry.sha256 in told] + [datasets.find_episode(entries, id) for id in ids]
    for entry in found:
        path = folder / f"{entry.summary.name}.h5"
        yield datasets.fetch_episode(store, entry.record, path, told=told.get(entry.sha256, entry.summary))
        path.unlink()


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ConfigurationError(f"{option}: expected one of {', '.join(choices)}, got {value!r}")
    return value
