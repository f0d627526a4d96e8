"""Policies as modules: what they promise to training, export and robots."""

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from pydantic import ValidationError

from components.contracts import (
    ACTION_LIMIT,
    AXES,
    AxisStatistics,
    DatasetSpec,
    DatasetVersion,
    Ensemble,
    FrameSpec,
    Lineage,
    PolicySpec,
    TrainedPolicy,
)
from components.contracts.errors import IntegrityError, PolicyError
from components.datasets import EpisodeFrames
from components.episodes import KEYS, key_of, tokenize
from components.policies import (
    EnsembleModule,
    StepModule,
    build_module,
    driver,
    load_module,
    predict,
    recipes,
    save_weights,
)
from components.policies._decode import decode_keys
from components.storage import FolderStore

WORDS = ("around", "by", "go", "left", "right")
SMALL = {"frame": FrameSpec(width=16, height=9), "features": 8, "hidden": 8, "instruction_features": 4}


def spec_of(head: str, **changes: object) -> PolicySpec:
    recipe = recipes.compact_lstm if head == "lstm" else recipes.compact_mlp
    return recipe(changes.pop("axes", AXES), **(SMALL | changes))  # type: ignore[arg-type]


def module_of(spec: PolicySpec, seed: int = 0) -> StepModule:
    torch.manual_seed(seed)
    return build_module(spec, WORDS).eval()


def subject_of(store: FolderStore, spec: PolicySpec, seed: int = 0, name: str = "member") -> TrainedPolicy:
    weights = save_weights(store, module_of(spec, seed).state_dict())
    lineage = Lineage(code_revision="0", python="3.11", packages={}, machine="test")
    return TrainedPolicy(
        name=name, spec=spec, vocabulary=WORDS, weights=weights, dataset="0" * 64, curve=(), best_epoch=0,
        lineage=lineage,
    )  # fmt: skip


def ensemble_of(store: FolderStore, *, action_space: str = "keys") -> Ensemble:
    members = (
        subject_of(store, spec_of("lstm", action_space=action_space), 0, "a"),
        subject_of(store, spec_of("mlp", action_space=action_space), 1, "b"),
        subject_of(store, spec_of("lstm", action_space=action_space, hidden=12), 2, "c"),
    )
    return Ensemble(
        members=members, weights=(0.5, 0.2, 0.3), dataset="0" * 64, validation_loss=1.0, validation_loss_held_out=1.0
    )


