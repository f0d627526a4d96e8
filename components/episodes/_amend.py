"""Corrections in a copy of an episode's file."""

from pathlib import Path

import h5py

from components.contracts.errors import EpisodeError


def amend(path: Path, *, instruction: str, scenario: str | None) -> None:
    """Write another instruction and scenario into an episode file, a copy of one that is kept elsewhere: its SHA-256
    is another one afterwards. The name, which may hold a scenario too, stays.

    Raises:
        EpisodeError: rule `unreadable`: not an HDF5 file that can be written.
    """
    try:
        with h5py.File(path, "r+") as file:
            file.attrs["instruction"] = instruction
            if scenario is not None:
                file.attrs["obstacle_layout_type"] = scenario
    except (OSError, RuntimeError) as error:
        raise EpisodeError("unreadable", f"{path.name}: expected an HDF5 episode file, but: {error}") from None
