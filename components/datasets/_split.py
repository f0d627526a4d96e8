"""Who goes into which split: whole groups, every scenario in its share, nothing on both sides."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from components.contracts import SPLITS, DatasetSpec, EpisodeRecord, EpisodeSummary, Split
from components.contracts.errors import DatasetError
from components.episodes import MIRROR_MASK

_NEAR_BITS = 10
"""Perceptual hashes that differ in no more bits (of 192) count as one room seen twice. Unrelated episodes differ in 21
and more."""
_HASH_BYTES = 24
_MOST_SWAPPED = 64


def assign(records: Sequence[EpisodeRecord], spec: DatasetSpec) -> dict[str, Split]:
    """SHA-256 of each episode -> its split. A function of its arguments alone, whatever the records' order.

    Raises:
        DatasetError: too few groups (episodes, if contiguous) to fill every split.
    """
    ordered = recording_order(records)
    if spec.split_by == "contiguous":
        return _contiguous(ordered, spec)
    groups = group(ordered)
    if len(groups) < len(SPLITS):
        sessions = sorted({f"{record.summary.robot}/{record.summary.session}" for record in ordered})
        raise DatasetError(
            f"expected at least {len(SPLITS)} groups of episodes that share no robot and session (and no frames), one "
            f"a split, got {len(groups)} from {len(ordered)} episodes of {len(sessions)} sessions "
            f"({', '.join(sessions[:5])}); record more sessions, or use split_by='contiguous' for one long recording"
        )
    chosen = deal(groups, spec.ratios, seed=spec.seed)
    return {
        record.file.sha256: SPLITS[split] for members, split in zip(groups, chosen, strict=True) for record in members
    }


def recording_order(records: Sequence[EpisodeRecord]) -> list[EpisodeRecord]:
    """By time and name, the undated last."""

    def place(record: EpisodeRecord) -> tuple[bool, str, str, str]:
        at = record.summary.collected_at
        return at is None, at.isoformat() if at else "", record.summary.name, record.file.sha256

    return sorted(records, key=place)


def group(records: Sequence[EpisodeRecord]) -> list[list[EpisodeRecord]]:
    """Episodes that must stay together: one robot's session, equal content, near-duplicate frames, mirror images."""
    parents = list(range(len(records)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    first: dict[tuple[str, ...], int] = {}
    for index, record in enumerate(records):
        summary = record.summary
        for key in (("session", summary.robot, summary.session), ("content", summary.content_sha256)):
            parents[root(index)] = root(first.setdefault(key, index))
    for index, other in _alike([record.summary for record in records]):
        parents[root(index)] = root(other)
    groups: dict[int, list[EpisodeRecord]] = {}
    for index, record in enumerate(records):
        groups.setdefault(root(index), []).append(record)
    return sorted(groups.values(), key=lambda members: min(record.file.sha256 for record in members))


def _alike(summaries: Sequence[EpisodeSummary]) -> list[tuple[int, int]]:
    """Pairs whose frames are nearly the same, or nearly mirror images."""
    hashed = [index for index, item in enumerate(summaries) if len(item.perceptual_hash) == 2 * _HASH_BYTES]
    bits = b"".join(bytes.fromhex(summaries[index].perceptual_hash) for index in hashed)
    hashes = np.frombuffer(bits, dtype=np.uint8).reshape(len(hashed), _HASH_BYTES)
    pairs = []
    for place, row in enumerate(hashes):
        for seen in (row, row ^ MIRROR_MASK):
            distances = np.bitwise_count(hashes[:place] ^ seen).sum(axis=1)
            pairs += [(hashed[place], hashed[other]) for other in np.flatnonzero(distances <= _NEAR_BITS)]
    return pairs


def _contiguous(ordered: Sequence[EpisodeRecord], spec: DatasetSpec) -> dict[str, Split]:
    """The beginning trains, the end tests."""
    if len(ordered) < len(SPLITS):
        raise DatasetError(
            f"expected at least {len(SPLITS)} episodes, one a split, got {len(ordered)}; "
            "cut the recording into shorter ones"
        )
    ends = np.rint(np.cumsum(spec.ratios) * len(ordered)).astype(int)
    train_end = int(np.clip(ends[0], 1, len(ordered) - 2))
    validation_end = int(np.clip(ends[1], train_end + 1, len(ordered) - 1))
    splits = [0] * train_end + [1] * (validation_end - train_end) + [2] * (len(ordered) - validation_end)
    return {record.file.sha256: SPLITS[split] for record, split in zip(ordered, splits, strict=True)}


def deal(
    groups: Sequence[Sequence[EpisodeRecord]], shares: Sequence[float], *, seed: int, by_scenario: bool = True
) -> list[int]:
    """Each group's part: largest groups first to where they are missed most, then moves and swaps while they help.
    No part stays empty where there are as many groups as parts.

    Args:
        by_scenario: Each part gets its share of every scenario; otherwise of all episodes alone.
    """
    counts = _scenario_counts(groups)
    if not by_scenario:
        counts = counts[:, -1:]
    parts, wanted = len(shares), np.array(shares)[:, None] * counts.sum(axis=0)

    def cost(chosen: Sequence[int]) -> float:
        held = np.zeros_like(wanted)
        np.add.at(held, list(chosen), counts)
        return float((((held - wanted) ** 2) / wanted).sum()) + 1e6 * (parts - len(set(chosen)))

    draw = {index: _draw(members, seed) for index, members in enumerate(groups)}
    order = sorted(range(len(groups)), key=lambda index: (-counts[index, -1], draw[index]))
    held, chosen = np.zeros_like(wanted), [0] * len(groups)
    for index in order:
        before = ((held - wanted) ** 2 / wanted).sum(axis=1)
        after = ((held + counts[index] - wanted) ** 2 / wanted).sum(axis=1)
        chosen[index] = int(np.argmin(after - before))
        held[chosen[index]] += counts[index]
    best, improved = cost(chosen), True
    while improved:
        improved = False
        for trial in _neighbours(chosen, order, parts):
            if (found := cost(trial)) < best - 1e-9:
                chosen, best, improved = trial, found, True
                break
    return chosen


def _neighbours(chosen: list[int], order: Sequence[int], parts: int) -> Iterator[list[int]]:
    """Every assignment that is one move away, or one swap where the groups are few enough to try all pairs."""
    for place, index in enumerate(order):
        for part in range(parts):
            if part != chosen[index]:
                yield _changed(chosen, {index: part})
        for other in order[place + 1 :] if len(order) <= _MOST_SWAPPED else ():
            if chosen[index] != chosen[other]:
                yield _changed(chosen, {index: chosen[other], other: chosen[index]})


def _changed(chosen: list[int], changes: dict[int, int]) -> list[int]:
    return [changes.get(index, split) for index, split in enumerate(chosen)]


def _scenario_counts(groups: Sequence[Sequence[EpisodeRecord]]) -> NDArray[np.float64]:
    """(groups, scenarios + 1): episodes of each scenario, and of all in the last column."""
    scenarios = sorted({record.summary.scenario or "" for members in groups for record in members})
    rows = []
    for members in groups:
        found = Counter(record.summary.scenario or "" for record in members)
        rows.append([*(found[scenario] for scenario in scenarios), len(members)])
    return np.array(rows, dtype=np.float64)


def _draw(members: Sequence[EpisodeRecord], seed: int) -> str:
    """A group's lot: where the balance does not decide, the seed does."""
    names = sorted(record.file.sha256 for record in members)
    return hashlib.sha256(f"{seed}:{','.join(names)}".encode()).hexdigest()
