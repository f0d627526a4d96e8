"""Row 42, the stages that promote: killed before any write of a release, or of the step that completes its rollout."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from components.contracts import PolicyPackage, Settings, TrainingPlan
from components.ingest import register_robot
from components.promotion import advance, find_incumbent, open_repository, release, rollouts
from components.storage import FolderStore
from tests.faults.fleet_world import World, in_child, kill_me
from tests.keys import public_key
from tests.reports import make_ensemble, make_report

ROBOTS = ("robot-1", "robot-2")
WRITES = {"os.rename", "os.link"}
"""The call by which a write to a `FolderStore`, or to the folder of keys, becomes visible."""


def kill_me_before_write(number: int) -> None:
    left = number

    def hook(event: str, _arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in WRITES:
            left -= 1
            if left == 0:
                kill_me()

    sys.addaudithook(hook)


def killed_before_each_write(start: Path, folder: Path, work: Callable[[Path], object]) -> list[Path]:
    """Copies of `start`, in each of which `work` was killed before another one of its writes."""
    homes: list[Path] = []
    while True:
        home = Path(shutil.copytree(start, folder / str(len(homes) + 1), symlinks=True))

        def dying(home: Path = home) -> None:
            kill_me_before_write(len(homes) + 1)
            work(home)

        if in_child(dying) != -signal.SIGKILL:
            return homes
        homes.append(home)


def in_children(works: Iterable[Callable[[], object]]) -> None:
    """All of them at once: a publisher that was killed has the next one wait for its lease, which costs no work."""
    children = []
    for work in works:
        if (pid := os.fork()) == 0:
            os._exit(in_child(work))
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * len(children)


def publish(home: Path, package: PolicyPackage) -> None:
    ensemble, report = make_ensemble(), make_report(success=0.9)
    release(FolderStore(home / "store"), Settings(home=home), package, ensemble, report, TrainingPlan())


def step(home: Path) -> None:
    advance(FolderStore(home / "store"), Settings(home=home))


def outcome(home: Path) -> dict[str, object]:
    """All that robots and people can see of what was released."""
    store = FolderStore(home / "store")
    repository = open_repository(store, Settings(home=home))
    assigned = {robot: repository.assignment(robot) for robot in ROBOTS}
    return {
        "releases": [(item.name, item.number, item.package) for item in repository.releases()],
        "rollouts": [(state.plan, state.status, state.assigned, state.seqs) for state in rollouts(store)],
        "assigned": assigned,
        "evidence": [info.key for info in store.list("models", "releases/")],
        "promoted": find_incumbent(store) and store.get("models", "promoted.json"),
        "keys": sorted(path.name for path in (home / "keys").iterdir() if path.suffix in {".pem", ".json", ".txt"}),
    }


def test_row_42_release_killed_before_any_write_is_one_release_with_one_rollout(tmp_path: Path) -> None:
    """The first one, which makes the keys and the repository too. The rollouts' own flow runs before the rerun."""
    store = FolderStore(tmp_path / "start" / "store")
    for seed, robot in enumerate(ROBOTS):
        register_robot(store, robot, public_key(seed), hardware="simulated")
    maker = World(tmp_path / "maker", robots=())
    package = maker.package(tag="one")
    shutil.copytree(maker.store.root / "models" / "blobs", store.root / "models" / "blobs")
    undisturbed = Path(shutil.copytree(tmp_path / "start", tmp_path / "undisturbed"))
    publish(undisturbed, package)
    expected = outcome(undisturbed)

    homes = killed_before_each_write(tmp_path / "start", tmp_path / "killed", lambda home: publish(home, package))

    def rerun(home: Path) -> None:
        step(home)
        publish(home, package)

    in_children(partial(rerun, home) for home in homes)
    assert len(homes) > 30
    for home in homes:
        assert outcome(home) == expected, home


@pytest.mark.parametrize(("fault", "end"), [(None, "completed"), ("non-finite action", "rolled-back")])
def test_row_42_rollout_killed_before_any_write_of_its_last_step_ends_in_the_next(
    tmp_path: Path, fault: str | None, end: str
) -> None:
    start = tmp_path / "start"
    world = World(start, robots=ROBOTS)
    publish(start, world.package(tag="one", fault=fault))
    world.tick("robot-1")
    if not fault:
        step(start)
        world.tick("robot-2")
    undisturbed = Path(shutil.copytree(start, tmp_path / "undisturbed", symlinks=True))
    step(undisturbed)
    expected = outcome(undisturbed)
    assert [state.status for state in rollouts(FolderStore(undisturbed / "store"))] == [end]
    assert (expected["promoted"] is not None) == (end == "completed")

    homes = killed_before_each_write(start, tmp_path / "killed", step)
    in_children(partial(step, home) for home in homes)
    assert len(homes) >= 2
    for home in homes:
        assert outcome(home) == expected, home
