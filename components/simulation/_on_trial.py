"""A robot's operating trials, simulated: what its update agent drives while a new release is on trial."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import PolicyError
from components.robot import Runtime, Session, TrialResult

from ._trials import drive_trials, trial_rooms


def drive_package(package: Path, *, trials: int, seed: int, sha256: str) -> Iterator[TrialResult]:
    """Drive a package's own runtime through `trials` rooms; a `robot.TrialDriver`, named to the agent as
    `components.simulation:drive_package`.

    Raises:
        PolicyError: the package cannot be run.
        PackageError: it is not the one whose manifest has this SHA-256.
    """
    policy = _Watched(Runtime(package, sha256=sha256))
    for room in trial_rooms(trials, seed=seed):
        outcome = drive_trials(policy, name="on-trial", rooms=[room], frame=policy.runtime.manifest.frame)[0]
        yield TrialResult(success=outcome.success and policy.fault is None, fault=policy.fault)


class _Watched:
    """A runtime whose forbidden actions are remembered: the safety layer stops for them, the trial must know."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.fault: str | None = None
        self._episode: Session | None = None

    def reset(self, instruction: str) -> None:
        self._episode = self.runtime.session(instruction)

    def act(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._episode is None:
            raise PolicyError("expected `reset(instruction)` before the first `act`")
        decision = self.runtime.act_frame(image, self._episode)
        if decision.fault in {"non-finite", "out-of-bounds"}:
            self.fault = decision.fault
        return decision.action
