"""`drover rollout rollback` and `drover robot show`, as a person types them."""

import json
from pathlib import Path

from components.contracts import PolicyPackage, Settings
from components.promotion import enrol_robot, open_repository
from components.storage import FolderStore, S3Store
from tests.cli.conftest import Drover
from tests.faults.fleet_world import World


def test_rollback_says_which_robots_change_asks_and_does_it(
    drover: Drover, settings: Settings, store: S3Store, tmp_path: Path
) -> None:
    repository = open_repository(store, settings)
    for robot in ("robot-1", "robot-2"):
        enrol_robot(store, repository, robot, tmp_path / robot, hardware="simulated")
    first = repository.publish_release(_package(store, tmp_path, "one"))
    second = repository.publish_release(_package(store, tmp_path, "two"))
    repository.assign("robot-1", second, deployment="d1")
    repository.assign("robot-2", first, deployment="d1")

    declined = drover("rollout", "rollback", "--to", "r0001", input="n\n")
    untouched = repository.assignment("robot-1")
    shown = json.loads(drover("robot", "show", "robot-1", "--json").output)
    done = drover("rollout", "rollback", "--to", "r0001", "--yes")

    assert declined.exit_code == 1
    assert "1 robots go to r0001" in declined.output
    assert "robot-2" not in declined.output
    assert untouched is not None
    assert untouched.release == "r0002"
    assert (shown["state"], shown["should_run"], shown["runs"]) == ("never-reported", "r0002", None)
    assert done.exit_code == 0
    assert {robot: item.release for robot, item in repository.assignments().items()} == {
        "robot-1": "r0001", "robot-2": "r0001",
    }  # fmt: skip
    assert "never-reported" in drover("robot", "show", "robot-1").output
    assert drover("robot", "show", "robot-9").exit_code == 1


def _package(store: S3Store, folder: Path, tag: str) -> PolicyPackage:
    """A light package, its files in this store."""
    root = folder / f"package-{tag}"
    package = World(root, robots=()).package(tag=tag)
    made = FolderStore(root / "store")
    for ref in (package.manifest, *package.files.values()):
        store.put(ref.bucket, ref.key, made.get(ref.bucket, ref.key))
    return package
