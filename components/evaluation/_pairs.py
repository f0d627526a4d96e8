"""Two drivers in the same rooms: what differs is theirs, not the rooms'.

What is not covered: by how much a room was won; a pair counts successes alone.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from components.contracts import Estimate, PairedTrials, TrialOutcome
from components.contracts.errors import EvidenceError

from ._intervals import wilson
from ._sequential import DECIDES, anytime_difference, evidence


def pair(
    subject: Sequence[TrialOutcome], reference: Sequence[TrialOutcome], *, stop_early: bool = False
) -> PairedTrials:
    """Room by room, the subject against the reference.

    Args:
        subject: one driver's outcomes, in the order in which rooms were driven.
        reference: another's, in the same rooms and the same order.
        stop_early: the run may have stopped because of what came out. Then the interval of the difference is one that
            allows it, and there is no p-value: McNemar's test does not. The e-values always allow it.

    Raises:
        EvidenceError: not the same rooms, or none.
    """
    rooms = [item.room for item in subject]
    if not rooms or rooms != [item.room for item in reference]:
        raise EvidenceError(
            f"expected two drivers' outcomes in the same rooms, got {len(rooms)} and {len(reference)} that are not; "
            "drive both in the same rooms, in the same order"
        )
    won = np.array([item.success for item in subject])
    theirs = np.array([item.success for item in reference])
    counts = _counts(won, theirs)
    both, gained, lost, _ = counts
    looks = rounds([scenario for scenario, _ in rooms])
    so_far, against = np.cumsum(won & ~theirs)[looks - 1], np.cumsum(~won & theirs)[looks - 1]
    better, worse = evidence(so_far, against), evidence(against, so_far)
    decided, after = _decide(better, worse, looks)
    return PairedTrials(
        subject=subject[0].policy,
        reference=reference[0].policy,
        rooms=len(rooms),
        both=both,
        subject_only=gained,
        reference_only=lost,
        neither=counts[3],
        difference=anytime_difference(gained, lost, len(rooms)) if stop_early else newcombe(*counts),
        p_value=None if stop_early else mcnemar(gained, lost),
        e_better=max([1.0, *better.tolist()]),
        e_worse=max([1.0, *worse.tolist()]),
        decided=decided,
        decided_after=after,
    )


def paired_difference(won: Sequence[bool], theirs: Sequence[bool]) -> Estimate:
    """How much more often `won` than `theirs` is true, room by room, in rooms whose number was fixed beforehand."""
    return newcombe(*_counts(np.asarray(won, dtype=bool), np.asarray(theirs, dtype=bool)))


def _counts(won: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Both, the first alone, the second alone, neither."""
    return (
        int((won & theirs).sum()),
        int((won & ~theirs).sum()),
        int((~won & theirs).sum()),
        int((~won & ~theirs).sum()),
    )


def rounds(scenarios: Sequence[str]) -> NDArray[np.int64]:
    """After how many rooms every scenario was met equally often: when evidence may be looked at, see _sequential."""
    names, index = np.unique(np.asarray(scenarios), return_inverse=True)
    met = np.cumsum(np.eye(len(names), dtype=np.int64)[index], axis=0)
    return np.flatnonzero((met == met[:, :1]).all(axis=1)) + 1


def _decide(
    better: NDArray[np.float64], worse: NDArray[np.float64], looks: NDArray[np.int64]
) -> tuple[Literal["better", "worse", "open"], int | None]:
    """The first look at which one side's evidence sufficed. Both cannot at one look: each needs more wins than the
    other."""
    clear = np.flatnonzero((better >= DECIDES) | (worse >= DECIDES))
    if not len(clear):
        return "open", None
    first = clear[0]
    return ("better" if better[first] >= DECIDES else "worse"), int(looks[first])


def newcombe(both: int, first_only: int, second_only: int, neither: int) -> Estimate:
    """Difference of two paired rates with Newcombe's hybrid score interval (1998, method 10).

    Wilson's intervals of both rates, squared and added, less what the rates have in common; a positive correlation is
    corrected for continuity. It stays within [-1, 1] and has a width where no pair differs.

    Raises:
        ValueError: no rooms.
    """
    n = both + first_only + second_only + neither
    first, second = wilson(both + first_only, n), wilson(both + second_only, n)
    value = (first_only - second_only) / n
    common = both * neither - first_only * second_only
    spread = math.sqrt(
        (both + first_only) * (second_only + neither) * (both + second_only) * (first_only + neither)
    )  # fmt: skip
    together = (max(common - n / 2, 0.0) if common > 0 else float(common)) / spread if spread else 0.0

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one**2 - 2 * together * one * other + other**2, 0.0))

    return Estimate(
        value=value,
        low=max(-1.0, value - reach(first.value - first.low, second.high - second.value)),
        high=min(1.0, value + reach(first.high - first.value, second.value - second.low)),
        n=n,
        method="newcombe-paired",
    )


def mcnemar(first_only: int, second_only: int) -> float:
    """McNemar's exact two-sided p: are discordant pairs won by either with equal probability? 1 without any."""
    discordant = first_only + second_only
    return float(stats.binomtest(first_only, discordant, 0.5).pvalue) if discordant else 1.0
