"""Every admitted episode with what was decided about it: finding and filtering."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Literal

from components.contracts import DatasetVersion, EpisodeEdit, EpisodeRecord, EpisodeSummary, Frozen, Split
from components.contracts.errors import DatasetError
from components.storage import ObjectStore

from ._build import open_dataset
from ._collections import open_collection
from ._curation import apply_edits, is_excluded, read_edits
from ._documents import BUCKET
from ._split import recording_order

_VERSION = re.compile(r"^versions/(?P<version>[0-9a-f]{64})\.json$")
_SHORTEST_PREFIX = 4
_MOST_CANDIDATES = 8


@dataclass(frozen=True)
class Entry:
    """One admitted episode."""

    record: EpisodeRecord
    """As admitted."""
    edits: tuple[EpisodeEdit, ...]
    curated: EpisodeRecord
    """As its edits leave it: what a dataset takes."""
    excluded: bool
    """Deleted from every dataset to come."""

    @property
    def sha256(self) -> str:
        return self.record.file.sha256

    @property
    def summary(self) -> EpisodeSummary:
        """With its edits."""
        return self.curated.summary

    @property
    def title(self) -> str:
        """`robot/name`."""
        return f"{self.summary.robot}/{self.summary.name}"


class EpisodeFilter(Frozen):
    """Which episodes. All that is said must hold; of several values of one field, one. Values of robots, scenarios,
    patterns, sessions and sources may hold `*` and `?`."""

    robots: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    """Exclusive. Episodes without a time are neither since nor until."""
    text: str | None = None
    """In the instruction, whatever the case."""
    warnings: tuple[str, ...] = ()
    """Rules that warned; `any` is any."""
    edited: bool = False
    excluded: Literal["no", "only", "any"] | None = None
    """None is `any` with a dataset, which may hold what was deleted since, and `no` without."""
    collection: str | None = None
    """`name` or `name@version`."""
    dataset: str | None = None
    """A version, or how it begins."""
    split: Split | None = None
    """Of the dataset."""


def catalogue(store: ObjectStore, records: Sequence[EpisodeRecord]) -> list[Entry]:
    """The records with their edits, the first recorded first."""
    edits = read_edits(store)
    entries = []
    for record in recording_order(records):
        made = edits.get(record.file.sha256, ())
        entries.append(Entry(record, made, apply_edits(record, made), is_excluded(made)))
    return entries


def choose(store: ObjectStore, entries: Sequence[Entry], wanted: EpisodeFilter) -> list[Entry]:
    """The entries that a filter lets through, in their order.

    Raises:
        DatasetError: no such collection or dataset, or a split without a dataset.
    """
    if wanted.split and not wanted.dataset:
        raise DatasetError(f"split {wanted.split}: expected the dataset whose split is meant; name its version too")
    allowed: set[str] | None = None
    if wanted.collection:
        allowed = set(open_collection(store, wanted.collection).episodes)
    if wanted.dataset:
        dataset = find_dataset(store, wanted.dataset)
        inside = {item.sha256 for item in (dataset.of(wanted.split) if wanted.split else dataset.episodes)}
        allowed = inside if allowed is None else allowed & inside
    excluded = wanted.excluded or ("any" if wanted.dataset else "no")
    return [
        entry
        for entry in entries
        if (allowed is None or entry.sha256 in allowed)
        and (excluded == "any" or entry.excluded == (excluded == "only"))
        and (not wanted.edited or entry.edits)
        and _summary_fits(entry.summary, wanted)
        and _warned(entry.record, wanted.warnings)
    ]


def find_episode(entries: Sequence[Entry], wanted: str) -> Entry:
    """An episode by how its SHA-256 begins (four digits or more), by `robot/name`, or by its name.

    Raises:
        DatasetError: none, or several; the message lists them.
    """
    prefix = wanted.lower() if re.fullmatch(r"[0-9a-fA-F]{4,64}", wanted) else None
    name = wanted.removesuffix(".h5")
    found = [
        entry
        for entry in entries
        if name in {entry.title, entry.summary.name} or (prefix and entry.sha256.startswith(prefix))
    ]
    if not found:
        raise DatasetError(
            f"there is no episode {wanted!r}; expected how its SHA-256 begins ({_SHORTEST_PREFIX} digits or more), "
            "robot/name, or its name; `drover episodes list` has them"
        )
    if len(found) > 1:
        lines = [f"{entry.sha256[:16]} ({entry.title})" for entry in found[:_MOST_CANDIDATES]]
        if len(found) > _MOST_CANDIDATES:
            lines.append(f"and {len(found) - _MOST_CANDIDATES} more")
        raise DatasetError(f"{wanted!r} means {len(found)} episodes; say which: {', '.join(lines)}")
    return found[0]


def find_dataset(store: ObjectStore, wanted: str) -> DatasetVersion:
    """A dataset by how its version begins.

    Raises:
        DatasetError: none, or several.
    """
    if not re.fullmatch(r"[0-9a-f]{4,64}", wanted):
        raise DatasetError(f"expected a dataset's version, or its first digits (four or more), got {wanted!r}")
    versions = [version for version in dataset_versions(store) if version.startswith(wanted)]
    if len(versions) != 1:
        some = ", ".join(version[:16] for version in versions[:_MOST_CANDIDATES])
        said = f"{len(versions)} datasets: {some}" if versions else "no dataset"
        raise DatasetError(f"{wanted!r} means {said}; `drover episodes show` names those that an episode is in")
    return open_dataset(store, versions[0])


def dataset_versions(store: ObjectStore) -> list[str]:
    """The versions of all datasets that were built, the newest first."""
    listed = ((info.modified_at, _VERSION.match(info.key)) for info in store.list(BUCKET, "versions/"))
    built = [(at, match["version"]) for at, match in listed if match]
    return [version for _, version in sorted(built, reverse=True)]


def _summary_fits(summary: EpisodeSummary, wanted: EpisodeFilter) -> bool:
    for value, patterns in (
        (summary.robot, wanted.robots),
        (summary.scenario, wanted.scenarios),
        (summary.pattern, wanted.patterns),
        (summary.session, wanted.sessions),
        (summary.source, wanted.sources),
    ):
        if patterns and not any(fnmatchcase(value or "", pattern) for pattern in patterns):
            return False
    if wanted.since or wanted.until:
        at = summary.collected_at
        if at is None or (wanted.since and at < wanted.since) or (wanted.until and at >= wanted.until):
            return False
    return wanted.text is None or wanted.text.casefold() in summary.instruction.casefold()


def rules_warned(record: EpisodeRecord) -> set[str]:
    """The rules that warned when it was admitted."""
    return {warning.partition(":")[0] for warning in record.warnings}


def _warned(record: EpisodeRecord, rules: Sequence[str]) -> bool:
    broken = rules_warned(record)
    return not rules or bool(broken if "any" in rules else broken & set(rules))
