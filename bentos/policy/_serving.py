"""Which package is served: the folder is watched, and a switched link is noticed by the next request."""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.contracts.errors import ConfigurationError, DroverError
from components.robot import CPU, MANIFEST, Runtime

from ._sessions import Sessions

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, eq=False)
class Active:
    """What is served now."""

    runtime: Runtime
    sessions: Sessions
    release: str
    """The release's name; the package's first 12 characters where it was served without one."""


class Serving:
    """The package that is at `folder` now, and its sessions.

    A package that does not verify never replaces one that does: the old one is served on, and the log says so.

    Args:
        folder: a package's folder, or a link to one.
        provider: onnxruntime's execution provider.
        clock: seconds, never backwards.
    """

    def __init__(self, folder: Path, *, provider: str = CPU, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._provider = provider
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._looked_at = float("-inf")
        self._active: Active | None = None
        self._problem = ""

    def current(self) -> Active:
        """The policy to answer with. While a new package is loaded, the one before it.

        Raises:
            ConfigurationError: there is none yet, or none that verifies.
        """
        active = self._active
        if not self._lock.acquire(blocking=active is None) and active is not None:
            return active  # another request is looking
        try:
            if self._clock() - self._looked_at >= _LOOK_EVERY_S:
                self._look()
                self._looked_at = self._clock()
            if self._active is None:
                raise ConfigurationError(self._problem)
            return self._active
        finally:
            self._lock.release()

    @property
    def ready(self) -> bool:
        """Whether `current` would answer."""
        try:
            self.current()
        except ConfigurationError:
            return False
        return True

    def _look(self) -> None:
        try:
            status = (self._folder / MANIFEST).stat()
        except OSError:
            self._problem = (
                f"no policy is served yet: expected a package at {self._folder}; promote one "
                "(`drover run train-and-promote`) or set DROVER_PACKAGE"
            )
            return
        seen = (status.st_dev, status.st_ino, status.st_mtime_ns)
        if seen == self._seen:
            return
        self._seen = seen
        folder = Path(os.path.realpath(self._folder))
        try:
            runtime = Runtime(folder, self._provider)
        except DroverError as error:
            self._problem = f"the package at {self._folder} is refused: {error}"
            _log.error("%s%s", self._problem, "; the one before it is served on" if self._active else "")
            return
        self._active = Active(runtime=runtime, sessions=Sessions(runtime), release=_release(folder, runtime))
        _log.info("serving %s, package %s, on %s", self._active.release, runtime.package, runtime.provider)


def _release(folder: Path, runtime: Runtime) -> str:
    """What `packaging.serve_package` wrote beside the folder."""
    try:
        return folder.with_name(f"{folder.name}.release").read_text()[:64].strip() or runtime.package[:12]
    except (OSError, UnicodeDecodeError):
        return runtime.package[:12]
