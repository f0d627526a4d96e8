"""An admitted episode as a file on this machine, with what people decided about it."""

from pathlib import Path

from components.contracts import DatasetEpisode, EpisodeRecord, EpisodeSummary
from components.episodes import amend
from components.storage import ObjectStore, fetch_file


def fetch_episode(
    store: ObjectStore, record: EpisodeRecord, path: Path, *, told: EpisodeSummary | DatasetEpisode
) -> Path:
    """Fetch an episode's file. Where edits gave it another instruction or scenario, they are written into this copy;
    without any it is the robot's file byte for byte.

    Args:
        record: As admitted.
        told: As edited until now (`Entry.summary`), or as a dataset has it.

    Raises:
        IntegrityError: the bytes are not those that the record names.
    """
    fetch_file(store, record.file, path)
    admitted = record.summary
    if (told.instruction, told.scenario) != (admitted.instruction, admitted.scenario):
        amend(path, instruction=told.instruction, scenario=told.scenario)
    return path
