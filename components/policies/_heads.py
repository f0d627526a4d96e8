"""Heads: features and instruction in, a hidden vector out, memory as explicit tensors."""

import torch
from torch import nn


class MLPHead(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """No memory: each frame for itself."""

    def __init__(self, inputs: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.state_sizes: tuple[int, ...] = ()

    def step(self, inputs: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, inputs) -> ((B, hidden),)."""
        return (self.layers(inputs), *state)

    def sequence(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, T, inputs) -> (B, T, hidden)."""
        return self.layers(inputs)


class LSTMHead(nn.Module):  # type: ignore[misc]
    """One LSTM layer; its state is (hidden, cell), each (B, hidden), zero when an episode begins."""

    def __init__(self, inputs: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.state_sizes: tuple[int, ...] = (hidden, hidden)

    def step(self, inputs: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, inputs), hidden, cell -> (B, hidden), new hidden, new cell.

        Written out, so that the exported graph is plain matrix products and works at any batch size.
        """
        hidden, cell = state
        lstm = self.lstm
        gates = nn.functional.linear(inputs, lstm.weight_ih_l0, lstm.bias_ih_l0) + nn.functional.linear(
            hidden, lstm.weight_hh_l0, lstm.bias_hh_l0
        )
        enter, forget, candidate, leave = gates.chunk(4, dim=1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
        hidden = torch.sigmoid(leave) * torch.tanh(cell)
        return self.dropout(hidden), hidden, cell

    def sequence(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, T, inputs) -> (B, T, hidden), from a zero state."""
        return self.dropout(self.lstm(inputs)[0])
