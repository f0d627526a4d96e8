"""The operating trials of a release that has just been activated."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from components.contracts.errors import ConfigurationError, PolicyError

from ._bench import TrialDriver, TrialResult
from ._journal import Job
from ._machine import MAX_STARTS

log = logging.getLogger(__name__)


class _Save(Protocol):
    def __call__(self, **facts: object) -> None: ...


class TrialPhase:
    """Drives the trials of the job in hand, each counted on disk as it is known.

    Args:
        robot: its id.
        trials: drives.
        job: the job as it is now.
        save: changes the job, on disk too.
        package: the folder of its release.
    """

    def __init__(
        self, robot: str, trials: TrialDriver, *, job: Callable[[], Job], save: _Save, package: Callable[[], Path]
    ) -> None:
        self._robot, self._trials, self._job, self._save, self._package = robot, trials, job, save, package

    def run(self) -> str | None:
        """Drive what is left; why the release has failed, None: it has not.

        Raises:
            ConfigurationError: the trial driver is not there.
            OSError: this machine cannot start it.
        """
        assignment = self._job().assignment
        wanted = assignment.trials if assignment and self._job().slot else 0
        while self._job().trials < wanted:
            starts = self._job().starts.get("TRIAL", 1)
            try:
                verdict = self._drive(wanted)
            except (ConfigurationError, OSError):
                raise
            except Exception as error:  # noqa: BLE001  # whatever the driver raises or says counts as its failure
                log.warning("%s: trial start %d of %d failed: %s", self._robot, starts, MAX_STARTS, error)
                verdict = f"TRIAL: {starts} starts, the last: {error}" if starts >= MAX_STARTS else None
                self._save(starts=self._job().starts | {"TRIAL": starts + 1})
            if verdict:
                return verdict
        return None

    def _drive(self, wanted: int) -> str | None:
        done = self._job().trials
        release = self._job().release
        assert release is not None, "trials need a release"
        for result in self._trials(self._package(), trials=wanted - done, seed=done, sha256=release.package):
            self._save(trials=self._job().trials + 1, successes=self._job().successes + result.success)
            if verdict := _judged(self._job(), result, wanted):
                return verdict
        if self._job().trials < wanted:
            raise PolicyError(f"the driver ended after {self._job().trials} of {wanted} trials")
        return None


def _judged(job: Job, result: TrialResult, wanted: int) -> str | None:
    """Why the release has failed, with the trial that was just counted."""
    if result.fault:
        return f"TRIAL: {result.fault} in trial {job.trials}"
    minimum = job.assignment.min_success if job.assignment else 0
    reachable = job.successes + wanted - job.trials
    if reachable < minimum * wanted:
        return f"TRIAL: {job.successes} of {job.trials} succeeded, {minimum:.0%} of {wanted} are needed"
    return None
