"""Robots as the platform knows them: enrolment for updates, and why one runs what it runs."""

from datetime import UTC, datetime
from pathlib import Path

from components.contracts import EnrolledRobot, Settings
from components.contracts.errors import InvalidDocumentError
from components.ingest import enrolled_robot, register_robot
from components.robot import RobotIdentity
from components.storage import ObjectStore, write_durably

from ._advance import open_repository, rollouts
from ._reports import last_word
from ._repository import ReleaseRepository
from ._standing import RobotFacts, RobotSheet, explain_robot


def enrol_robot(
    store: ObjectStore,
    repository: ReleaseRepository,
    robot: str,
    home: Path,
    *,
    hardware: str,
    replace: bool = False,
) -> EnrolledRobot:
    """Give a robot its key and its root of trust, and remember whose key it is. The same again is no change.

    Args:
        store: with the platform's identity.
        repository: whose root the robot is to trust.
        robot: its id.
        home: its folder, on this machine while it is enrolled.
        hardware: its hardware id, for which releases are signed; `UNKNOWN_HARDWARE`: it takes none.
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


def show_robot(store: ObjectStore, settings: Settings, robot: str) -> RobotSheet:
    """Which release a robot runs, which it should run, and why they differ.

    Raises:
        InvalidDocumentError: a rollout cannot be read.
    """
    entry, damage = None, None
    try:
        entry = enrolled_robot(store, robot)
    except InvalidDocumentError as error:
        damage = str(error)
    released = store.stat("releases", "metadata/timestamp.json") is not None
    assignment = open_repository(store, settings).assignment(robot) if released else None
    known = tuple(rollouts(store))
    accepted = max((state.accepted.get(robot, 0) for state in known), default=0)
    word = last_word(store, entry, assignment, accepted=accepted) if entry else None
    facts = RobotFacts(
        robot=robot,
        now=datetime.now(UTC),
        hardware=settings.release_hardware,
        entry=entry,
        damage=damage,
        assignment=assignment,
        report=word.report if word else None,
        outcome=word.outcome if word else None,
        reported_at=word.received_at if word else None,
        uploaded_at=_last_upload(store, robot) if entry else None,
        doubt=word.doubt if word else None,
        rollouts=known,
    )
    return explain_robot(facts)


def _last_upload(store: ObjectStore, robot: str) -> datetime | None:
    times = [info.modified_at for bucket in ("inbox", "receipts") for info in store.list(bucket, f"{robot}/")]
    return max(times, default=None)
