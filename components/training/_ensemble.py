"""Convex weights for an ensemble, from validation data alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.contracts import ACTION_LIMIT, AXES, DatasetVersion, Ensemble, TrainedPolicy
from components.contracts.errors import TrainingError
from components.datasets import EpisodeFrames, load_split
from components.policies import Predictions, predict
from components.storage import ObjectStore

_FOLDS = 5
_LEAST_WEIGHT = 0.01
"""A member below it costs a robot more time than it is worth, and is left out."""
_TINY = 1e-9


def fit_ensemble(
    store: ObjectStore, dataset: DatasetVersion, members: Sequence[TrainedPolicy], *, name: str = "ensemble"
) -> Ensemble:
    """Choose and weight members by the validation split.

    The loss is the mixture's log-loss (`keys`) or the mean absolute error of the weighted mean (`continuous`), over the
    commanded axes, frame 0 excluded. `validation_loss_held_out` is cross-fitted: each collection session (each episode,
    where there is but one session) is judged by weights that were fitted without it.

    Args:
        store: Shards and weights.
        dataset: The one that the members were trained on.
        members: At least one; of one action space, frame and vocabulary.
        name: The ensemble's.

    Returns:
        Members whose weight is at least 0.01, with their weights.

    Raises:
        TrainingError: no members, members of another dataset, or of several action spaces.
        PolicyError, StorageError: weights that cannot be loaded.
    """
    if not members:
        raise TrainingError("expected at least one member to make an ensemble of, got none; train some first")
    for member in members:
        if member.dataset != dataset.version or member.spec.action_space != members[0].spec.action_space:
            raise TrainingError(
                f"{member.name} was trained on dataset {member.dataset[:12]} in {member.spec.action_space}, expected "
                f"{dataset.version[:12]} in {members[0].spec.action_space}; train the members of an ensemble together"
            )
    episodes = load_split(store, dataset, "validation")
    table = _Table(members, [predict(store, member, episodes) for member in members], episodes)
    kept = [index for index, weight in enumerate(table.fit()) if weight >= _LEAST_WEIGHT]
    weights, chosen = table.of(kept).fit(), tuple(members[index] for index in kept)
    return Ensemble(
        name=name,
        members=chosen,
        weights=tuple(float(weight) for weight in weights),
        dataset=dataset.version,
        validation_loss=table.of(kept).loss(weights),
        validation_loss_held_out=table.held_out_loss(),
    )


class _Table:
    """Each member's answer to each validation frame."""

    def __init__(
        self,
        members: Sequence[TrainedPolicy],
        predictions: Sequence[Sequence[Predictions]],
        episodes: Sequence[EpisodeFrames],
    ) -> None:
        axes = [AXES.index(axis) for axis in members[0].spec.axes]
        actions = np.concatenate([episode.actions[1:, axes] for episode in episodes])
        scores = np.stack([np.concatenate([item.scores[1:][:, axes] for item in one]) for one in predictions]).astype(
            np.float64
        )
        self.keys = members[0].spec.action_space == "keys"
        if self.keys:
            classes = np.clip(np.rint(actions / ACTION_LIMIT), -1, 1).astype(np.int64) + 1
            scores = np.take_along_axis(scores, classes[None, ..., None], axis=-1)[..., 0]
        self.answers: NDArray[np.float64] = scores
        """(M, frames, axes): probability of what was done, or the value."""
        self.actions = actions
        lengths = [len(episode.frames) - 1 for episode in episodes]
        sessions = [f"{episode.robot}/{episode.session}" for episode in episodes]
        units = sessions if len(set(sessions)) > 1 else [episode.sha256 for episode in episodes]
        self.units = np.repeat(np.unique(units, return_inverse=True)[1], lengths)

    def of(self, members: Sequence[int], frames: NDArray[np.bool_] | None = None) -> "_Table":
        """Some members, some frames."""
        part = object.__new__(_Table)
        chosen = slice(None) if frames is None else frames
        part.keys, part.answers = self.keys, self.answers[list(members)][:, chosen]
        part.actions, part.units = self.actions[chosen], self.units[chosen]
        return part

    def loss(self, weights: NDArray[np.float64]) -> float:
        mixed = np.tensordot(weights, self.answers, 1)
        if self.keys:
            return float(-np.log(mixed + _TINY).mean())
        return float(np.abs(mixed - self.actions).mean())

    def fit(self) -> NDArray[np.float64]:
        """Weights of least loss: at least 0, of sum 1. The problem is convex."""
        from scipy.optimize import minimize  # here, not above: Ray's workers import this room and never fit weights

        count = len(self.answers)
        if count == 1:
            return np.ones(1)
        found = minimize(
            self.loss,
            np.full(count, 1 / count),
            method="SLSQP",
            bounds=[(0, 1)] * count,
            constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        )
        weights: NDArray[np.float64] = np.clip(found.x, 0, 1)
        weights /= weights.sum()
        return weights

    def held_out_loss(self) -> float:
        """Mean loss of each unit under weights that were fitted without it.

        Raises:
            TrainingError: fewer than 2 units.
        """
        from sklearn.model_selection import GroupKFold

        units = np.unique(self.units)
        if len(units) < 2:
            raise TrainingError(
                "expected at least 2 validation episodes to judge an ensemble by weights that were fitted without "
                f"them, got {len(units)}; record more episodes"
            )
        everyone, total = range(len(self.answers)), 0.0
        for fit, held in GroupKFold(min(_FOLDS, len(units))).split(self.actions, groups=self.units):
            weights = self.of(everyone, np.isin(np.arange(len(self.actions)), fit)).fit()
            total += self.of(everyone, np.isin(np.arange(len(self.actions)), held)).loss(weights) * len(held)
        return total / len(self.actions)
