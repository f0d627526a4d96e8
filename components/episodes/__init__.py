"""The episode format: HDF5 in and out, names, keys, instructions, frames; measurements of an episode; imports.

What is not covered: hostile files. `read_episode` refuses what has no episode's shape, but it parses in this process
and follows whatever links HDF5 follows; uploads go through `ingest` first. Time zones: a name's time is read as UTC.
"""

from ._amend import amend
from ._episode import EVENTS, Episode, EpisodeAttributes
from ._frames import resize_frame
from ._hash import MIRROR_MASK, frame_hash, hash_distance, perceptual_hash
from ._hdf5 import file_attributes, has_space_padding, read_episode
from ._instructions import (
    MAX_TOKENS,
    UNKNOWN,
    WORDINGS,
    instruction_for,
    mirror_instruction,
    paraphrase,
    tokenize,
    words,
)
from ._journal import SUFFIX as JOURNAL_SUFFIX
from ._keys import KEYS, key_of, mirror_actions
from ._measure import Meter, content_digest, measure
from ._names import DISTANCES, PATTERNS, POSITIONS, SCENARIOS, EpisodeNameParts, make_name, mirror_scenario, parse_name
from ._writer import EpisodeWriter, recover
from ._zlib import fast_zlib
from .formats import import_donkey

__all__ = [
    "DISTANCES", "EVENTS", "JOURNAL_SUFFIX", "KEYS", "MAX_TOKENS", "MIRROR_MASK", "PATTERNS", "POSITIONS", "SCENARIOS",
    "UNKNOWN", "WORDINGS", "Episode", "EpisodeAttributes", "EpisodeNameParts", "EpisodeWriter", "Meter", "amend",
    "content_digest", "fast_zlib", "file_attributes", "frame_hash", "has_space_padding", "hash_distance",
    "import_donkey", "instruction_for", "key_of", "make_name", "measure", "mirror_actions", "mirror_instruction",
    "mirror_scenario", "paraphrase", "parse_name", "perceptual_hash", "read_episode", "recover", "resize_frame",
    "tokenize", "words",
]  # fmt: skip
