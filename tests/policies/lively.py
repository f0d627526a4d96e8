"""An untrained policy that presses other keys on other frames and instructions."""

from typing import cast

import torch

from components.contracts import AXES, FrameSpec
from components.policies import EnsembleModule, build_module, recipes


def lively_ensemble() -> EnsembleModule:
    """Of one member with a memory and one without, for 80x45 frames."""
    torch.manual_seed(4)
    recipe = (recipes.compact_lstm, recipes.compact_mlp)
    members = [build_module(make(AXES, frame=FrameSpec()), ("go", "left", "right")) for make in recipe]
    for member in members:
        for parameter in member.parameters():
            parameter.data.mul_(1.7)
        member.output.weight.data.mul_(10.0)
    return cast("EnsembleModule", EnsembleModule(members, (0.6, 0.4)).requires_grad_(requires_grad=False))
