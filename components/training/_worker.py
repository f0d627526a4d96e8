"""What runs inside Ray's processes: the plain loop, with Ray's checkpoints around it. The same for Train and Tune."""

import math
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import ray
import torch
from ray import train, tune
from ray.train.torch import prepare_model

from components.contracts import EpochMetrics, PolicySpec, plain_logs

from ._checkpoint import CHECKPOINT
from ._data import TrainingData
from ._loop import Save, fit

_CHECKPOINT_S = 5.0
"""Work that a killed worker may lose. Ray snapshots its whole experiment at each checkpoint."""


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
    plain_logs()
    torch.set_num_threads(1)
    saved_at = -math.inf  # the first epoch is saved

    def report(metrics: EpochMetrics, save: Save, last: bool) -> None:
        nonlocal saved_at
        if not saves or not (last or time.monotonic() - saved_at >= _CHECKPOINT_S):
            api.report(metrics.model_dump(mode="json"))
            return
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder) / CHECKPOINT)
            api.report(metrics.model_dump(mode="json"), checkpoint=api.Checkpoint.from_directory(folder))
        saved_at = time.monotonic()

    with ExitStack() as stack:
        found = api.get_checkpoint()
        resume = Path(stack.enter_context(found.as_directory())) / CHECKPOINT if found else None
        fit(data, spec, resume=resume, on_epoch=report, **options)
