"""All reports' subjects by dataset, best first. Figures of different test data are never in one ranking."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from components.contracts import BASELINES, Estimate, EvaluationReport
from components.contracts.errors import EvidenceError


@dataclass(frozen=True)
class Standing:
    """One subject's place in a dataset's ranking."""

    rank: int
    report: EvaluationReport
    mae: Estimate
    tied: tuple[int, ...]
    """Ranks whose intervals this one's touches: the order among them is not shown."""


@dataclass(frozen=True)
class Board:
    """One dataset's ranking."""

    dataset: str
    simulated: bool
    standings: tuple[Standing, ...]
    baseline: str
    """The best of them, for all to be read against."""
    baseline_mae: Estimate
    older: int
    """Reports that are left out, because a newer one is about the same subject."""


def standings(reports: Iterable[EvaluationReport], dataset: str | None = None) -> list[Board]:
    """Rank by MAE on all frames.

    Args:
        reports: the newest first.
        dataset: only those of this one, by how its version begins; None: all, the newest dataset first.

    Raises:
        EvidenceError: no report of that dataset, or of several.
    """
    by_dataset: dict[str, list[EvaluationReport]] = {}
    for report in reports:
        by_dataset.setdefault(report.dataset, []).append(report)
    if dataset is None:
        return [_board(found) for found in by_dataset.values()]
    wanted = [version for version in by_dataset if version.startswith(dataset)]
    if len(wanted) != 1:
        known = ", ".join(version[:12] for version in wanted or by_dataset) or "none"
        raise EvidenceError(f"expected one evaluated dataset that begins with {dataset!r}, got {len(wanted)}; {known}")
    return [_board(by_dataset[wanted[0]])]


def _board(reports: Sequence[EvaluationReport]) -> Board:
    newest: dict[str, EvaluationReport] = {}
    for report in reports:
        newest.setdefault(report.subject_digest, report)
    ranked = sorted(newest.values(), key=lambda report: mae_of(report, report.subject).value)
    intervals = [mae_of(report, report.subject) for report in ranked]
    first = reports[0]
    best = min(BASELINES, key=lambda name: mae_of(first, name).value)
    return Board(
        dataset=first.dataset,
        simulated=first.simulated,
        standings=tuple(
            Standing(
                rank=index + 1,
                report=report,
                mae=mine,
                tied=tuple(
                    other + 1 for other, theirs in enumerate(intervals) if other != index and _touch(mine, theirs)
                ),
            )
            for index, (report, mine) in enumerate(zip(ranked, intervals, strict=True))
        ),
        baseline=best,
        baseline_mae=mae_of(first, best),
        older=len(reports) - len(newest),
    )


def mae_of(report: EvaluationReport, name: str) -> Estimate:
    """On all frames, over all varying axes: what a report has of everybody."""
    found = report.find("mae")
    assert found is not None  # the report's own validators see to it
    return found.figures[name]


def _touch(one: Estimate, other: Estimate) -> bool:
    return one.low <= other.high and other.low <= one.high
