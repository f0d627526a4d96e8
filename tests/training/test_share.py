"""Work that is shared out among Ray's processes."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.contracts import Settings
from components.contracts.errors import TrainingError
from components.training import share_out
from components.training._cluster import cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    # Ray warns of its own deprecations, and leaves its processes' handles to the collector
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with cluster(Settings(home=tmp_path_factory.mktemp("home")), cpus=2):
        yield


def _alive(pid: int) -> bool:
    """Whether it runs: a process that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_every_share_is_done_once_by_workers_that_are_made_once_and_end_with_the_block() -> None:
    def make() -> Callable[[int], tuple[int, int, int]]:
        done = 0

        def work(share: int) -> tuple[int, int, int]:
            nonlocal done
            done += 1
            return share * share, os.getpid(), done

        return work

    with share_out(make, workers=2) as crew:
        first = dict(crew.each(range(12)))
        again = dict(crew.each([5]))
        nothing = list(crew.each([]))

    assert {index: square for index, (square, _, _) in first.items()} == {share: share**2 for share in range(12)}
    assert nothing == []
    workers = {pid: 0 for _, pid, _ in first.values()}
    assert 1 <= len(workers) <= 2
    assert os.getpid() not in workers
    square, pid, done = again[0]
    assert (square, done) == (25, 1 + max([count for _, worker, count in first.values() if worker == pid], default=0))
    _gone(set(workers))


def _gone(pids: set[int]) -> None:
    """Ray ends a process soon after it is told to."""
    for _ in range(600):
        if not any(_alive(pid) for pid in pids):
            return
        signal.sigtimedwait([], 0.05)
    pytest.fail(f"still running: {pids}")


def test_an_error_of_the_work_is_raised_as_it_was() -> None:
    def make() -> Callable[[int], int]:
        def work(share: int) -> int:
            if share == 2:
                raise ZeroDivisionError("share 2 is no share")
            return share

        return work

    with pytest.raises(ZeroDivisionError, match="share 2 is no share"), share_out(make, workers=1) as crew:
        list(crew.each(range(4)))


def test_a_killed_workers_share_is_done_again(tmp_path: Path) -> None:
    marker = str(tmp_path / "killed")

    def make() -> Callable[[int], int]:
        def work(share: int) -> int:
            if share == 1 and not os.path.exists(marker):  # noqa: PTH110
                with open(marker, "w"):  # noqa: PTH123
                    os.kill(os.getpid(), signal.SIGKILL)
            return -share

        return work

    with share_out(make, workers=2) as crew:
        assert dict(crew.each(range(5))) == {share: -share for share in range(5)}
    assert Path(marker).exists()


def test_work_that_kills_every_worker_is_given_up() -> None:
    def make() -> Callable[[int], int]:
        return lambda share: os.kill(os.getpid(), signal.SIGKILL) or share

    with pytest.raises(TrainingError, match="4 workers died, the last with"), share_out(make, workers=1) as crew:
        list(crew.each([1]))
