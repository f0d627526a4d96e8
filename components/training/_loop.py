"""The plain loop: torch, and nothing that knows a cluster. It respects `torch.distributed` where someone set it up."""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from components.contracts import ACTION_LIMIT, AXES, EpochMetrics, PolicySpec, canonical_json
from components.contracts.errors import TrainingError
from components.policies import PolicyModule, build_module, one_thread

from ._batches import Batch, batches_per_epoch, plain_batches, training_batches
from ._checkpoint import Progress, State, optimizer_state, read_checkpoint, restore_optimizer, write_checkpoint
from ._data import Sequences, TrainingData

_VALIDATION_EPISODES = 32
_CONTINUOUS_BETA = 0.1
"""Smooth L1 turns quadratic under this error, m/s or rad/s."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a run gave: the weights of its best epoch."""

    weights: State
    curve: tuple[EpochMetrics, ...]
    best_epoch: int


Save = Callable[[Path], None]
"""Writes a checkpoint of the run as it is now."""

OnEpoch = Callable[[EpochMetrics, Save, bool], None]
"""Called with an epoch's metrics, a function that writes a checkpoint, and whether it was the last epoch."""


def fit(
    data: TrainingData,
    spec: PolicySpec,
    *,
    resume: Path | None = None,
    on_epoch: OnEpoch = lambda metrics, save, last: None,
    distribute: Callable[[PolicyModule], Callable[..., torch.Tensor]] = lambda module: module,
) -> Fitted:
    """Train one policy until its epochs or its patience are spent.

    Deterministic for (data, spec, number of ranks) on processors of one kind: it runs on one thread, whatever is set,
    and draws from the spec's seed alone. Another kind of processor adds up in another order (torch and oneDNN choose
    their kernels by its instructions), and training makes figures of the last bit's difference. A run that is resumed
    gives the same bits as one that was not disturbed.

    Args:
        data: Training and validation episodes.
        spec: Architecture and settings.
        resume: A checkpoint of this run to go on from.
        on_epoch: Called after each epoch, on every rank.
        distribute: Wraps the module so that gradients are averaged over ranks.

    Returns:
        Weights of the epoch with the lowest validation loss.

    Raises:
        TrainingError: a loss that is not finite, or a checkpoint that is damaged or of another run.
    """
    settings, run = spec.training, run_digest(spec, data.vocabulary)
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(settings.seed)
        module = build_module(spec, data.vocabulary)
        parameters = dict(module.named_parameters())
        optimizer = torch.optim.AdamW(parameters.values(), settings.learning_rate, weight_decay=settings.weight_decay)
        progress = Progress(_copy(module), {}, _copy(module))
        if resume is not None:
            progress = read_checkpoint(resume, run)
            module.load_state_dict(progress.weights)
            if progress.optimizer:
                restore_optimizer(optimizer, list(parameters), progress.optimizer)
        forward = distribute(module)
        while not progress.spent(settings):
            metrics = _epoch(data, spec, progress.epoch, module=module, forward=forward, optimizer=optimizer)
            _advance(progress, metrics, module)

            def save(path: Path) -> None:
                progress.weights = _copy(module)
                progress.optimizer = optimizer_state(optimizer, list(parameters))
                write_checkpoint(path, progress, run)

            on_epoch(metrics, save, progress.spent(settings))
    return Fitted(progress.best, tuple(progress.curve), progress.best_epoch)


def run_digest(spec: PolicySpec, vocabulary: Sequence[str]) -> str:
    """What a checkpoint must fit: spec and vocabulary."""
    return hashlib.sha256(canonical_json([spec.model_dump(mode="json"), list(vocabulary)])).hexdigest()


def _advance(progress: Progress, metrics: EpochMetrics, module: PolicyModule) -> None:
    best = progress.curve[progress.best_epoch].validation_loss if progress.curve else math.inf
    progress.curve.append(metrics)
    if metrics.validation_loss < best:
        progress.best, progress.best_epoch = _copy(module), metrics.epoch


