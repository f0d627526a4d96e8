"""A run's whole state in one safetensors file: weights, best weights so far, optimizer, curve. No pickle."""

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from components.contracts import EpochMetrics, TrainingSpec
from components.contracts.errors import TrainingError

CHECKPOINT = "checkpoint.safetensors"

State = dict[str, torch.Tensor]


@dataclass
class Progress:
    """Where a run is. There is no generator state: every epoch draws from (seed, epoch)."""

    weights: State
    optimizer: State
    """`<parameter>/<exp_avg|exp_avg_sq|step>`; empty before the first step."""
    best: State
    curve: list[EpochMetrics] = field(default_factory=list)
    best_epoch: int = 0

    @property
    def epoch(self) -> int:
        """The epoch to do next."""
        return self.curve[-1].epoch + 1 if self.curve else 0

    def spent(self, spec: TrainingSpec) -> bool:
        """No epochs left, or `patience` epochs since the best one."""
        return self.epoch >= spec.epochs or bool(self.curve and self.curve[-1].epoch - self.best_epoch >= spec.patience)


def write_checkpoint(path: Path, progress: Progress, run: str) -> None:
    """All of it or nothing: written beside `path`, flushed, renamed."""
    groups = {"weights": progress.weights, "optimizer": progress.optimizer, "best": progress.best}
    tensors = {
        f"{group}/{name}": tensor.detach().contiguous()
        for group, state in groups.items()
        for name, tensor in state.items()
    }
    described = {
        "run": run,
        "best_epoch": progress.best_epoch,
        "curve": [metrics.model_dump(mode="json") for metrics in progress.curve],
    }
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:  # a name of nobody else's
        part = Path(folder) / path.name
        save_file(tensors, part, metadata={"drover": json.dumps(described)})
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)


def read_checkpoint(path: Path, run: str) -> Progress:
    """Read what `write_checkpoint` wrote.

    Raises:
        TrainingError: damaged, or of another run (other spec or vocabulary).
    """
    groups: dict[str, State] = {"weights": {}, "optimizer": {}, "best": {}}
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads(file.metadata()["drover"])
            for key in file.keys():  # noqa: SIM118  # safe_open is no mapping
                group, _, name = key.partition("/")
                groups[group][name] = file.get_tensor(key)
        found, best_epoch = described["run"], int(described["best_epoch"])
        curve = [EpochMetrics.model_validate(metrics) for metrics in described["curve"]]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is no readable checkpoint ({error}); remove it to start the run anew") from None
    if found != run:
        raise TrainingError(
            f"{path} is a checkpoint of run {found[:12]}, expected {run[:12]}: spec or vocabulary differ; "
            "use another folder, or remove it to start anew"
        )
    return Progress(groups["weights"], groups["optimizer"], groups["best"], curve, best_epoch)


def optimizer_state(optimizer: torch.optim.Optimizer, names: list[str]) -> State:
    """Flat, by parameter name."""
    entries = optimizer.state_dict()["state"]
    return {f"{names[index]}/{key}": value.clone() for index, entry in entries.items() for key, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, names: list[str], state: State) -> None:
    """The inverse of `optimizer_state`; learning rates stay as they are."""
    entries: dict[int, State] = {}
    for key, value in state.items():
        name, _, field_name = key.rpartition("/")
        entries.setdefault(names.index(name), {})[field_name] = value
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
