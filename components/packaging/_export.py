"""torch -> ONNX: two graphs with explicit state, the same bytes every time."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import nn

from components.contracts import TensorSpec
from components.contracts.errors import PackageError
from components.episodes import MAX_TOKENS
from components.policies import StepModule

OPSET = 20
"""What TensorRT 10.3 (JetPack 6.1) and onnxruntime 1.17 or later read."""


@dataclass(frozen=True)
class Graphs:
    """encode.onnx and step.onnx, and what goes in and out."""

    encode: bytes
    step: bytes
    encode_inputs: tuple[TensorSpec, ...]
    encode_outputs: tuple[TensorSpec, ...]
    step_inputs: tuple[TensorSpec, ...]
    step_outputs: tuple[TensorSpec, ...]


class _Encode(nn.Module):  # type: ignore[misc]  # torch is untyped here
    def __init__(self, policy: StepModule) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.policy.encode(image)


class _Step(nn.Module):  # type: ignore[misc]
    def __init__(self, policy: StepModule) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, features: torch.Tensor, tokens: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.policy.step(features, tokens, *state)


def export_graphs(module: StepModule) -> Graphs:
    """Export `encode` and `step` with a free batch axis, checked by onnx.

    Raises:
        PackageError: torch cannot export it, or onnx refuses the result.
    """
    height, width = module.frame.height, module.frame.width
    states = tuple(
        TensorSpec(name=f"state_{n}", shape=(0, size), dtype="float32") for n, size in enumerate(module.state_sizes)
    )
    image = (TensorSpec(name="image", shape=(0, height, width, 3), dtype="uint8"),)
    features = (TensorSpec(name="features", shape=(0, module.feature_size), dtype="float32"),)
    tokens = (TensorSpec(name="tokens", shape=(0, MAX_TOKENS), dtype="int64"),)
    decided = (
        TensorSpec(name="actions", shape=(0, 3), dtype="float32"),
        TensorSpec(name="scores", shape=(0, 3, 3) if module.action_space == "keys" else (0, 3), dtype="float32"),
    )
    new_states = tuple(state.model_copy(update={"name": f"new_{state.name}"}) for state in states)
    step_inputs, step_outputs = features + tokens + states, decided + new_states
    return Graphs(
        encode=_export(_Encode(module), image, features),
        step=_export(_Step(module), step_inputs, step_outputs),
        encode_inputs=image,
        encode_outputs=features,
        step_inputs=step_inputs,
        step_outputs=step_outputs,
    )


def _export(graph: nn.Module, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> bytes:
    batch = torch.export.Dim("batch", min=1, max=65_536)
    examples = tuple(torch.zeros((2, *spec.shape[1:]), dtype=getattr(torch, spec.dtype)) for spec in inputs)
    axes: list[Any] = [{0: batch} for _ in inputs[:2]]
    if len(inputs) > 2:
        axes.append(tuple({0: batch} for _ in inputs[2:]))  # the variadic state
    try:
        with warnings.catch_warnings(), torch.no_grad(), _quiet():
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            program = torch.onnx.export(
                graph.eval(),
                examples,
                dynamo=True,
                opset_version=OPSET,
                input_names=[spec.name for spec in inputs],
                output_names=[spec.name for spec in outputs],
                dynamic_shapes=tuple(axes),
                verbose=False,
            )
        model = program.model_proto
        _strip(model)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        first = str(error.__cause__ or error).strip().splitlines()[0]
        raise PackageError(f"cannot export {', '.join(spec.name for spec in outputs)} to ONNX: {first}") from error
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports every rewrite, and that torchvision, which Drover does without, is not there."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx._internal.exporter._registration", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _strip(model: Any) -> None:
    """Leave out what says where and how it was exported: stack traces hold paths of this machine."""
    model.doc_string = ""
    del model.metadata_props[:]
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for item in (
        *model.graph.node,
        *model.graph.initializer,
        *model.graph.input,
        *model.graph.output,
        *model.functions,
    ):
        item.doc_string = ""
        del item.metadata_props[:]
