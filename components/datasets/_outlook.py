"""Contents of a dataset to be, told from its spec and the episodes' records alone: nothing is fetched or decoded."""

from collections.abc import Sequence
from dataclasses import dataclass

from components.contracts import (
    AXES,
    LEAST_EPISODES,
    SPLITS,
    Axis,
    DatasetSpec,
    EpisodeRecord,
    Split,
)
from components.contracts.errors import DatasetError
from components.episodes import mirror_instruction, words

from ._split import assign

_NAMED = 3


@dataclass(frozen=True)
class Outlook:
    """The dataset that `build_dataset` would make of some records, and what would stop it or the stages behind it."""

    problems: tuple[str, ...]
    splits: dict[Split, tuple[EpisodeRecord, ...]]
    """Empty where the episodes cannot be split."""
    axes: tuple[Axis, ...] | None = None
    """The axes that vary in the training split; None where a record does not tell its actions' range."""
    other_actions: float | None = None
    """Share of the training split's actions that are no key press; None where a record does not tell."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Words of the training split's instructions, mirrored ones too, sorted."""
        told = [record.summary.instruction for record in self.splits.get("train", ())]
        return tuple(sorted({word for text in told for word in (*words(text), *words(mirror_instruction(text)))}))


def foresee(spec: DatasetSpec, records: Sequence[EpisodeRecord]) -> Outlook:
    """Split the records as `build_dataset` would, and look for what training and evaluation would stumble over.

    Args:
        spec: What would be built.
        records: The episodes that it takes, as `select` gives them.
    """
    if not records:
        among = f" in collection {spec.collection}" if spec.collection else ""
        nothing = (
            f"expected episodes of source {spec.source or 'any'}{among}, found none that is admitted and not deleted; "
            "upload and ingest some first (`drover episodes list` shows what is there)"
        )
        return Outlook((nothing,), {})
    problems = [*_unreadable(records)]
    try:
        assigned = assign(records, spec)
    except DatasetError as error:
        return Outlook((*problems, str(error)), {})
    splits: dict[Split, tuple[EpisodeRecord, ...]] = {
        split: tuple(record for record in records if assigned[record.file.sha256] == split) for split in SPLITS
    }
    problems += _too_few(spec, splits)
    axes = _varying(splits["train"])
    if axes == ():
        problems.append(
            f"expected actions that vary in the {len(splits['train'])} training episodes, found the same ones in all "
            "frames; record robots that move"
        )
    return Outlook(tuple(problems), splits, axes, _other_actions(splits["train"]))


def _unreadable(records: Sequence[EpisodeRecord]) -> list[str]:
    """Episodes that decoding refuses."""
    found = [item.summary for item in records if item.summary.frames < 2 or item.summary.non_finite_actions]
    if not found:
        return []
    names = ", ".join(f"{item.robot}/{item.name}" for item in found[:_NAMED])
    more = ", ..." if len(found) > _NAMED else ""
    problem = (
        f"expected at least 2 frames and finite actions in every episode, found {len(found)} without ({names}{more}); "
        "delete them (`drover episodes delete`)"
    )
    return [problem]


def _too_few(spec: DatasetSpec, splits: dict[Split, tuple[EpisodeRecord, ...]]) -> list[str]:
    counts = {split: len(splits[split]) for split in SPLITS}
    said = ", ".join(f"{count} {split}" for split, count in counts.items())
    ratios = "/".join(f"{share:g}" for share in spec.ratios)
    return [
        f"expected at least {least} {split} episodes, the split {ratios} of {sum(counts.values())} episodes gives "
        f"{counts[split]} ({said}); record more sessions, or give {split} a larger share (dataset.ratios)"
        for split, least in LEAST_EPISODES.items()
        if counts[split] < least
    ]


def _varying(records: Sequence[EpisodeRecord]) -> tuple[Axis, ...] | None:
    lows = [record.summary.action_min for record in records]
    highs = [record.summary.action_max for record in records]
    if None in lows or None in highs:
        return None
    return tuple(
        axis
        for index, axis in enumerate(AXES)
        if min(low[index] for low in lows if low) != max(high[index] for high in highs if high)
    )


def _other_actions(records: Sequence[EpisodeRecord]) -> float | None:
    counts = [record.summary.key_counts for record in records]
    if None in counts:
        return None
    total = sum(sum(found.values()) for found in counts if found)
    return sum(found.get("other", 0) for found in counts if found) / max(total, 1)
