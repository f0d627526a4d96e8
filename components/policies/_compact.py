"""The compact backbone and the instruction encoder: small enough to train from scratch on a laptop."""

import torch
from torch import nn

from components.contracts import FrameSpec

_CHANNELS = (16, 32, 32)
_MOST_CELLS = 160
"""More feature cells than this get another halving: a larger frame costs layers, not a huge linear map."""


def normalise(images: torch.Tensor) -> torch.Tensor:
    """(B, h, w, 3) uint8 RGB -> (B, 3, h, w) float32 in [-0.5, 0.5]. The one definition: export carries it along."""
    return images.permute(0, 3, 1, 2).to(torch.float32) / 255.0 - 0.5


class CompactBackbone(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Strided convolutions that keep where things are, then one linear map."""

    def __init__(self, frame: FrameSpec, features: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        height, width, channels = frame.height, frame.width, 3
        wanted, kernel = list(_CHANNELS), 5
        while wanted or height * width > _MOST_CELLS:
            out = wanted.pop(0) if wanted else channels
            layers += [nn.Conv2d(channels, out, kernel, stride=2, padding=kernel // 2), nn.ReLU()]
            height, width, channels, kernel = (height + 1) // 2, (width + 1) // 2, out, 3
        self.convolutions = nn.Sequential(*layers)
        self.projection = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels * height * width, features), nn.ReLU()
        )

    def forward(self, normalised: torch.Tensor) -> torch.Tensor:
        """(B, 3, h, w) float32 from `normalise` -> (B, features)."""
        return self.projection(self.convolutions(normalised))


class InstructionEncoder(nn.Module):  # type: ignore[misc]
    """Sum of word embeddings, then one layer. It reads which words are there, not their order.

    A sum, not a mean: one word, left or right, decides what to do, and a mean over twelve makes it twelve times fainter
    (on 67 simulated episodes an exchanged word then changed 12 % of the actions, where the sum changes 36 %).
    """

    def __init__(self, words: int, features: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words + 2, features, padding_idx=0)
        self.projection = nn.Sequential(nn.Linear(features, features), nn.Tanh())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, 16) int64 -> (B, features)."""
        present = (tokens != 0).to(torch.float32)
        return self.projection((self.embedding(tokens) * present[..., None]).sum(dim=1))
