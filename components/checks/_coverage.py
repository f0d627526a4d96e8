"""What the collection holds against what the plan wants, and what to record next."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from components.contracts import EpisodeSummary, Frozen, ObjectRef
from components.storage import ObjectStore, keep_page

from ._plan import Cell, CollectionPlan


class CellCount(Frozen):
    """One combination."""

    cell: Cell
    wanted: int
    found: int

    @property
    def missing(self) -> int:
        return max(0, self.wanted - self.found)

    @property
    def filled(self) -> float:
        """Share of what is wanted, at most 1; 1 where nothing is."""
        return min(1.0, self.found / self.wanted) if self.wanted else 1.0


class Coverage(Frozen):
    """All combinations of the plan."""

    plan: CollectionPlan
    cells: tuple[CellCount, ...]
    episodes: int
    unplaced: dict[str, int]
    """Episodes that fill no combination, by the first axis that is not known or not in the plan, e.g. `position`."""
    by_source: dict[str, int]

    @property
    def wanted(self) -> int:
        return sum(item.wanted for item in self.cells)

    @property
    def filled(self) -> int:
        """Episodes that count: those beyond a combination's target do not."""
        return sum(min(item.found, item.wanted) for item in self.cells)

    def next(self, count: int) -> list[CellCount]:
        """What to record next: the emptiest combinations first, of those the ones that miss most."""
        short = [item for item in self.cells if item.missing]
        return sorted(short, key=lambda item: (item.filled, -item.missing, tuple(map(str, item.cell))))[:count]


def coverage(summaries: Iterable[EpisodeSummary], plan: CollectionPlan) -> Coverage:
    """Count admitted episodes by the plan's axes. What an episode does not tell is not guessed: it fills nothing."""
    wanted = plan.cells()
    found: Counter[Cell] = Counter()
    unplaced: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    for summary in summaries:
        sources[summary.source] += 1
        cell, missing = _place(summary, plan)
        if missing is None:
            found[cell] += 1
        else:
            unplaced[missing] += 1
    return Coverage(
        plan=plan,
        cells=tuple(CellCount(cell=cell, wanted=many, found=found[cell]) for cell, many in wanted.items()),
        episodes=sources.total(),
        unplaced=dict(sorted(unplaced.items())),
        by_source=dict(sorted(sources.items())),
    )


def _place(summary: EpisodeSummary, plan: CollectionPlan) -> tuple[Cell, str | None]:
    """The combination, and the first axis that keeps it out of the plan."""
    axes = plan.axes
    told: tuple[tuple[str, str | None, Sequence[str]], ...] = (
        ("scenario", summary.scenario, axes.scenarios),
        ("pattern", summary.pattern, axes.patterns),
        ("distance", summary.distance, axes.distances),
        ("position", summary.position, axes.positions),
    )
    values = [value if known else None for _, value, known in told]
    missing = next((name for name, value, known in told if known and value not in known), None)
    return (values[0], values[1], values[2], values[3]), missing


def keep_coverage(store: ObjectStore, found: Coverage) -> ObjectRef:
    """Write the heat map, `reports/coverage/index.html`.

    Raises:
        StorageError: the store failed.
    """
    from ._pages import coverage_page

    return keep_page(store, "coverage/index.html", coverage_page(found))


def write_default(source: Path, target: Path) -> None:
    """Copy a settings file with its defaults to where the user edits it.

    Raises:
        FileExistsError: there is one already.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("x", encoding="utf-8") as file:
        file.write(source.read_text(encoding="utf-8"))