def episode_of(length: int, seed: int = 0, size: tuple[int, int] = (9, 16)) -> EpisodeFrames:
    random = np.random.default_rng(seed)
    return EpisodeFrames(
        sha256=f"{seed:064d}", name=f"e{seed}", robot="r1", session="s", scenario=None,
        instruction="Go left around", frames=random.integers(0, 256, (length, *size, 3), dtype=np.uint8),
        actions=np.zeros((length, 3), np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("action_space", ["keys", "continuous"])
def test_step_by_step_equals_the_whole_sequence(tmp_path: Path, action_space: str) -> None:
    store = FolderStore(tmp_path)
    ensemble = ensemble_of(store, action_space=action_space)
    episodes = [episode_of(7, 1), episode_of(4, 2), episode_of(5, 3)]
    for subject in (*ensemble.members, ensemble):
        module = load_module(store, subject)
        for episode, whole in zip(episodes, predict(store, subject, episodes), strict=True):
            tokens = torch.from_numpy(tokenize(episode.instruction, WORDS))[None]
            state = module.initial_state()
            for index, frame in enumerate(episode.frames):
                actions, scores, *state = module.step(module.encode(torch.from_numpy(frame)[None]), tokens, *state)
                np.testing.assert_allclose(scores[0], whole.scores[index], atol=1e-6)
                np.testing.assert_allclose(actions[0], whole.actions[index], atol=1e-6)


def test_driver_acts_as_predicted_and_forgets_at_reset(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    ensemble, episode = ensemble_of(store), episode_of(6)
    expected = predict(store, ensemble, [episode])[0].actions
    policy = driver(store, ensemble)
    for _ in range(2):
        policy.reset(episode.instruction)
        assert np.array_equal([policy.act(frame) for frame in episode.frames], expected)


def test_scores_mix_the_members_probabilities_with_the_weights(tmp_path: Path) -> None:
    store, episode = FolderStore(tmp_path), episode_of(5)
    ensemble = ensemble_of(store)
    apart = [predict(store, member, [episode])[0].scores for member in ensemble.members]
    mixed = predict(store, ensemble, [episode])[0].scores
    np.testing.assert_allclose(mixed, np.tensordot(ensemble.weights, apart, 1), atol=1e-6)
    np.testing.assert_allclose(mixed.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("action_space", ["keys", "continuous"])
def test_axes_that_are_not_commanded_stay_still(tmp_path: Path, action_space: str) -> None:
    module = module_of(spec_of("lstm", axes=("linear_y",), action_space=action_space))
    images = torch.randint(0, 256, (2, 4, 9, 16, 3), dtype=torch.uint8)
    actions, scores = module.sequence(images, torch.zeros(2, 16, dtype=torch.int64))
    assert (actions[..., [0, 2]] == 0).all()
    if action_space == "keys":
        assert (scores[..., [0, 2], 1] == 1).all()
    assert (actions.abs() <= ACTION_LIMIT).all()


def test_decoded_keys_cost_least_of_all_keys_in_expectation() -> None:
    random = np.random.default_rng(0)
    scores = random.dirichlet((0.4, 0.4, 0.4), size=(500, 3)).astype(np.float32)
    values = np.array([-ACTION_LIMIT, 0, ACTION_LIMIT])
    table = np.stack(list(KEYS.values()))
    errors = np.abs(table[:, None, :, None] - values)  # key, 1, axis, class
    costs = (errors * scores[None]).sum((2, 3))
    for action, best in zip(decode_keys(torch.from_numpy(scores)).numpy(), costs.T, strict=True):
        key = key_of(action)
        assert key is not None
        assert best[list(KEYS).index(key)] == pytest.approx(best.min(), abs=1e-5)


def test_instructions_reach_the_actions_and_their_padding_does_not() -> None:
    module = module_of(spec_of("mlp"))
    features = module.encode(torch.zeros(1, 9, 16, 3, dtype=torch.uint8))

    def scores(text: str) -> torch.Tensor:
        return module.step(features, torch.from_numpy(tokenize(text, WORDS))[None])[1]

    assert not torch.allclose(scores("go left"), scores("go right"))
    assert not torch.allclose(scores("go left"), scores(""))
    assert torch.isfinite(scores("")).all()


def test_every_part_learns() -> None:
    for head in ("mlp", "lstm"):
        module = build_module(spec_of(head, dropout=0.0), WORDS)
        images = torch.rand(3, 4, 3, 9, 16) - 0.5
        tokens = torch.from_numpy(np.stack([tokenize(text, WORDS) for text in ("go left", "go right", "around x")]))
        module(images, tokens).square().sum().backward()
        assert all(parameter.grad is not None for parameter in module.parameters())
        assert module.instruction.embedding.weight.grad[1:].abs().sum() > 0


class Encode(torch.nn.Module):
    def __init__(self, module: StepModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.module.encode(image)


class Step(Encode):
    def forward(self, features: torch.Tensor, tokens: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.module.step(features, tokens, *state)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("action_space", ["keys", "continuous"])
def test_exported_graphs_act_as_torch_does(tmp_path: Path, action_space: str) -> None:
    store = FolderStore(tmp_path)
    module = load_module(store, ensemble_of(store, action_space=action_space))
    images = torch.randint(0, 256, (3, 9, 16, 3), dtype=torch.uint8)
    tokens = torch.from_numpy(np.stack([tokenize("go left", WORDS)] * 3))
    state = tuple(torch.rand(3, width) for width in module.state_sizes)
    features = module.encode(images)
    batch = torch.export.Dim("batch", min=1, max=64)
    encode, step = tmp_path / "encode.onnx", tmp_path / "step.onnx"
    torch.onnx.export(Encode(module), (images,), encode, dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
    torch.onnx.export(
        Step(module), (features, tokens, *state), step, dynamo=True, verbose=False,
        dynamic_shapes=({0: batch}, {0: batch}, tuple({0: batch} for _ in state)),
    )  # fmt: skip
    for count in (1, 3):
        inputs = (features[:count], tokens[:count], *(tensor[:count] for tensor in state))
        assert_same(encode, (images[:count],), (module.encode(images[:count]),))
        assert_same(step, inputs, module.step(*inputs))


def assert_same(path: Path, inputs: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    got = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)})
    for result, wanted in zip(got, expected, strict=True):
        np.testing.assert_allclose(result, wanted.numpy(), atol=1e-5)


def test_weights_of_another_spec_are_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    policy = subject_of(store, spec_of("lstm"))
    other = policy.model_copy(update={"spec": spec_of("lstm", hidden=16)})
    with pytest.raises(PolicyError, match="does not hold the weights of member"):
        load_module(store, other)


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    policy = subject_of(store, spec_of("mlp"))
    path = tmp_path / "models" / policy.weights.key
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError):
        load_module(store, policy)


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with pytest.raises(PolicyError, match="expected frames of"):
        predict(store, subject_of(store, spec_of("mlp")), [episode_of(3, size=(8, 16))])


def test_members_that_do_not_fit_each_other_are_refused() -> None:
    members = [module_of(spec_of("mlp")), module_of(spec_of("mlp", axes=("linear_x",)))]
    with pytest.raises(PolicyError, match="must share axes"):
        EnsembleModule(members, (0.5, 0.5))  # type: ignore[arg-type]


@pytest.mark.parametrize("axes", [(), ("linear_y", "linear_x")])
def test_axes_missing_or_out_of_order_are_refused(axes: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="in that order"):
        spec_of("mlp", axes=axes)


def test_large_frames_do_not_grow_the_linear_map() -> None:
    sizes = [
        sum(parameter.numel() for parameter in build_module(spec_of("lstm", frame=frame), WORDS).parameters())
        for frame in (FrameSpec(), FrameSpec(width=640, height=480))
    ]
    assert sizes[1] < 3 * sizes[0]


def test_recipes_differ_in_what_they_are_named_for() -> None:
    made = [recipe(AXES) for recipe in (recipes.compact_mlp, recipes.compact_lstm, recipes.compact_lstm_wide)]
    assert [spec.head for spec in made] == ["mlp", "lstm", "lstm"]
    assert all(a.digest() != b.digest() for a, b in itertools.combinations(made, 2))


@pytest.mark.parametrize(("other", "action_space"), [(5, "keys"), (90, "continuous")])
def test_default_members_fit_the_dataset(other: int, action_space: str) -> None:
    dataset = DatasetVersion(
        spec=DatasetSpec(frame=FrameSpec(width=32, height=18)), episodes=(), shards=(), vocabulary=WORDS,
        key_counts={"W": 95, "other": other},
        statistics=tuple(
            AxisStatistics(axis=axis, mean=0, std=1, minimum=-1, maximum=1, constant=axis == "angular_z")
            for axis in AXES
        ),
    )  # fmt: skip
    specs = recipes.default_members(dataset, epochs=3) | recipes.distributed_member(dataset, epochs=3)
    assert len(specs) == 4
    assert len({spec.digest() for spec in specs.values()}) == 4
    for spec in specs.values():
        assert spec.axes == ("linear_x", "linear_y")
        assert spec.frame == dataset.spec.frame
        assert spec.training.epochs == 3
        assert spec.action_space == action_space
