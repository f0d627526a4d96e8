"""The plain loop, without Ray."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from components.contracts import EpochMetrics, FrameSpec, PolicySpec, TrainingSpec
from components.contracts.errors import TrainingError
from components.datasets import EpisodeFrames
from components.episodes import UNKNOWN
from components.policies import build_module, normalise, recipes
from components.training._batches import plain_batches, training_batches
from components.training._data import TrainingData, stack
from components.training._loop import Save, fit, learning_rate, validate

VOCABULARY = ("go", "left", "right")


def spec_of(head: str = "lstm", *, action_space: str = "keys", **training: object) -> PolicySpec:
    recipe = recipes.compact_lstm if head == "lstm" else recipes.compact_mlp
    settings = {"epochs": 6, "batch_episodes": 4, "learning_rate": 1e-2} | training
    return recipe(
        ("linear_x", "linear_y"),
        training=TrainingSpec.model_validate(settings),
        action_space=action_space,
        frame=FrameSpec(width=16, height=9),
        features=12,
        hidden=12,
        instruction_features=4,
        dropout=0.1,
    )


@pytest.mark.parametrize("action_space", ["keys", "continuous"])
@pytest.mark.parametrize("head", ["mlp", "lstm"])
def test_what_can_be_seen_and_is_told_is_learned(data: TrainingData, head: str, action_space: str) -> None:
    spec = spec_of(head, action_space=action_space, epochs=120, patience=120)
    fitted = fit(data, spec)
    module = build_module(spec, VOCABULARY)
    module.load_state_dict(fitted.weights)
    loss, mae = validate(module, data.validation, spec)
    assert loss == pytest.approx(fitted.curve[fitted.best_epoch].validation_loss, rel=1e-4)
    wanted = data.validation.actions[data.validation.counted][:, :2]
    constant = np.abs(wanted - np.median(wanted, axis=0)).mean()
    assert mae < constant / 3


def test_a_resumed_run_gives_the_bits_of_an_undisturbed_one(data: TrainingData, tmp_path: Path) -> None:
    spec, path = spec_of(), tmp_path / "checkpoint.safetensors"
    undisturbed = fit(data, spec)

    class CutOffError(Exception):
        pass

    def cut(metrics: EpochMetrics, save: Save, last: bool) -> None:
        save(path)
        if metrics.epoch == 2:
            raise CutOffError

    with pytest.raises(CutOffError):
        fit(data, spec, on_epoch=cut)
    resumed = fit(data, spec, resume=path)
    assert resumed.best_epoch == undisturbed.best_epoch
    assert [(m.epoch, m.training_loss, m.validation_loss) for m in resumed.curve] == [
        (m.epoch, m.training_loss, m.validation_loss) for m in undisturbed.curve
    ]
    for name, tensor in undisturbed.weights.items():
        assert torch.equal(resumed.weights[name], tensor)


def test_a_finished_run_is_resumed_without_another_epoch(data: TrainingData, tmp_path: Path) -> None:
    spec, path = spec_of(), tmp_path / "checkpoint.safetensors"
    lasts: list[bool] = []
    first = fit(data, spec, on_epoch=lambda metrics, save, last: (save(path), lasts.append(last))[0])
    assert lasts == [False] * (len(first.curve) - 1) + [True]
    again = fit(data, spec, resume=path, on_epoch=lambda *_: pytest.fail("an epoch was run"))
    assert again.curve == first.curve


def test_equal_seeds_give_equal_weights_and_others_do_not(data: TrainingData) -> None:
    one, same, other = (fit(data, spec_of(epochs=2, seed=seed)).weights for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_training_leaves_the_callers_generator_alone(data: TrainingData) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(data, spec_of(epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_a_checkpoint_of_another_run_is_refused(data: TrainingData, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    fit(data, spec_of(epochs=1), on_epoch=lambda metrics, save, last: save(path))
    with pytest.raises(TrainingError, match="spec or vocabulary differ"):
        fit(data, spec_of(epochs=2), resume=path)


@pytest.mark.parametrize("keep", [0, 100, -10])
def test_a_truncated_checkpoint_is_refused(data: TrainingData, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "checkpoint.safetensors"
    fit(data, spec_of(epochs=1), on_epoch=lambda metrics, save, last: save(path))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TrainingError, match="no readable checkpoint"):
        fit(data, spec_of(epochs=1), resume=path)


def test_patience_ends_a_run_that_gets_no_better(data: TrainingData) -> None:
    contrary = replace(data, validation=replace(data.validation, actions=-data.validation.actions))
    fitted = fit(contrary, spec_of(epochs=60, patience=3))
    assert len(fitted.curve) < 60
    assert fitted.curve[-1].epoch - fitted.best_epoch == 3
    assert fitted.curve[fitted.best_epoch].validation_loss == min(item.validation_loss for item in fitted.curve)


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(data: TrainingData) -> None:
    actions = data.training.actions.copy()
    actions[:, 1:] = np.nan
    broken = replace(data, training=replace(data.training, actions=actions))
    with pytest.raises(TrainingError, match="lower the learning rate"):
        fit(broken, spec_of(action_space="continuous"))


def test_bf16_learns_too(data: TrainingData) -> None:
    fitted = fit(data, spec_of(precision="bf16", epochs=20))
    assert fitted.curve[-1].training_loss < 0.7 * fitted.curve[0].training_loss
    assert all(tensor.dtype == torch.float32 for tensor in fitted.weights.values())


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    spec = spec_of(warmup_fraction=0.1, learning_rate=1.0)
    rates = [learning_rate(spec, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert 0 <= rates[99] < 1e-3
    assert all(math.isfinite(learning_rate(spec, step, 1)) for step in range(1))


def test_mirrored_batches_mirror_frames_actions_and_instruction(data: TrainingData) -> None:
    settings = TrainingSpec(mirror=1.0, photometric=0.0, word_dropout=0.0, batch_episodes=4)
    seen = 0
    for batch in training_batches(data.training, settings, epoch=0):
        for index in range(len(batch.images)):
            original = next(
                row
                for row in range(len(data.training))
                if torch.equal(batch.images[index, 0], normalise(mirrored(data.training.frames[row]))[0])
            )
            assert torch.equal(batch.images[index], normalise(mirrored(data.training.frames[original])))
            assert np.array_equal(batch.actions[index], data.training.actions[original] * [1, -1, -1])
            assert np.array_equal(batch.tokens[index], data.training.mirrored_tokens[original])
            assert not np.array_equal(batch.tokens[index], data.training.tokens[original])
            seen += 1
    assert seen == len(data.training)


def mirrored(frames: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> torch.Tensor:
    return torch.from_numpy(frames[:, :, ::-1].copy())


def test_words_go_unheard_and_sides_never(data: TrainingData) -> None:
    settings = TrainingSpec(mirror=0.5, word_dropout=1.0, batch_episodes=100)
    go, left, right = (VOCABULARY.index(word) + 2 for word in VOCABULARY)
    heard = np.concatenate([
        next(iter(training_batches(data.training, settings, epoch=epoch))).tokens.numpy() for epoch in range(20)
    ])  # fmt: skip
    assert set(heard[:, 0].tolist()) == {go, UNKNOWN}
    assert set(heard[:, 1].tolist()) == {left, right}
    assert not heard[:, 2:].any()


def test_light_changes_within_an_episode_alike_and_stays_in_range(data: TrainingData) -> None:
    settings = TrainingSpec(mirror=0.0, photometric=0.3, batch_episodes=100)
    (lit,) = training_batches(data.training, settings, epoch=0)
    (again,) = training_batches(data.training, settings, epoch=0)
    (other,) = training_batches(data.training, settings, epoch=1)
    assert torch.equal(lit.images, again.images)
    assert not torch.equal(lit.images, other.images)
    assert lit.images.abs().max() <= 0.5
    blank = stack([still()], VOCABULARY)
    (one,) = training_batches(blank, settings, epoch=0)
    assert torch.equal(one.images[0, 0], one.images[0, -1])


def still() -> EpisodeFrames:
    frames = np.full((4, 9, 16, 3), 128, dtype=np.uint8)
    return EpisodeFrames("0" * 64, "e", "r", "s", None, "go", frames, np.zeros((4, 3), np.float32))


def test_ranks_share_every_epoch_and_agree_on_who_is_in_it(data: TrainingData) -> None:
    settings = TrainingSpec(mirror=0.0, photometric=0.0, batch_episodes=5)
    counts = np.zeros(len(data.training), dtype=int)
    per_rank = []
    for rank in range(2):
        batches = list(training_batches(data.training, settings, epoch=3, rank=rank, world=2))
        per_rank.append(len(batches))
        for batch in batches:
            for actions, images in zip(batch.actions, batch.images, strict=True):
                counts[
                    [
                        np.array_equal(actions, data.training.actions[row])
                        and torch.equal(images, normalise(torch.from_numpy(data.training.frames[row].copy())))
                        for row in range(len(data.training))
                    ]
                ] += 1
    assert per_rank[0] == per_rank[1]
    assert (counts == 1).all()


def test_a_batch_smaller_than_the_ranks_still_gives_each_something(data: TrainingData) -> None:
    settings = TrainingSpec(batch_episodes=1)
    for rank in range(2):
        assert all(len(batch.images) == 1 for batch in training_batches(data.training, settings, 0, rank=rank, world=2))


def test_padding_and_frame_zero_count_nothing(data: TrainingData) -> None:
    (batch,) = plain_batches(data.training, 100)
    lengths = [4 + number % 3 for number in range(len(data.training))]
    assert batch.counted.sum(dim=1).tolist() == [length - 1 for length in lengths]
    assert not batch.counted[:, 0].any()


def test_no_episodes_are_refused() -> None:
    with pytest.raises(TrainingError, match="expected episodes with frames after frame 0"):
        stack([], VOCABULARY)
