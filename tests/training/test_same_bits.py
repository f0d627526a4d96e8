"""The weights depend on data, spec and number of ranks, not on threads or on what else was drawn before."""

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from components.contracts import FrameSpec, PolicySpec, TrainingSpec, describe_lineage
from components.training._data import Sequences, TrainingData
from components.training._loop import fit

FRAME = FrameSpec(width=16, height=9)
SPEC = PolicySpec(
    recipe="compact_lstm", axes=("linear_x", "linear_y"), frame=FRAME, features=32, hidden=64,
    training=TrainingSpec(epochs=2),
)  # fmt: skip


def sequences(episodes: int, seed: int) -> Sequences:
    random, steps = np.random.default_rng(seed), 9
    counted = np.ones((episodes, steps), dtype=np.bool_)
    counted[:, 0] = False
    tokens = random.integers(0, 6, (episodes, 16))
    return Sequences(
        frames=random.integers(0, 256, (episodes, steps, FRAME.height, FRAME.width, 3), dtype=np.uint8),
        actions=random.choice([-1.15, 0.0, 1.15], (episodes, steps, 3)).astype(np.float32),
        counted=counted,
        tokens=tokens,
        mirrored_tokens=tokens,
    )


DATA = TrainingData(sequences(12, 1), sequences(4, 2), ("go", "left", "right", "to"))


def weights() -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(fit(DATA, SPEC).weights.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_number_of_threads_changes_no_bit() -> None:
    found = set()
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        found.add(weights())
        assert torch.get_num_threads() == threads
    assert len(found) == 1


def test_what_was_drawn_before_changes_no_bit() -> None:
    torch.manual_seed(1)
    before = weights()
    torch.manual_seed(2)
    torch.rand(1000)
    np.random.default_rng().random(10)
    assert weights() == before


def test_the_lineage_names_the_processor_that_the_bits_hold_for() -> None:
    machine = describe_lineage(("torch",)).machine
    with open("/proc/cpuinfo") as file:  # noqa: PTH123
        flags = next(line for line in file if line.startswith(("flags", "Features"))).split()
    assert ("avx2" in machine.split()) == ("avx2" in flags)
    assert len(machine.split(", ")) == 3
