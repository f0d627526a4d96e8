"""From what a policy scores to what the robot does. No branches on data: it is part of the exported graph."""

from collections.abc import Sequence

import torch

from components.contracts import ACTION_LIMIT, AXES, Axis


def decode_keys(scores: torch.Tensor) -> torch.Tensor:
    """The key press of least expected absolute error.

    On each axis that is the median of the distribution over (-limit, 0, +limit). A key press either moves or turns, so
    where the medians ask for both, the one that costs less in expectation is done and the other is left out.

    Args:
        scores: (..., 3 axes, 3 classes) probabilities.

    Returns:
        (..., 3) float32, m/s, m/s, rad/s.
    """
    backward, forward = scores[..., 0], scores[..., 2]
    median = (forward > 0.5).to(torch.float32) - (backward > 0.5).to(torch.float32)
    saved = torch.relu(2 * torch.maximum(forward, backward) - 1)  # expected error, against standing still on the axis
    turns = saved[..., 2:] > saved[..., :2].sum(dim=-1, keepdim=True)
    turning = torch.tensor([False, False, True], device=scores.device)
    return torch.where(turns == turning, median, torch.zeros_like(median)) * ACTION_LIMIT


def decode_continuous(scores: torch.Tensor) -> torch.Tensor:
    """(..., 3) values -> (..., 3) within the limits."""
    return scores.clamp(-ACTION_LIMIT, ACTION_LIMIT)


def spread(logits: torch.Tensor, axes: Sequence[Axis], action_space: str) -> torch.Tensor:
    """Outputs of the commanded axes -> scores of all three; the others are surely 0.

    Args:
        logits: (..., A, 3) for `keys`, (..., A, 1) for `continuous`; A commanded axes in AXES' order.
        axes: the commanded axes.
        action_space: `keys` or `continuous`.

    Returns:
        (..., 3, 3) probabilities, or (..., 3) values.
    """
    if action_space == "keys":
        known = torch.softmax(logits, dim=-1)
        rest = torch.zeros_like(known[..., 0, :]) + torch.tensor([0.0, 1.0, 0.0], device=logits.device)
    else:
        known = torch.tanh(logits) * ACTION_LIMIT
        rest = torch.zeros_like(known[..., 0, :])
    rows = [known[..., list(axes).index(axis), :] if axis in axes else rest for axis in AXES]
    scores = torch.stack(rows, dim=-2)
    return scores if action_space == "keys" else scores[..., 0]
