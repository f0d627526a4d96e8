"""Policies at several wheels at once."""

import numpy as np
import pytest
import torch

from components.contracts import PolicyBatch
from components.contracts.errors import PolicyError
from components.policies import EnsembleModule, TorchDriver, TorchDrivers
from tests.policies.lively import lively_ensemble

_RNG = np.random.default_rng(0)
FRAMES = _RNG.integers(0, 60, (5, 6, 90, 160, 3), dtype=np.uint8) + _RNG.integers(
    0, 190, (5, 6, 1, 1, 3), dtype=np.uint8
)
TOLD = ["go left", "go right", "left", "", "right of the box"]


@pytest.fixture(scope="module")
def module() -> EnsembleModule:
    return lively_ensemble()


def _drive(drivers: TorchDrivers, episodes: list[int]) -> np.ndarray:
    """(episodes, T, 3)."""
    drivers.reset([TOLD[episode] for episode in episodes])
    return np.stack([drivers.act(list(FRAMES[episodes, step])) for step in range(FRAMES.shape[1])], axis=1)


def test_many_act_as_each_does_alone(module: EnsembleModule) -> None:
    together = _drive(TorchDrivers(module), [0, 1, 2, 3, 4])
    alone = TorchDriver(module)
    for episode, told in enumerate(TOLD):
        alone.reset(told)
        assert np.array_equal(together[episode], [alone.act(image) for image in FRAMES[episode]])

    assert isinstance(TorchDrivers(module), PolicyBatch)
    assert len({episode.tobytes() for episode in together}) == 5


def test_memory_is_the_same_to_the_bit_in_any_company_and_with_any_number_of_threads(module: EnsembleModule) -> None:
    def state_of_last(episodes: list[int], threads: int) -> list[torch.Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            drivers = TorchDrivers(module)
            _drive(drivers, episodes)
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        return [state[len(episodes) - 1] for state in drivers._state]

    alone = state_of_last([2], 1)
    for episodes, threads in (([0, 1, 2], 1), ([4, 3, 1, 0, 2], 2), ([2], 2)):
        assert all(torch.equal(a, b) for a, b in zip(alone, state_of_last(episodes, threads), strict=True))


def test_an_episode_begins_with_an_empty_memory(module: EnsembleModule) -> None:
    drivers = TorchDrivers(module)

    assert np.array_equal(_drive(drivers, [1, 0]), _drive(drivers, [1, 0]))


def test_more_episodes_than_wheels_are_refused(module: EnsembleModule) -> None:
    with pytest.raises(PolicyError, match="at most 2 episodes at once, got 3; raise `batch`"):
        TorchDrivers(module, batch=2).reset(["left"] * 3)
