"""Closed loop: the subject drives in simulated rooms, and so do those that it has to be read against.

Everybody meets the same rooms, so that what differs is the drivers'. How many there are follows from the wanted margin
before the first is driven; a run that may stop early ends once every decision that the gate needs is clear, with
intervals that allow it. Then come the shift suites, in the first of those rooms.

What is not covered: reality. Every figure here is of the simulation alone. Nor how much of a loss under a shift is the
task's and how much the policy's: the expert's figures beside it tell what the shift does to whoever sees everything.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from components.contracts import (
    BLIND,
    DRIVERS,
    EXPERT,
    STRAIGHT_AHEAD,
    Ensemble,
    FrameSpec,
    Metric,
    PairedTrials,
    ShiftEffect,
    TrainedPolicy,
    TrialOutcome,
    TrialPlan,
)
from components.episodes import SCENARIOS
from components.policies import TorchDrivers, load_module
from components.simulation import MAX_PRESSES, SHIFTS, Driver, Recital, Room, Shift, Track, trial_rooms
from components.storage import ObjectStore

from ._baselines import Medians
from ._pairs import pair, paired_difference
from ._room_metrics import Driven, room_metrics
from ._sequential import may_stop

Subject = TrainedPolicy | Ensemble


@dataclass(frozen=True)
class ClosedLoop:
    """What was driven, every trial, and what follows."""

    metrics: tuple[Metric, ...]
    pairs: tuple[PairedTrials, ...]
    """The subject against everybody else, in the unshifted rooms."""
    shifts: tuple[ShiftEffect, ...]
    outcomes: tuple[TrialOutcome, ...]


NOT_DRIVEN = ClosedLoop((), (), (), ())


def drive(
    store: ObjectStore,
    policies: Mapping[str, Subject],
    medians: Medians,
    *,
    subject: str,
    plan: TrialPlan,
    seed: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> ClosedLoop:
    """Every driver meets the same rooms, which no demonstration was recorded in.

    Args:
        store: holds the policies' weights.
        policies: the subject first, the incumbent under `incumbent`, and whoever else shall drive.
        medians: of the training split, for the blind driver.
        subject: whom it is about: paired with everybody else, and driven under every shift.
        plan: how many rooms, and whether the run may stop early.
        seed: of the rooms and of the bootstrap.
        workers: processes that drive; the outcomes are the same whatever their number.
        progress: called with (trials done, trials in all); a run that stops early has fewer in all from then on.

    Raises:
        PolicyError: weights that do not fit.
        IntegrityError: altered weights.
        TrainingError: processes died again and again.
    """
    rooms = trial_rooms(plan.rooms, seed=seed)
    shift_rooms = rooms[: plan.shift_rooms]
    drivers: dict[str, Driver] = {
        name: partial(TorchDrivers, load_module(store, policy)) for name, policy in policies.items()
    }
    drivers |= {BLIND: _recital(medians), STRAIGHT_AHEAD: STRAIGHT_AHEAD, EXPERT: EXPERT}
    under_shifts = (subject, *DRIVERS)
    suites = SHIFTS if shift_rooms else ()
    tally = _Tally(progress, len(drivers) * len(rooms) + len(under_shifts) * len(shift_rooms) * len(suites))
    frames = {name: _frame(policy) for name, policy in policies.items()}
    with Track(drivers, frame=frames, workers=workers) as track:
        driven = drive_rooms(
            lambda name, part: track.drive(name, part, progress=tally.count), tuple(drivers), rooms, plan, subject
        )
        tally.skip(len(drivers) * (len(rooms) - len(driven[subject])))
        shifted = {
            shift: {name: track.drive(name, shift_rooms, shift, tally.count) for name in under_shifts}
            for shift in suites
        }
    return conclude(driven, shifted, subject=subject, plan=plan, seed=seed)


def _frame(policy: Subject) -> FrameSpec:
    return (policy if isinstance(policy, TrainedPolicy) else policy.members[0]).spec.frame


def _recital(medians: Medians) -> Recital:
    """What was pressed at each step of each scenario on the median. Frame 0's action is no press."""
    return Recital(
        {name: np.stack([medians.at(step, name) for step in range(1, MAX_PRESSES + 1)]) for name in SCENARIOS}
    )


class _Tally:
    """Trials done, of how many."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def count(self, _: TrialOutcome) -> None:
        self._done += 1
        self._tell()

    def skip(self, trials: int) -> None:
        """They will not be driven."""
        self._total -= trials
        if trials:
            self._tell()

    def _tell(self) -> None:
        if self._progress:
            self._progress(self._done, self._total)


def drive_rooms(
    go: Callable[[str, Sequence[Room]], list[TrialOutcome]],
    names: Sequence[str],
    rooms: Sequence[Room],
    plan: TrialPlan,
    subject: str,
) -> dict[str, list[TrialOutcome]]:
    """Everybody through the same rooms: through all, or round by round until it is clear.

    A run that may stop is looked at first after the rooms of the shift suites, so that the suites' number of rooms is
    fixed beforehand too, and their intervals are the ordinary ones.

    Args:
        go: lets a driver, by name, through rooms.
        names: who drives, the subject among them.
        rooms: in rounds of the eight scenarios.
    """
    driven: dict[str, list[TrialOutcome]] = {name: [] for name in names}
    for part in _parts(rooms, plan):
        for name in names:
            driven[name] += go(name, part)
        if plan.stop_early and may_stop(_pairs(driven, subject, plan)):
            break
    return driven


def _parts(rooms: Sequence[Room], plan: TrialPlan) -> Iterator[Sequence[Room]]:
    if not plan.stop_early:
        yield rooms
        return
    each = len(SCENARIOS)
    first = each * max(1, math.ceil(plan.shift_rooms / each))
    yield rooms[:first]
    for start in range(first, len(rooms), each):
        yield rooms[start : start + each]


def _pairs(driven: Driven, subject: str, plan: TrialPlan) -> tuple[PairedTrials, ...]:
    return tuple(
        pair(driven[subject], outcomes, stop_early=plan.stop_early)
        for name, outcomes in driven.items()
        if name != subject
    )


def conclude(
    driven: Driven, shifted: Mapping[Shift, Driven], *, subject: str, plan: TrialPlan, seed: int
) -> ClosedLoop:
    """What follows from the outcomes of everybody in the same rooms, unshifted, and of some in the first of them under
    each shift."""
    metrics, effects = room_metrics(driven, seed=seed, stop_early=plan.stop_early), []
    for shift, own in shifted.items():
        metrics += room_metrics(own, seed=seed)
        before, after = ([item.success for item in outcomes] for outcomes in (driven[subject], own[subject]))
        loss = paired_difference(before[: len(after)], after)
        effects.append(ShiftEffect(shift=shift.name, family=str(shift.family), what=shift.what, loss=loss))
    everything = (driven, *shifted.values())
    return ClosedLoop(
        metrics=tuple(metrics),
        pairs=_pairs(driven, subject, plan),
        shifts=tuple(effects),
        outcomes=tuple(item for part in everything for outcomes in part.values() for item in outcomes),
    )
