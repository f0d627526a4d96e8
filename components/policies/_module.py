"""Policies as torch modules: one interface for a member and for an ensemble."""

from collections.abc import Sequence

import torch
from torch import nn

from components.contracts import AXES, Axis, FrameSpec, PolicySpec
from components.contracts.errors import PolicyError

from ._compact import CompactBackbone, InstructionEncoder, normalise
from ._decode import decode_continuous, decode_keys, spread
from ._heads import LSTMHead, MLPHead


class StepModule(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A policy that acts frame by frame, with its memory as explicit tensors.

    `encode` and `step` are what is exported; `sequence` gives the same for whole episodes at once.
    """

    frame: FrameSpec
    axes: tuple[Axis, ...]
    action_space: str
    vocabulary: tuple[str, ...]
    feature_size: int
    state_sizes: tuple[int, ...]
    """Width of each state tensor (B, width) float32, zero when an episode begins."""

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """(B, h, w, 3) uint8 RGB of `frame`'s size -> (B, feature_size) float32."""
        raise NotImplementedError

    def score(
        self, features: torch.Tensor, tokens: torch.Tensor, *state: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """One frame's scores, and the new state."""
        raise NotImplementedError

    def score_sequence(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T, feature_size), (B, 16) -> (B, T, 3, 3) or (B, T, 3), from the beginning of the episodes."""
        raise NotImplementedError

    def step(self, features: torch.Tensor, tokens: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One frame.

        Args:
            features: (B, feature_size) float32.
            tokens: (B, 16) int64.
            state: each (B, width) float32, in `state_sizes`' order.

        Returns:
            actions (B, 3) m/s, m/s, rad/s as they are executed; scores (B, 3, 3) class probabilities over
            (-limit, 0, +limit), or (B, 3) values for continuous policies; then each new state.
        """
        scores, new_state = self.score(features, tokens, *state)
        return (self.decode(scores), scores, *new_state)

    def sequence(self, images: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, h, w, 3) uint8, (B, 16) -> actions (B, T, 3), scores (B, T, ...): what step by step would give."""
        features = self.encode(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        scores = self.score_sequence(features, tokens)
        return self.decode(scores), scores

    def decode(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores -> executed actions (..., 3)."""
        return decode_keys(scores) if self.action_space == "keys" else decode_continuous(scores)

    def initial_state(self, batch: int = 1) -> tuple[torch.Tensor, ...]:
        """Zeros."""
        return tuple(torch.zeros(batch, width) for width in self.state_sizes)


class PolicyModule(StepModule):
    """One member."""

    def __init__(self, spec: PolicySpec, vocabulary: Sequence[str]) -> None:
        super().__init__()
        if not spec.axes or list(spec.axes) != [axis for axis in AXES if axis in spec.axes]:
            raise PolicyError(f"expected at least one of {AXES} in that order, got axes {spec.axes}: give dataset.axes")
        self.frame, self.axes, self.action_space = spec.frame, spec.axes, spec.action_space
        self.vocabulary, self.feature_size = tuple(vocabulary), spec.features
        self.backbone = CompactBackbone(spec.frame, spec.features, spec.dropout)
        self.features = nn.Sequential(
            nn.LayerNorm(spec.features), nn.Dropout(spec.dropout), nn.Linear(spec.features, spec.hidden), nn.ReLU()
        )
        self.instruction = InstructionEncoder(len(self.vocabulary), spec.instruction_features)
        kind = LSTMHead if spec.head == "lstm" else MLPHead
        self.head = kind(spec.hidden + spec.instruction_features, spec.hidden, spec.dropout)
        self.classes = 3 if spec.action_space == "keys" else 1
        self.output = nn.Linear(spec.hidden, len(spec.axes) * self.classes)
        self.state_sizes = self.head.state_sizes

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return self.backbone(normalise(images))

    def score(
        self, features: torch.Tensor, tokens: torch.Tensor, *state: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        inputs = torch.cat([self.features(features), self.instruction(tokens)], dim=-1)
        hidden, *new_state = self.head.step(inputs, *state)
        return self.scores(self._outputs(hidden)), tuple(new_state)

    def score_sequence(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.scores(self.logits(features, tokens))

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """(..., A, classes) logits -> (..., 3, 3) or (..., 3) scores of all three axes."""
        return spread(logits, self.axes, self.action_space)

    def logits(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T, features), (B, 16) -> (B, T, A, 3) for `keys`, (B, T, A, 1) for `continuous`: what the loss sees."""
        told = self.instruction(tokens)[:, None].expand(-1, features.shape[1], -1)
        return self._outputs(self.head.sequence(torch.cat([self.features(features), told], dim=-1)))

    def forward(self, normalised: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Training's pass: (B, T, 3, h, w) from `normalise`, (B, 16) -> logits (B, T, A, classes)."""
        features = self.backbone(normalised.flatten(0, 1)).unflatten(0, normalised.shape[:2])
        return self.logits(features, tokens)

    def _outputs(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.output(hidden).unflatten(-1, (len(self.axes), self.classes))


class EnsembleModule(StepModule):
    """Members side by side: features and states concatenated, scores mixed with fixed convex weights."""

    def __init__(self, members: Sequence[PolicyModule], weights: Sequence[float]) -> None:
        super().__init__()
        first = members[0]
        for member in members[1:]:
            for field in ("frame", "axes", "action_space", "vocabulary"):
                if getattr(member, field) != getattr(first, field):
                    raise PolicyError(
                        f"members of an ensemble must share {field}, got {getattr(first, field)} and "
                        f"{getattr(member, field)}: train them on one dataset with one action space"
                    )
        self.members = nn.ModuleList(members)
        self.weights = tuple(weights)
        self.frame, self.axes, self.action_space = first.frame, first.axes, first.action_space
        self.vocabulary = first.vocabulary
        self.feature_sizes = [member.feature_size for member in members]
        self.feature_size = sum(self.feature_sizes)
        self.state_sizes = tuple(width for member in members for width in member.state_sizes)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([member.encode(images) for member in self.members], dim=-1)

    def score(
        self, features: torch.Tensor, tokens: torch.Tensor, *state: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        parts = features.split(self.feature_sizes, dim=-1)
        mixed, new_state, used = torch.zeros(()), [], 0
        for member, weight, part in zip(self.members, self.weights, parts, strict=True):
            own = state[used : used + len(member.state_sizes)]
            used += len(own)
            scores, updated = member.score(part, tokens, *own)
            mixed = mixed + weight * scores
            new_state.extend(updated)
        return mixed, tuple(new_state)

    def score_sequence(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        parts = features.split(self.feature_sizes, dim=-1)
        mixed = torch.zeros(())
        for member, weight, part in zip(self.members, self.weights, parts, strict=True):
            mixed = mixed + weight * member.score_sequence(part, tokens)
        return mixed


def build_module(spec: PolicySpec, vocabulary: Sequence[str]) -> PolicyModule:
    """An untrained member; its weights come from torch's generator.

    Raises:
        PolicyError: no axes, or not in AXES' order.
    """
    return PolicyModule(spec, vocabulary)
