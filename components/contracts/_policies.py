"""Policies: what to train, and what training gave."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal, Protocol, runtime_checkable

from pydantic import Field, field_validator, model_validator

from ._base import Frozen
from ._datasets import FrameSpec
from ._episodes import AXES, Axis
from ._refs import Lineage, ObjectRef, Sha256

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


MOST_OTHER_KEYS = 0.2
"""Share of actions that are no key press above which a dataset's actions are continuous."""
MemberName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
"""It is part of files' names."""
ENSEMBLE: Final = "ensemble"


class Policy(Protocol):
    """Anything that drives: a trained policy, an ensemble, a package's runtime, a scripted expert.

    It is given every frame of an episode in order, frame 0 too: there the robot stands still whatever `act` answers,
    and a policy that remembers has seen the start. Training and evaluation do the same: frame 0 goes in, but no loss
    and no metric counts it. `action[t]` answers `image[t]`.
    """

    def reset(self, instruction: str) -> None:
        """Begin an episode."""

    def act(self, image: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """(H, W, 3) uint8 RGB as the camera gives it -> (3,) float32: m/s, m/s, rad/s."""


@runtime_checkable
class PolicyBatch(Protocol):
    """The same at several wheels at once: each answers its own frames, whatever the others are shown."""

    batch: int
    """Episodes side by side, at most."""

    def reset(self, instructions: Sequence[str]) -> None:
        """Begin as many episodes."""

    def act(self, images: "Sequence[NDArray[np.uint8]]") -> "NDArray[np.float32]":
        """One (H, W, 3) uint8 RGB an episode, in the order of `reset` -> (episodes, 3) float32."""


class TrainingSpec(Frozen):
    """The plain loop's settings."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 48
    batch_episodes: Annotated[int, Field(ge=1)] = 4
    """Small: a hundred episodes give too few steps an epoch otherwise."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    patience: Annotated[int, Field(ge=1)] = 15
    """Epochs without a better validation loss before the run stops."""
    mirror: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability of the left/right mirror, which also mirrors linear_y, angular_z and the instruction."""
    photometric: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Strength of brightness, contrast and colour jitter."""
    word_dropout: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Largest share of an instruction's words, left and right apart, that are replaced by an unknown one; each episode
    of a batch draws its own share. A policy that hears every word always is lost when the same is said in others."""
    seed: Annotated[int, Field(ge=0)] = 0
    precision: Literal["fp32", "bf16"] = "fp32"


class PolicySpec(Frozen):
    """One policy's architecture and training: a recipe returns it."""

    recipe: str
    backbone: Literal["compact"] = "compact"
    head: Literal["mlp", "lstm"] = "lstm"
    action_space: Literal["keys", "continuous"] = "keys"
    """`keys`: three classes an axis (-limit, 0, +limit). `continuous`: a value an axis in [-limit, limit]."""
    axes: tuple[Axis, ...]
    """The axes it commands, in AXES' order; the others are always 0."""
    frame: FrameSpec = FrameSpec()
    features: Annotated[int, Field(ge=4)] = 96
    hidden: Annotated[int, Field(ge=4)] = 96
    instruction_features: Annotated[int, Field(ge=1)] = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    training: TrainingSpec = TrainingSpec()

    @field_validator("axes")
    @classmethod
    def _axes_are_in_order(cls, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        if not axes or axes != tuple(axis for axis in AXES if axis in axes):
            given = ", ".join(axes) or "none"
            raise ValueError(f"expected at least one of {', '.join(AXES)} in that order, each once, got {given}")
        return axes


class EpochMetrics(Frozen):
    """One epoch of one run. `mae` is over the spec's axes, frame 0 excluded, on validation: a learning curve, no figure
    that decides."""

    epoch: int
    training_loss: float
    validation_loss: float
    validation_mae: float
    learning_rate: float
    frames_per_s: float


class TrainedPolicy(Frozen):
    """One member: spec, weights, and where they came from."""

    name: str
    spec: PolicySpec
    vocabulary: tuple[str, ...]
    weights: ObjectRef
    """Safetensors of the state dict."""
    dataset: Sha256
    curve: tuple[EpochMetrics, ...]
    best_epoch: int
    lineage: Lineage
    workers: Annotated[int, Field(ge=1, exclude_if=lambda value: value == 1)] = 1
    """Processes that trained it together: as many give the same bits, others do not. Left out of the JSON where it is
    one: policies from before it was written down keep their digests."""


class Ensemble(Frozen):
    """Members and their convex weights, fitted on validation data alone."""

    name: str = ENSEMBLE
    members: Annotated[tuple[TrainedPolicy, ...], Field(min_length=1)]
    weights: tuple[float, ...]
    dataset: Sha256
    validation_loss: float
    """Of the weighted ensemble, on the data that the weights were fitted on."""
    validation_loss_held_out: float
    """The same, cross-fitted: each episode's loss under weights that were fitted without it."""

    @model_validator(mode="after")
    def _weights_are_convex(self) -> "Ensemble":
        if len(self.weights) != len(self.members):
            raise ValueError(f"expected {len(self.members)} weights, one a member, got {len(self.weights)}")
        if min(self.weights) < 0 or abs(sum(self.weights) - 1) > 1e-6:
            raise ValueError(f"weights must be at least 0 and sum to 1, got {self.weights}")
        return self
