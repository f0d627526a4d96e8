"""Versioned datasets: splits without leaks, frames decoded once, what the training split says.

`build_dataset` -> DatasetVersion, whose digest is its version; `open_dataset` finds one again; `load_split` reads it.

What is not covered: duplicates that differ in more than a few bits of their frames' hashes (another start in the same
room), neighbours across a contiguous split's two borders, and splits larger than memory.
"""

from ._build import Progress, build_dataset, open_dataset
from ._frames import EpisodeFrames
from ._load import load_split

__all__ = ["EpisodeFrames", "Progress", "build_dataset", "load_split", "open_dataset"]
