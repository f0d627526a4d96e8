"""Weights in the models bucket: safetensors, named by content."""

import hashlib

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from components.contracts import Ensemble, ObjectRef, TrainedPolicy
from components.contracts.errors import PolicyError
from components.storage import ObjectStore, fetch, put_once

from ._module import EnsembleModule, PolicyModule, StepModule, build_module


def save_weights(store: ObjectStore, state: dict[str, torch.Tensor]) -> ObjectRef:
    """Keep a state dict as `models/policies/<sha256>.safetensors`."""
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())})
    return put_once(store, "models", f"policies/{hashlib.sha256(data).hexdigest()}.safetensors", data)


def load_module(store: ObjectStore, subject: TrainedPolicy | Ensemble) -> StepModule:
    """The policy with its weights, in evaluation mode, without gradients.

    Raises:
        PolicyError: the weights do not fit the spec, or members do not fit each other.
        IntegrityError: the bytes are not those that `subject` names.
    """
    if isinstance(subject, TrainedPolicy):
        module: StepModule = _member(store, subject)
    else:
        members = [_member(store, member) for member in subject.members]
        module = EnsembleModule(members, subject.weights)
    return module.eval().requires_grad_(requires_grad=False)  # type: ignore[no-any-return]


def _member(store: ObjectStore, policy: TrainedPolicy) -> PolicyModule:
    module = build_module(policy.spec, policy.vocabulary)
    try:
        module.load_state_dict(load(fetch(store, policy.weights)))
    except (SafetensorError, RuntimeError) as error:
        raise PolicyError(
            f"{policy.weights.uri} does not hold the weights of {policy.name} ({policy.spec.recipe}): {error}; "
            "load it with the spec that it was trained with"
        ) from None
    return module
