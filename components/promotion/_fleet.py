"""Whose robots these are, and what they say: only a report that its robot's enrolled key signed counts."""

import logging
from dataclasses import dataclass
from pathlib import Path

from components.contracts import AgentState, EnrolledRobot, RobotReport, SignedReport
from components.contracts.errors import InvalidDocumentError, StorageError
from components.ingest import register_robot
from components.robot import RobotIdentity, is_signed_by, report_key
from components.storage import ObjectStore

from ._repository import ReleaseRepository

log = logging.getLogger(__name__)

MAX_REPORT_BYTES = 64 * 1024
OUTCOMES: tuple[AgentState, ...] = ("IDLE", "QUARANTINE", "REJECTED")
MAX_REPORTS = 200
"""Of one robot, newest first, that are looked at: a flood of forged ones cannot stop a rollout's step."""


@dataclass(frozen=True)
class Heard:
    """What is known from robots."""

    latest: dict[str, RobotReport]
    """Robot -> its latest verified report."""
    alarms: tuple[str, ...]
    """Reports that were not what they claim: ignored."""


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

    Raises:
        PromotionError: it is enrolled with another key, or was revoked.
    """
    identity = RobotIdentity(home)
    entry = register_robot(store, robot, identity.public_key, hardware=hardware, replace=replace)
    root = home / "root.json"
    if not root.exists() or replace:
        part = home / "root.json.part"
        part.write_bytes(repository.root())
        part.replace(root)
    return entry


def hear(store: ObjectStore, robots: list[EnrolledRobot]) -> Heard:
    """Each robot's latest report that its own key signed; of one assignment, the outcome outranks what came after."""
    latest: dict[str, RobotReport] = {}
    alarms: list[str] = []
    for entry in robots:
        keys = sorted((info.key for info in store.list("reports", f"robots/{entry.robot}/")), reverse=True)
        for key in keys[:MAX_REPORTS]:
            found = _verified(store, key, entry)
            if isinstance(found, str):
                alarms.append(f"reports/{key}: {found}; ignored")
                continue
            newest = latest.setdefault(entry.robot, found)
            if found.seq < newest.seq:
                break
            if found.state in OUTCOMES:
                latest[entry.robot] = found
                break
    for alarm in alarms:
        log.error("ALARM %s", alarm)
    return Heard(latest, tuple(alarms))


def _verified(store: ObjectStore, key: str, entry: EnrolledRobot) -> RobotReport | str:
    """The report, or why it is none."""
    try:
        signed = SignedReport.parse(store.get("reports", key, limit=MAX_REPORT_BYTES), source=key)
    except (InvalidDocumentError, StorageError) as error:
        return f"cannot be read ({error})"
    if not is_signed_by(signed, entry.public_key):
        return f"is not signed by the key of {entry.robot}"
    if report_key(signed.report) != key:
        return f"says that it is {report_key(signed.report)}"
    return signed.report