def _epoch(
    data: TrainingData,
    spec: PolicySpec,
    epoch: int,
    *,
    module: PolicyModule,
    forward: Callable[..., torch.Tensor],
    optimizer: torch.optim.Optimizer,
) -> EpochMetrics:
    rank, world = _place()
    settings = spec.training
    torch.manual_seed(int(np.random.SeedSequence([settings.seed, epoch, rank]).generate_state(1)[0]))  # dropout
    count = batches_per_epoch(len(data.training), settings)
    started, losses, frames, rate = time.perf_counter(), [], 0, 0.0
    module.train()
    for index, batch in enumerate(training_batches(data.training, settings, epoch, rank=rank, world=world)):
        rate = learning_rate(spec, epoch * count + index, settings.epochs * count)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
            logits = forward(batch.images, batch.tokens)
        loss = policy_loss(logits.float(), batch, spec)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} in epoch {epoch} of {spec.recipe}, expected a finite one; "
                f"lower the learning rate ({settings.learning_rate}) or use precision fp32"
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), settings.clip_norm)
        optimizer.step()
        losses.append(loss.item())
        frames += int(batch.counted.sum())
    elapsed = time.perf_counter() - started
    validation_loss, validation_mae = _from_first_rank(lambda: validate(module, data.validation, spec))
    return EpochMetrics(
        epoch=epoch,
        training_loss=float(np.mean(losses)),
        validation_loss=validation_loss,
        validation_mae=validation_mae,
        learning_rate=rate,
        frames_per_s=frames * world / elapsed,
    )


def learning_rate(spec: PolicySpec, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    peak, warm = spec.training.learning_rate, max(1, round(spec.training.warmup_fraction * steps))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def policy_loss(logits: torch.Tensor, batch: Batch, spec: PolicySpec) -> torch.Tensor:
    """Mean over counted frames and commanded axes: cross-entropy (`keys`) or smooth L1 (`continuous`).

    Args:
        logits: (B, T, A, classes) of `PolicyModule.logits`.
    """
    wanted = batch.actions[..., [AXES.index(axis) for axis in spec.axes]][batch.counted]
    if spec.action_space == "keys":
        classes = (wanted / ACTION_LIMIT).round().clamp(-1, 1).long() + 1
        return torch.nn.functional.cross_entropy(logits[batch.counted].flatten(0, 1), classes.flatten())
    values = torch.tanh(logits[..., 0][batch.counted]) * ACTION_LIMIT
    return torch.nn.functional.smooth_l1_loss(values, wanted, beta=_CONTINUOUS_BETA)


def validate(module: PolicyModule, data: Sequences, spec: PolicySpec) -> tuple[float, float]:
    """(loss, MAE over the commanded axes) on whole episodes, frame 0 excluded."""
    module.eval()
    commanded = [AXES.index(axis) for axis in spec.axes]
    loss, error, frames = 0.0, 0.0, 0
    with torch.inference_mode():
        for batch in plain_batches(data, _VALIDATION_EPISODES):
            logits, count = module(batch.images, batch.tokens), int(batch.counted.sum())
            actions = module.decode(module.scores(logits))
            loss += policy_loss(logits, batch, spec).item() * count
            error += (actions - batch.actions)[..., commanded][batch.counted].abs().mean().item() * count
            frames += count
    return loss / frames, error / frames


def _copy(module: PolicyModule) -> State:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _place() -> tuple[int, int]:
    """(rank, world)."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _from_first_rank(measure: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """Rank 0 measures and tells the others, so that all stop together."""
    rank, world = _place()
    values = torch.tensor(measure() if rank == 0 else (0.0, 0.0), dtype=torch.float64)
    if world > 1:
        distributed.broadcast(values, src=0)
    return float(values[0]), float(values[1])
