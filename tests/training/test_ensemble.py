"""Ensembles: convex, fitted on validation, honest about it."""

import itertools

import numpy as np
import pytest
import torch

from components.contracts import DatasetVersion, PolicySpec, TrainedPolicy, TrainingSpec, describe_lineage
from components.contracts.errors import TrainingError
from components.datasets import load_split
from components.policies import build_module, predict, recipes, save_weights
from components.storage import FolderStore
from components.training import fit_ensemble
from components.training._data import TrainingData, stack
from components.training._loop import fit

World = tuple[FolderStore, DatasetVersion]


def spec_of(dataset: DatasetVersion, action_space: str = "keys", seed: int = 0) -> PolicySpec:
    return recipes.compact_lstm(
        dataset.axes, frame=dataset.spec.frame, features=12, hidden=12, instruction_features=4, dropout=0.1,
        action_space=action_space, training=TrainingSpec(epochs=12, batch_episodes=4, learning_rate=1e-2, seed=seed),
    )  # fmt: skip


def member(
    world: World, name: str, *, action_space: str = "keys", seed: int = 0, learned: bool = True
) -> TrainedPolicy:
    store, dataset = world
    spec = spec_of(dataset, action_space, seed)
    if learned:
        parts = [stack(load_split(store, dataset, split), dataset.vocabulary) for split in ("train", "validation")]
        weights = fit(TrainingData(parts[0], parts[1], dataset.vocabulary), spec).weights
    else:
        torch.manual_seed(seed)
        weights = build_module(spec, dataset.vocabulary).state_dict()
    return TrainedPolicy(
        name=name, spec=spec, vocabulary=dataset.vocabulary, weights=save_weights(store, weights),
        dataset=dataset.version, curve=(), best_epoch=0, lineage=describe_lineage(("torch",)),
    )  # fmt: skip


def validation_loss(world: World, members: list[TrainedPolicy], weights: tuple[float, ...]) -> float:
    """The mixture's log-loss, written out."""
    episodes = load_split(*world, "validation")
    answers = [predict(world[0], policy, episodes) for policy in members]
    losses = []
    for index, episode in enumerate(episodes):
        for frame, axis in itertools.product(range(1, len(episode.frames)), (0, 1)):
            done = round(float(episode.actions[frame, axis]) / 1.15) + 1
            mixed = sum(
                weight * one[index].scores[frame, axis, done] for weight, one in zip(weights, answers, strict=True)
            )
            losses.append(-np.log(mixed))
    return float(np.mean(losses))


def test_fitted_weights_lose_least_of_all_convex_weights(world: World) -> None:
    members = [member(world, "a"), member(world, "b", seed=1)]
    ensemble = fit_ensemble(*world, members)
    found = dict(zip([item.name for item in ensemble.members], ensemble.weights, strict=True))
    losses = {share: validation_loss(world, members, (share, 1 - share)) for share in np.linspace(0, 1, 11)}
    assert ensemble.validation_loss <= min(losses.values()) + 1e-4
    assert validation_loss(world, members, (found.get("a", 0), found.get("b", 0))) == pytest.approx(
        ensemble.validation_loss, abs=1e-4
    )
    assert ensemble.validation_loss_held_out >= ensemble.validation_loss - 1e-6


def test_a_member_that_knows_nothing_is_left_out(world: World) -> None:
    good, useless = member(world, "good"), member(world, "useless", seed=5, learned=False)
    ensemble = fit_ensemble(*world, [useless, good])
    assert dict(zip([item.name for item in ensemble.members], ensemble.weights, strict=True))["good"] > 0.9


def test_continuous_members_are_weighted_by_their_error(world: World) -> None:
    members = [member(world, name, action_space="continuous", seed=seed) for seed, name in enumerate("ab")]
    ensemble = fit_ensemble(*world, members, name="mean")
    assert sum(ensemble.weights) == pytest.approx(1)
    assert ensemble.name == "mean"
    assert 0 < ensemble.validation_loss < 1.15


def test_one_member_is_an_ensemble_of_weight_one(world: World) -> None:
    ensemble = fit_ensemble(*world, [member(world, "only", learned=False)])
    assert ensemble.weights == (1.0,)
    assert ensemble.validation_loss_held_out == pytest.approx(ensemble.validation_loss)


def test_no_members_are_refused(world: World) -> None:
    with pytest.raises(TrainingError, match="at least one member"):
        fit_ensemble(*world, [])


def test_members_of_another_dataset_or_action_space_are_refused(world: World) -> None:
    policy = member(world, "a", learned=False)
    for other in (
        policy.model_copy(update={"dataset": "1" * 64}),
        member(world, "b", action_space="continuous", learned=False),
    ):
        with pytest.raises(TrainingError, match="train the members of an ensemble together"):
            fit_ensemble(*world, [policy, other])
