"""The four baselines that every figure stands beside, fitted on the training split. None of them sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from components.contracts.errors import EvidenceError

from ._truth import Actions


class Recorded(Protocol):
    """An episode as far as baselines look: what was done, and in which scenario."""

    @property
    def actions(self) -> Actions:
        """(T, 3)"""

    @property
    def scenario(self) -> str | None:
        """None where the name tells none."""


@dataclass(frozen=True)
class Medians:
    """Medians of the training split's actions: the least absolute error of anything blind. Frame 0, whose action is
    always zero, counts for step 0 alone.

    The lower median is taken, so that the median of key presses is a key press. A step or scenario that training did
    not hold falls back from (scenario, step) to step to the one constant.
    """

    constant: Actions
    """(3,)"""
    by_step: dict[int, Actions]
    by_step_and_scenario: dict[tuple[str, int], Actions]

    def at(self, step: int, scenario: str | None) -> Actions:
        """(3,): the most that step and scenario tell."""
        known = self.by_step_and_scenario.get((scenario, step)) if scenario is not None else None
        return known if known is not None else self.by_step.get(step, self.constant)


def fit_medians(training: Sequence[Recorded]) -> Medians:
    """Fit on training episodes.

    Raises:
        EvidenceError: no frame after frame 0 in any of them.
    """
    by_step: dict[int, list[Actions]] = {}
    by_both: dict[tuple[str, int], list[Actions]] = {}
    for episode in training:
        for step, action in enumerate(episode.actions):
            by_step.setdefault(step, []).append(action)
            if episode.scenario is not None:
                by_both.setdefault((episode.scenario, step), []).append(action)
    moving = [action for step, actions in by_step.items() if step for action in actions]
    if not moving:
        raise EvidenceError("expected training frames after frame 0 to fit the baselines on, got none")
    return Medians(
        constant=_median(moving),
        by_step={step: _median(actions) for step, actions in by_step.items()},
        by_step_and_scenario={key: _median(actions) for key, actions in by_both.items()},
    )


def _median(actions: Sequence[Actions]) -> Actions:
    return np.quantile(np.stack(actions), 0.5, axis=0, method="lower").astype(np.float32)


def predict_baselines(medians: Medians, episodes: Sequence[Recorded]) -> dict[str, list[Actions]]:
    """Name -> (T, 3) an episode, for the four of `contracts.BASELINES`.

    `repeat-previous` is told the true previous action, which no robot has; frame 1, after the start, gets zero.
    """
    steps = [range(len(item.actions)) for item in episodes]
    return {
        "constant": [np.tile(medians.constant, (len(item.actions), 1)) for item in episodes],
        "median-per-step": [np.stack([medians.at(t, None) for t in own]) for own in steps],
        "median-per-step-and-scenario": [
            np.stack([medians.at(t, item.scenario) for t in own]) for item, own in zip(episodes, steps, strict=True)
        ],
        "repeat-previous": [_repeat(item.actions) for item in episodes],
    }


def _repeat(actions: Actions) -> Actions:
    repeated = np.zeros_like(actions)
    repeated[2:] = actions[1:-1]
    return repeated
