"""What runs inside Ray's processes: the plain loop, with Ray's checkpoints around it. The same for Train and Tune."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import ray
import torch
from ray import train, tune
from ray.train.torch import prepare_model

from components.contracts import EpochMetrics, PolicySpec

from ._checkpoint import CHECKPOINT
from ._data import TrainingData
from ._loop import Save, fit


def train_worker(config: dict[str, Any]) -> None:
    """One of a Ray Train run's workers. `config`: `spec` (JSON), `data` (reference to a TrainingData)."""
    first = train.get_context().get_world_rank() == 0
    data = ray.get(config["data"])
    _run(data, PolicySpec.model_validate_json(config["spec"]), train, saves=first, distribute=_distributed)


def tune_trial(config: dict[str, Any], data: TrainingData) -> None:
    """One member as a Tune trial. `config`: `member` (name and spec as JSON)."""
    _run(data, PolicySpec.model_validate_json(config["member"]["spec"]), tune, saves=True)


def _distributed(module: torch.nn.Module) -> Any:
    return prepare_model(module, move_to_device=False)


def _run(data: TrainingData, spec: PolicySpec, api: ModuleType, *, saves: bool, **options: Callable[..., Any]) -> None:
    torch.set_num_threads(1)

    def report(metrics: EpochMetrics, save: Save) -> None:
        with tempfile.TemporaryDirectory() as folder:
            if saves:
                save(Path(folder) / CHECKPOINT)
            checkpoint = api.Checkpoint.from_directory(folder) if saves else None
            api.report(metrics.model_dump(mode="json"), checkpoint=checkpoint)

    with ExitStack() as stack:
        found = api.get_checkpoint()
        resume = Path(stack.enter_context(found.as_directory())) / CHECKPOINT if found else None
        fit(data, spec, resume=resume, on_epoch=report, **options)
