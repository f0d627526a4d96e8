"""Versioned datasets: splits without leaks, frames decoded once, what the training split says; and the curation of the
episodes that they are made of.

`select` -> what a spec takes of the admitted episodes, as people edited them; `build_dataset` -> DatasetVersion, whose
digest is its version; `open_dataset` finds one again; `load_split` reads it, `load_episodes` any other episodes;
`foresee` tells from records alone what it would hold; `group` tells which must stay on one side of a split.

`edit_episode` changes, deletes and restores by an append-only log; `curate` applies it; `catalogue`, `choose`,
`find_episode`, `places_of` and `figures` look around, `fetch_episode` fetches; `keep_collection`, `merge_collections`
and `split_collection` make named, versioned lists of episodes.

Layout of the bucket: `versions/<digest>.json`, `builds/<inputs>.json`, `shards/<sha256>.safetensors`,
`kept/<digest>.json` (KeptDataset), `edits/<sha256>/<n>.json` (EpisodeEdit), `collections/<name>/<n>.json` (Collection).

What is not covered: duplicates that differ in more than a few bits of their frames' hashes (another start in the same
room), neighbours across a contiguous split's two borders, and splits larger than memory. Deleting removes no byte: for
data that must be gone there is no door yet. Who edits is who they say they are. Every edit is read by its own request.
"""

from ._build import Progress, build_dataset, open_dataset
from ._catalogue import Entry, EpisodeFilter, catalogue, choose, find_dataset, find_episode, rules_warned
from ._collections import (
    EVERYTHING,
    collections,
    keep_collection,
    merge_collections,
    open_collection,
    select,
    split_collection,
)
from ._curation import curate, edit_episode, edit_history
from ._fetch import fetch_episode
from ._figures import EpisodeFigures, figures
from ._frames import EpisodeFrames
from ._load import load_episodes, load_split
from ._outlook import Outlook, foresee
from ._places import DatasetPlace, EpisodePlaces, places_of
from ._split import group
from ._versions import DatasetEntry, DatasetUse, dataset_uses, keep_dataset, list_datasets

__all__ = [
    "EVERYTHING", "DatasetEntry", "DatasetPlace", "DatasetUse", "Entry", "EpisodeFigures", "EpisodeFilter",
    "EpisodeFrames", "EpisodePlaces", "Outlook", "Progress", "build_dataset", "catalogue", "choose", "collections",
    "curate", "dataset_uses", "edit_episode", "edit_history", "fetch_episode", "figures", "find_dataset",
    "find_episode", "foresee", "group", "keep_collection", "keep_dataset", "list_datasets", "load_episodes",
    "load_split", "merge_collections", "open_collection", "open_dataset", "places_of", "rules_warned", "select",
    "split_collection",
]  # fmt: skip
