"""What the update agent asks of the policy's side: verify, build, self-test, trial drives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from components.contracts import Budget, Frozen, SelfTestResult, Sha256
from components.contracts.errors import PackageError, PolicyError

from ._child import check_function, run_child
from ._graphs import CPU
from ._package import verify_package
from ._selftest import self_test


class TrialResult(Frozen):
    """One operating trial on the new policy."""

    success: bool
    fault: str | None = None
    """What no policy may do, e.g. a non-finite or out-of-bounds action: it ends the trial phase at once."""


class TrialDriver(Protocol):
    """Drives a package. A simulated robot's is the simulation; a real one's is its supervised test course."""

    def __call__(self, package: Path, *, trials: int, seed: int) -> Iterator[TrialResult]:
        """Drive `trials` trials, the first with `seed`, and yield each result as it is known.

        Raises:
            PolicyError: the policy cannot be run, or died.
        """


class Bench(Protocol):
    """Judges a package on this machine."""

    def verify(self, package: Path, sha256: Sha256) -> None:
        """Raises PackageError: the folder is not the package of that name, or holds what could carry code."""

    def build(self, package: Path) -> None:
        """Make what the machine needs beside the package. Raises PackageError: it cannot be made."""

    def self_test(self, package: Path, sha256: Sha256) -> SelfTestResult:
        """Golden outputs, latency and memory on this machine."""


class OnnxBench:
    """onnxruntime's own provider. The self-test runs in a process of its own with a time limit.

    What is not covered: TensorRT engines; `build` makes nothing.
    """

    def __init__(
        self, provider: str = CPU, *, budget: Budget | None = None, runs: int = 60, timeout_s: float = 120
    ) -> None:
        self._provider, self._budget, self._runs, self._timeout_s = provider, budget, runs, timeout_s

    def verify(self, package: Path, sha256: Sha256) -> None:
        verify_package(package, sha256=sha256)

    def build(self, package: Path) -> None:
        pass

    def self_test(self, package: Path, sha256: Sha256) -> SelfTestResult:
        arguments = {
            "package": str(package),
            "sha256": sha256,
            "provider": self._provider,
            "runs": self._runs,
            "budget": self._budget.model_dump(mode="json") if self._budget else None,
        }
        try:
            lines = list(run_child(f"{__name__}:run_self_test", arguments, timeout_s=self._timeout_s))
        except PolicyError as error:
            raise PackageError(f"the self-test did not finish: {error}") from None
        if not lines:
            raise PackageError("the self-test ended without a result")
        return SelfTestResult.parse(lines[0], source="the self-test")


def run_self_test(
    package: Path, sha256: str, provider: str, runs: int, budget: dict[str, float] | None
) -> Iterator[SelfTestResult]:
    """The child's side of `OnnxBench.self_test`."""
    allowed = Budget.model_validate(budget) if budget else None
    yield self_test(package, provider=provider, runs=runs, budget=allowed, sha256=sha256)


class ChildTrials:
    """A `TrialDriver` by name, in a process of its own: its crash is counted, and never the agent's.

    Args:
        target: "module:function", a TrialDriver.
        timeout_s: for each trial.

    Raises:
        ConfigurationError: no such function.
    """

    def __init__(self, target: str, *, timeout_s: float = 120) -> None:
        check_function(target)
        self._target, self._timeout_s = target, timeout_s

    def __call__(self, package: Path, *, trials: int, seed: int) -> Iterator[TrialResult]:
        arguments = {"package": str(package), "trials": trials, "seed": seed}
        for line in run_child(self._target, arguments, timeout_s=self._timeout_s):
            yield TrialResult.parse(line, source=self._target)
