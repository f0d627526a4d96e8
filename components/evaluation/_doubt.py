"""What a policy does not know of an episode, as a number to rank by.

Ranked by disagreement, not by entropy: disagreement is the part of the doubt that more data can take away, while a
fork that every member knows to be one keeps its entropy however often it is recorded. A policy of one member has no
disagreement, and is ranked by its entropy.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from components.contracts import Axis, Ensemble, TrainedPolicy
from components.contracts.errors import EvidenceError
from components.datasets import EpisodeFrames
from components.policies import Predictions, StepModule, load_module, predict_with
from components.storage import ObjectStore

from ._calibration import Keyboard
from ._disagreement import IN_NATS, SPREAD, uncertainty

ENTROPY = "entropy of the policy's key distribution, in nats a frame: one member disagrees with nobody"


@dataclass(frozen=True, eq=False)
class Doubt:
    """What a policy does not know of one episode."""

    mean: float
    """Over frames 1..: disagreement, or entropy for a policy of one member."""
    entropy: float | None
    frame: int
    """Where it is largest."""
    said: tuple[str, ...]
    """What the members say there; nothing where actions are continuous."""


class Doubter:
    """A policy that is asked what it does not know."""

    def __init__(
        self, members: Sequence[tuple[str, StepModule]], weights: Sequence[float], axes: Sequence[Axis]
    ) -> None:
        self._members, self._weights, self._axes = members, weights, axes
        self.alone = len(members) == 1
        keys = members[0][1].action_space == "keys"
        if self.alone and not keys:
            raise EvidenceError(
                f"{members[0][0]} is one member with continuous actions: it has neither disagreement nor entropy; "
                "suggest with an ensemble of two members or more"
            )
        self.measure = SPREAD if not keys else ENTROPY if self.alone else IN_NATS

    def ask(self, episodes: Sequence[EpisodeFrames]) -> list[Doubt]:
        """In their order."""
        answers = zip(*(predict_with(module, episodes) for _, module in self._members), strict=True)
        return [self._doubt(item) for item in answers]

    def _doubt(self, answers: Sequence[Predictions]) -> Doubt:
        found = uncertainty(answers, self._weights, self._axes)
        doubt = (found.entropy if self.alone else found.disagreement)[1:]
        entropy = float(found.entropy[1:].mean())
        frame = int(doubt.argmax()) + 1
        said = () if np.isnan(entropy) else tuple(self._said(answers, frame))
        return Doubt(float(doubt.mean()), None if np.isnan(entropy) else entropy, frame, said)

    def _said(self, answers: Sequence[Predictions], frame: int) -> Iterator[str]:
        keyboard = Keyboard(self._axes)
        for (name, _), answer in zip(self._members, answers, strict=True):
            told = keyboard.probabilities(answer.scores[frame : frame + 1])[0]
            yield f"{name} {keyboard.names[int(told.argmax())]} ({told.max():.2f})"


def take_turns(doubt: Sequence[float], kin: Sequence[Hashable]) -> list[int]:
    """Places by falling doubt, but of each kin one before any has its second: near-duplicates do not fill the top."""
    turns: dict[Hashable, int] = {}
    placed: list[tuple[int, int, int]] = []
    for index in sorted(range(len(doubt)), key=lambda index: (-doubt[index], index)):
        turn = turns[kin[index]] = turns.get(kin[index], -1) + 1
        placed.append((turn, len(placed), index))
    return [index for *_, index in sorted(placed)]


def open_doubter(store: ObjectStore, subject: Ensemble | TrainedPolicy, axes: Sequence[Axis]) -> Doubter:
    """A trained policy, ready to be asked.

    Raises:
        EvidenceError: one member with continuous actions.
        PolicyError, IntegrityError: weights that cannot be loaded.
    """
    members = subject.members if isinstance(subject, Ensemble) else (subject,)
    weights = subject.weights if isinstance(subject, Ensemble) else (1.0,)
    return Doubter([(item.name, load_module(store, item)) for item in members], weights, axes)
