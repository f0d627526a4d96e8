"""Closed loop: the subject drives in simulated rooms, and so do those that it has to be read against.

What is not covered: reality. Every figure here is of the simulation alone.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from components.contracts import ClosedLoopScore, Ensemble, FrameSpec, TrainedPolicy, TrialOutcome
from components.policies import driver
from components.simulation import Room, run_trials, trial_rooms
from components.storage import FolderStore, ObjectStore, fetch

from ._baselines import Medians
from ._intervals import RATE, Bootstrap, wilson
from ._metrics import Actions

Subject = TrainedPolicy | Ensemble
LoopRole = Literal["subject", "expert", "straight-ahead", "baseline", "incumbent"]
INCUMBENT, BLIND = "incumbent", "median-per-step-and-scenario"
EXPERT: Final = "expert"
STRAIGHT_AHEAD: Final = "straight-ahead"


@dataclass(frozen=True)
class ClosedLoop:
    """Every driver's score, and every trial behind it."""

    scores: tuple[ClosedLoopScore, ...]
    outcomes: tuple[TrialOutcome, ...]


NOT_DRIVEN = ClosedLoop((), ())


class OpenLoopDriver:
    """Presses what was pressed at this step of this scenario on the median; never looks. See contracts.Policy."""

    def __init__(self, medians: Medians, scenario: str) -> None:
        self._medians, self._scenario = medians, scenario
        self._step = 0

    def reset(self, instruction: str) -> None:
        """Begin an episode; the scenario was told at the beginning, which is more than an instruction tells."""
        self._step = 0

    def act(self, image: NDArray[np.uint8]) -> Actions:
        """Frame 0 is given too, so the first press is the second answer."""
        step, self._step = self._step, self._step + 1
        return self._medians.at(step, self._scenario)


def drive(
    store: ObjectStore,
    policies: Mapping[str, Subject],
    medians: Medians,
    *,
    trials: int,
    seed: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> ClosedLoop:
    """Every driver meets the same rooms, which no demonstration was recorded in.

    Args:
        store: holds the policies' weights.
        policies: the subject first, and the incumbent under `incumbent`.
        medians: of the training split, for the blind driver.
        progress: called with (trials done, trials in all).
    """
    rooms = trial_rooms(trials, seed=seed)
    done, total = 0, len(rooms) * (len(policies) + 3)

    def tell(_: TrialOutcome) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    driven: list[tuple[str, LoopRole, list[TrialOutcome]]] = []
    with tempfile.TemporaryDirectory(prefix="drover-trials-") as folder:
        for name, policy in policies.items():
            local = _copy_weights(store, policy, Path(folder))  # a connection does not travel to other processes
            outcomes = run_trials(
                partial(driver, local, policy), name=name, rooms=rooms, workers=workers, frame=_frame(policy),
                progress=tell,
            )  # fmt: skip
            driven.append((name, "incumbent" if name == INCUMBENT else "subject", outcomes))
    driven.append((BLIND, "baseline", _drive_blind(medians, rooms, tell)))
    driven.append(
        (STRAIGHT_AHEAD, "straight-ahead", run_trials(STRAIGHT_AHEAD, name=STRAIGHT_AHEAD, rooms=rooms, progress=tell))
    )
    driven.append((EXPERT, "expert", run_trials(EXPERT, name=EXPERT, rooms=rooms, progress=tell)))
    return ClosedLoop(
        scores=tuple(summarise(name, role, outcomes, seed=seed) for name, role, outcomes in driven),
        outcomes=tuple(item for _, _, outcomes in driven for item in outcomes),
    )


def _copy_weights(store: ObjectStore, policy: Subject, folder: Path) -> FolderStore:
    local = FolderStore(folder)
    for member in [policy] if isinstance(policy, TrainedPolicy) else policy.members:
        local.put(member.weights.bucket, member.weights.key, fetch(store, member.weights))
    return local


def _frame(policy: Subject) -> FrameSpec:
    return (policy if isinstance(policy, TrainedPolicy) else policy.members[0]).spec.frame


def _drive_blind(medians: Medians, rooms: Sequence[Room], tell: Callable[[TrialOutcome], None]) -> list[TrialOutcome]:
    """A driver a scenario: only this one has to be told it."""
    found: dict[Room, TrialOutcome] = {}
    for scenario in sorted({name for name, _ in rooms}):
        own = [room for room in rooms if room[0] == scenario]
        outcomes = run_trials(
            partial(OpenLoopDriver, medians, scenario), name=BLIND, rooms=own, workers=1, progress=tell
        )
        found.update(zip(own, outcomes, strict=True))
    return [found[room] for room in rooms]


@dataclass(frozen=True)
class DrivenRow:
    """A driver's score and what the page tells beside it."""

    score: ClosedLoopScore
    reached: str
    right_side: str
    seconds: float
    """Mean simulated seconds a trial."""


def summarise(name: str, role: LoopRole, outcomes: Sequence[TrialOutcome], *, seed: int) -> ClosedLoopScore:
    """One driver's trials -> its rates (Wilson) and its SPL (bootstrap over trials)."""
    spl = Bootstrap(len(outcomes), seed=seed).estimate(
        {"spl": np.array([[item.spl] for item in outcomes])},
        lambda sums: sums["spl"][..., 0] / len(outcomes),
        RATE,
        "bootstrap-by-trial",
    )
    assert spl is not None  # a bounded mean is always defined
    return ClosedLoopScore(
        name=name,
        role=role,
        success=wilson(sum(item.success for item in outcomes), len(outcomes)),
        collisions=wilson(sum(item.collided for item in outcomes), len(outcomes)),
        spl=spl,
        mean_steps=float(np.mean([item.steps for item in outcomes])),
    )


def rows(scores: Sequence[ClosedLoopScore], outcomes: Sequence[TrialOutcome]) -> list[DrivenRow]:
    """Scores with the plain counts behind them, in the scores' order."""
    found = []
    for score in scores:
        own = [item for item in outcomes if item.policy == score.name]
        found.append(
            DrivenRow(
                score=score,
                reached=f"{sum(item.reached for item in own)} of {len(own)}",
                right_side=f"{sum(item.right_side for item in own)} of {len(own)}",
                seconds=float(np.mean([item.duration_s for item in own])),
            )
        )
    return found
