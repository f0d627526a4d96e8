"""Enrolment of a robot for updates: its key and its root of trust."""

from pathlib import Path

from components.contracts import EnrolledRobot
from components.ingest import register_robot
from components.robot import RobotIdentity
from components.storage import ObjectStore, write_durably

from ._repository import ReleaseRepository


def enrol_robot(
    store: ObjectStore,
    repository: ReleaseRepository,
    robot: str,
    home: Path,
    *,
    hardware: str = "simulated",
    replace: bool = False,
) -> EnrolledRobot:
    """Give a robot its key and its root of trust, and remember whose key it is. The same again is no change.

    Args:
        store: with the platform's identity.
        repository: whose root the robot is to trust.
        robot: its id.
        home: its folder, on this machine while it is enrolled.
        hardware: its hardware id.
        replace: it has a new key (a wiped home); the old one no longer counts.

    The gateway that takes its reports is pinned by `ingest.enrol_here` or, on the robot, by `robot.enrol`.

    Raises:
        PromotionError: it is enrolled with another key, or was revoked.
    """
    identity = RobotIdentity(home)
    entry = register_robot(store, robot, identity.public_key, hardware=hardware, replace=replace)
    root = home / "root.json"
    if not root.exists() or replace:
        write_durably(root, repository.root())
    return entry
