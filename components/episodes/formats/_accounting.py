"""An account of everything that a source declares: an import ends with counts that add up."""

from collections import Counter
from dataclasses import dataclass, field

from components.contracts.errors import EpisodeError


@dataclass
class Tally:
    """The count of one kind of thing, e.g. messages or images. A reader adds to it as it goes, never at the end from a
    difference: only then does `check` find what was lost on the way."""

    unit: str
    declared: int = 0
    """By the source's own index, header or metadata."""
    undeclared: int = 0
    """Read where the source declares no number, e.g. of a file that was cut off."""
    read: int = 0
    used: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason -> how many were read and left out."""

    @property
    def unread(self) -> int:
        """Declared and not read; below zero where the source declares fewer than it holds."""
        return self.declared + self.undeclared - self.read

    def drop(self, reason: str, count: int = 1) -> None:
        if count:
            self.dropped[reason] += count

    def check(self) -> None:
        """Raises EpisodeError (`counts`) if the reader lost sight of something: its own fault, not the file's."""
        kept = self.used + self.dropped.total()
        if self.read != kept:
            raise EpisodeError(
                "counts",
                f"expected the {self.read} {self.unit} read to be used or dropped, found {self.used} used and "
                f"{self.dropped.total()} dropped: a fault of this importer; please report it with the file",
            )

    def __str__(self) -> str:
        declared = "no number declared" if self.undeclared and not self.declared else f"{self.declared} declared"
        if self.declared and self.undeclared:
            declared += f" (and {self.undeclared} where no number is declared)"
        dropped = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
        text = f"{self.unit}: {declared}, {self.read} read, {self.used} used, {self.dropped.total()} dropped"
        return text + (f" ({dropped})" if dropped else "") + (f", {self.unread} not read" if self.unread > 0 else "")


@dataclass
class ImportCounts:
    """The tallies of one import, in the order in which they were begun."""

    tallies: dict[str, Tally] = field(default_factory=dict)

    def of(self, unit: str) -> Tally:
        return self.tallies.setdefault(unit, Tally(unit))

    def settle(self, *, allow_partial: bool) -> tuple[Tally, ...]:
        """The finished tallies.

        Raises:
            EpisodeError: `counts`, they do not add up; `partial`, something was declared and not read, and
                `allow_partial` is false.
        """
        tallies = tuple(self.tallies.values())
        for tally in tallies:
            tally.check()
        if not allow_partial and (missing := [tally for tally in tallies if tally.unread > 0]):
            told = "; ".join(
                f"{tally.declared + tally.undeclared} {tally.unit}, of which {tally.read} could be read"
                for tally in missing
            )
            raise EpisodeError(
                "partial", f"the source declares {told}; copy it again, or take what is there with --allow-partial"
            )
        return tallies
