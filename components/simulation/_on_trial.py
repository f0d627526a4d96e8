"""A robot's operating trials, simulated: what its update agent drives while a new release is on trial."""

from collections.abc import Iterator
from pathlib import Path

from components.contracts.errors import PolicyError
from components.robot import Runtime, TrialResult

from ._trials import drive_trials, trial_rooms


def drive_package(package: Path, *, trials: int, seed: int) -> Iterator[TrialResult]:
    """Drive a package's own runtime through `trials` rooms; a `robot.TrialDriver`, named to the agent as
    `components.simulation:drive_package`.

    Raises:
        PolicyError: the package cannot be run.
    """
    runtime = Runtime(package)
    for room in trial_rooms(trials, seed=seed):
        try:
            outcome = drive_trials(runtime, name="on-trial", rooms=[room], frame=runtime.manifest.frame)[0]
        except PolicyError as error:
            yield TrialResult(success=False, fault=str(error))
            return
        yield TrialResult(success=outcome.success)
