"""Policies as torch modules: backbone, instruction encoder, heads, ensembles; recipes; running them.

`recipes.compact_lstm(axes)` -> PolicySpec -> `build_module`; training gives a TrainedPolicy -> `load_module`,
`predict` (recorded episodes), `driver` (frame by frame), `TorchDrivers` (the same at several wheels at once).

What is not covered: word order in instructions (the encoder sees which words are there), pretrained backbones, GPUs,
and any path to a robot: robots run what `packaging` exports from StepModule's `encode` and `step`.
"""

from . import recipes
from ._compact import normalise
from ._module import EnsembleModule, PolicyModule, StepModule, build_module
from ._predict import Predictions, TorchDriver, TorchDrivers, driver, one_thread, predict, predict_with
from ._weights import load_module, save_weights

__all__ = [
    "EnsembleModule",
    "PolicyModule",
    "Predictions",
    "StepModule",
    "TorchDriver",
    "TorchDrivers",
    "build_module",
    "driver",
    "load_module",
    "normalise",
    "one_thread",
    "predict",
    "predict_with",
    "recipes",
    "save_weights",
]
