"""Whose frames are these? Exact content, near copies, and mirror images, among all known episodes.

Every hash is compared with every other one: 10,000 of them are 240 kB, and a new episode takes about a millisecond.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.contracts import EpisodeSummary
from components.episodes import MIRROR_MASK

_BYTES = len(MIRROR_MASK)


class Likeness(NamedTuple):
    """What else holds an episode's frames. `bits`: the least that differ from any other one's, of 192."""

    duplicate_of: str | None
    nearest: tuple[int, str] | None
    mirrored: tuple[int, str] | None


def likenesses(summaries: Sequence[EpisodeSummary], known: Sequence[EpisodeSummary]) -> list[Likeness]:
    """For each summary, in their order, among the known episodes and those before it."""
    everyone = [*known, *summaries]
    hashes = _hashes(everyone)
    mask = MIRROR_MASK.view(np.uint64)
    first = {item.content_sha256: name_of(item) for item in reversed(known)}
    found = []
    for index, summary in enumerate(summaries, start=len(known)):
        own = hashes[index]
        near = _least(hashes[:index], own) if own.any() else None
        mirrored = _least(hashes[:index], own ^ mask) if own.any() else None
        found.append(
            Likeness(
                first.get(summary.content_sha256),
                near and (near[0], name_of(everyone[near[1]])),
                mirrored and (mirrored[0], name_of(everyone[mirrored[1]])),
            )
        )
        first.setdefault(summary.content_sha256, name_of(summary))
    return found


def name_of(summary: EpisodeSummary) -> str:
    return f"{summary.robot}/{summary.name}"


def _hashes(summaries: Sequence[EpisodeSummary]) -> NDArray[np.uint64]:
    """(N, 3); zeros where a summary has no hash of this size, which is like no other."""
    whole = 2 * _BYTES
    texts = (item.perceptual_hash if len(item.perceptual_hash) == whole else "0" * whole for item in summaries)
    return np.frombuffer(bytes.fromhex("".join(texts)), dtype=np.uint64).reshape(-1, _BYTES // 8)


def _least(others: NDArray[np.uint64], own: NDArray[np.uint64]) -> tuple[int, int] | None:
    if not len(others):
        return None
    distances = np.bitwise_count(others ^ own).sum(axis=1, dtype=np.uint16)
    place = int(distances.argmin())
    return int(distances[place]), place
