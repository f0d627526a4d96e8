"""What stands between a policy and the wheels. Nothing here is learned, and no package can loosen it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from components.contracts import ACTION_LIMIT
from components.contracts.errors import ConfigurationError

Fault = Literal["non-finite", "out-of-bounds", "deadline"]

_ROUNDING = 1e-3
"""An excess that arithmetic explains: clamped, and nobody is told."""


@dataclass(frozen=True, eq=False)
class SafeAction:
    """What may be executed."""

    action: NDArray[np.float32]
    """(3,) float32: m/s, m/s, rad/s. Zero, a stop, where there is a fault."""
    fault: Fault | None
    clamped: bool
    """The policy asked for more than the bounds allow, by more than rounding."""


class SafetyLayer:
    """Clamps, times out and stops.

    Args:
        low: (3,) the package's lower bounds. The robot's own limit of 1.15 outranks wider ones.
        high: (3,) upper bounds.
        deadline_s: an action that took longer answers a world that is gone: the robot stops instead.
        margin: share of the bounds by which an action may exceed them and be clamped; beyond it the policy is broken
            and the robot stops.

    Raises:
        ConfigurationError: the bounds are no bounds.
    """

    def __init__(
        self, low: tuple[float, ...], high: tuple[float, ...], *, deadline_s: float, margin: float = 0.05
    ) -> None:
        self._low = np.maximum(np.asarray(low, dtype=np.float32), np.float32(-ACTION_LIMIT))
        self._high = np.minimum(np.asarray(high, dtype=np.float32), np.float32(ACTION_LIMIT))
        if self._low.shape != (3,) or self._high.shape != (3,) or not (self._low <= self._high).all():
            raise ConfigurationError(f"expected three lower bounds at most the upper ones, got {low} and {high}")
        if not deadline_s > 0:
            raise ConfigurationError(f"expected a deadline above 0 s, got {deadline_s}")
        self._margin = margin * np.maximum(np.abs(self._low), np.abs(self._high)) + _ROUNDING
        self._deadline_s = deadline_s

    def check(self, action: NDArray[np.float32], *others: NDArray[np.float32], elapsed_s: float) -> SafeAction:
        """Judge one action.

        Args:
            action: (3,) as the policy decided.
            others: whatever else the policy computed on the way; a NaN there makes the action worthless, however
                innocent it looks (a class chosen among NaNs is a valid key).
            elapsed_s: from the image's bytes to the action.
        """
        if action.shape != (3,) or not all(bool(np.isfinite(values).all()) for values in (action, *others)):
            return self.stop("non-finite")
        if elapsed_s > self._deadline_s:
            return self.stop("deadline")
        excess = np.maximum(action - self._high, self._low - action)
        if (excess > self._margin).any():
            return self.stop("out-of-bounds")
        safe = np.clip(action, self._low, self._high).astype(np.float32)
        return SafeAction(action=safe, fault=None, clamped=bool((excess > _ROUNDING).any()))

    @staticmethod
    def stop(fault: Fault) -> SafeAction:
        """Stand still."""
        return SafeAction(action=np.zeros(3, dtype=np.float32), fault=fault, clamped=False)


class Watchdog:
    """Calls `stop` from its own thread when nobody fed it for `deadline_s`: a policy that hangs cannot stop itself.

    Once per silence: the next `feed` arms it again. Starts armed at `__enter__`.
    """

    def __init__(self, deadline_s: float, stop: Callable[[], None]) -> None:
        self._deadline_s = deadline_s
        self._stop = stop
        self._fed = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def feed(self) -> None:
        """The control loop is alive."""
        self._fed.set()

    def _watch(self) -> None:
        while not self._closed:
            if self._fed.wait(self._deadline_s):
                self._fed.clear()
                continue
            self._stop()
            self._fed.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._fed.set()
        self._thread.join(timeout=self._deadline_s + 1)
