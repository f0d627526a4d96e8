"""What the update agent asks of the policy's side: verify, build, self-test, trial drives."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from components.contracts import Budget, Frozen, PackageManifest, SelfTestResult, Sha256
from components.contracts.errors import InvalidDocumentError, PackageError, PolicyError
from components.storage import read_plain

from ._child import check_function, run_child
from ._graphs import CPU
from ._package import MANIFEST, MAX_MANIFEST_BYTES, verify_package
from ._selftest import self_test


class TrialResult(Frozen):
    """One operating trial on the new policy."""

    success: bool
    fault: str | None = None
    """What no policy may do, e.g. a non-finite or out-of-bounds action: it ends the trial phase at once."""


class TrialDriver(Protocol):
    """Drives a package. A simulated robot's is the simulation; a real one's is its supervised test course."""

    def __call__(self, package: Path, *, trials: int, seed: int, sha256: Sha256) -> Iterator[TrialResult]:
        """Drive `trials` trials, the first with `seed`, and yield each result as it is known.

        `sha256` is the manifest's, as signed: `Runtime(package, sha256=sha256)` drives no other package.

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
    """onnxruntime's own provider. The self-test runs in a process of its own with limits of time and memory.

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
            allowed = self._budget or read_budget(package)
            lines = list(
                run_child(
                    f"{__name__}:run_self_test", arguments, timeout_s=self._timeout_s, memory_mib=allowed.memory_mib
                )
            )
        except PolicyError as error:
            raise PackageError(f"the self-test did not finish: {error}") from None
        if not lines:
            raise PackageError("the self-test ended without a result")
        try:
            return SelfTestResult.parse(lines[0], source="the self-test")
        except InvalidDocumentError as error:
            raise PackageError(str(error)) from None


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
        memory_mib: of the driver itself (a simulation, a camera), beside the package's budget.

    Raises:
        ConfigurationError: no such function.
    """

    def __init__(self, target: str, *, timeout_s: float = 120, memory_mib: float = 4096) -> None:
        check_function(target)
        self._target, self._timeout_s, self._memory_mib = target, timeout_s, memory_mib

    def __call__(self, package: Path, *, trials: int, seed: int, sha256: Sha256) -> Iterator[TrialResult]:
        arguments = {"package": str(package), "trials": trials, "seed": seed, "sha256": sha256}
        try:
            memory_mib = self._memory_mib + read_budget(package).memory_mib
        except PackageError as error:
            raise PolicyError(str(error)) from None
        for line in run_child(self._target, arguments, timeout_s=self._timeout_s, memory_mib=memory_mib):
            yield TrialResult.parse(line, source=self._target)


def read_budget(package: Path) -> Budget:
    """The memory that a package says it needs; the machine's memory bounds it.

    Raises:
        PackageError: its manifest cannot be read.
    """
    path = package / MANIFEST
    try:
        return PackageManifest.parse(read_plain(path, MAX_MANIFEST_BYTES), source=str(path)).budget
    except (OSError, InvalidDocumentError) as error:
        raise PackageError(f"{path} cannot be read: {error}") from None
