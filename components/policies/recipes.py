"""Named policies: each recipe is a function that returns a PolicySpec.

A recipe fixes what makes it that recipe; keyword arguments change the rest.
"""

from collections.abc import Sequence
from typing import Any

from components.contracts import MOST_OTHER_KEYS, Axis, DatasetVersion, PolicySpec, TrainingSpec


def compact_mlp(axes: Sequence[Axis], *, training: TrainingSpec | None = None, **changes: Any) -> PolicySpec:
    """Small CNN, no memory: the policy that a memory has to beat."""
    return _compact("compact_mlp", "mlp", axes, training, changes)


def compact_lstm(axes: Sequence[Axis], *, training: TrainingSpec | None = None, **changes: Any) -> PolicySpec:
    """Small CNN and one LSTM layer."""
    return _compact("compact_lstm", "lstm", axes, training, changes)


def compact_lstm_wide(axes: Sequence[Axis], *, training: TrainingSpec | None = None, **changes: Any) -> PolicySpec:
    """compact_lstm with a wider memory, more dropout and another seed: errs differently."""
    training = training or TrainingSpec(seed=1, learning_rate=2e-3)
    return _compact("compact_lstm_wide", "lstm", axes, training, {"hidden": 160, "dropout": 0.25} | changes)


def default_members(dataset: DatasetVersion, *, epochs: int | None = None) -> dict[str, PolicySpec]:
    """The three members that are trained side by side when nothing else is asked for, fitted to the dataset's axes,
    frames and kind of actions (`continuous` where more than 20 % of them are no key press)."""
    fitted = _fitted_to(dataset)
    specs = [recipe(dataset.axes, **fitted) for recipe in (compact_mlp, compact_lstm, compact_lstm_wide)]
    return {spec.recipe.replace("_", "-"): _with_epochs(spec, epochs) for spec in specs}


def distributed_member(dataset: DatasetVersion, *, epochs: int | None = None) -> dict[str, PolicySpec]:
    """The one member that several workers train together: compact_lstm with a seed of its own."""
    spec = compact_lstm(dataset.axes, training=TrainingSpec(seed=2), **_fitted_to(dataset))
    return {"compact-lstm-distributed": _with_epochs(spec, epochs)}


def _fitted_to(dataset: DatasetVersion) -> dict[str, Any]:
    presses = max(sum(dataset.key_counts.values()), 1)
    other = dataset.key_counts.get("other", 0) / presses
    return {"frame": dataset.spec.frame, "action_space": "continuous" if other > MOST_OTHER_KEYS else "keys"}


def _with_epochs(spec: PolicySpec, epochs: int | None) -> PolicySpec:
    if epochs is None:
        return spec
    return spec.model_copy(update={"training": spec.training.model_copy(update={"epochs": epochs})})


def _compact(
    recipe: str, head: str, axes: Sequence[Axis], training: TrainingSpec | None, changes: dict[str, Any]
) -> PolicySpec:
    fields = {"recipe": recipe, "head": head, "axes": tuple(axes), "training": training or TrainingSpec()}
    return PolicySpec.model_validate(fields | changes)
