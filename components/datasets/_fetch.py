"""An admitted episode as a file on this machine, with what people decided about it."""

from pathlib import Path

from components.episodes import amend
from components.storage import ObjectStore, fetch_file

from ._catalogue import Entry


def fetch_episode(store: ObjectStore, entry: Entry, path: Path) -> Path:
    """Fetch an episode's file. Edits are written into this copy; without any it is the robot's file byte for byte.

    Raises:
        IntegrityError: the bytes are not those that the record names.
    """
    fetch_file(store, entry.record.file, path)
    if entry.curated != entry.record:
        amend(path, instruction=entry.summary.instruction, scenario=entry.summary.scenario)
    return path
