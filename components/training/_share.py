"""Many equal pieces of work, shared out among processes that Ray keeps."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

from components.contracts import Settings
from components.contracts.errors import TrainingError

from ._cluster import cluster

_log = logging.getLogger(__name__)
_REPLACED = 3
"""Workers that may die before a crew gives up: work that kills its worker would kill every one."""

Share = TypeVar("Share")
Result = TypeVar("Result")


class Crew(Generic[Share, Result]):
    """Worker processes, each with what its factory made once. See `share_out`."""

    def __init__(self, make: Callable[[], Callable[[Share], Result]], workers: int) -> None:
        self._make = ray.put(make)
        self._actors = [self._hire() for _ in range(workers)]
        self._spare = _REPLACED

    def each(self, shares: Sequence[Share]) -> Iterator[tuple[int, Result]]:
        """Every share's index and result, as they come. Whoever wants an order keeps it by the index.

        Raises:
            TrainingError: workers died again and again.
            Exception: whatever the work raised.
        """
        waiting, idle = deque(enumerate(shares)), list(self._actors)
        running: dict[Any, tuple[Any, int]] = {}
        while waiting or running:
            while waiting and idle:
                actor, (index, share) = idle.pop(), waiting.popleft()
                running[actor.work.remote(share)] = actor, index
            done, _ = ray.wait(list(running), num_returns=1)
            actor, index = running.pop(done[0])
            try:
                result = ray.get(done[0])
            except RayTaskError as error:
                raise error.cause from error
            except RayActorError as error:
                waiting.appendleft((index, shares[index]))
                actor = self._replace(actor, error)
            else:
                yield index, result
            idle.append(actor)

    def end(self) -> None:
        """End the processes, whatever they are at."""
        for actor in self._actors:
            ray.kill(actor)

    def _hire(self) -> Any:
        return _worker().remote(self._make)

    def _replace(self, actor: Any, error: RayActorError) -> Any:
        if not self._spare:
            raise TrainingError(f"{_REPLACED + 1} workers died, the last with: {error}") from error
        _log.warning("a worker died, another does its share again: %s", str(error).partition("\n")[0])
        self._spare -= 1
        ray.kill(actor)
        replacement = self._hire()
        self._actors[self._actors.index(actor)] = replacement
        return replacement


@contextmanager
def share_out(
    make: Callable[[], Callable[[Share], Result]], *, workers: int, settings: Settings | None = None
) -> Iterator[Crew[Share, Result]]:
    """Processes of Ray's, one CPU each, for as long as the block: `crew.each(shares)` as often as wanted.

    A worker that is killed is replaced, and what it was at is done again: work must not mind being done twice.

    Args:
        make: called once in each process, gives what does the work there; picklable.
        workers: processes.
        settings: where Ray is; None reads them from the environment. See `train`.
    """
    with cluster(settings or Settings(), cpus=workers):
        crew: Crew[Share, Result] = Crew(make, workers)
        try:
            yield crew
        finally:
            crew.end()


def _worker() -> Any:
    """An actor with one CPU, on which its numerical libraries run one thread each: Ray sees to that.

    Its class is local, so that it travels by value: the process imports what the work needs, and not this package with
    all of Ray Train and Tune, which takes seconds.
    """

    class Worker:
        def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
            from components.contracts import plain_logs

            plain_logs()
            self._work = make()

        def work(self, share: Any) -> Any:
            return self._work(share)

    return ray.remote(num_cpus=1)(Worker)
