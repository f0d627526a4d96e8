"""Robots' reports about their assignments: only a report that its robot's enrolled key signed counts.

Reports are numbered by the assignment (`seq`) and by the robot (`count`). Names that no report can have are passed over
unread; what cannot be read or verified counts against nothing, but where it hides a robot's newest report, or leaves a
gap in its numbers, the robot is in doubt, and a rollout that needs its word pauses.

What is not covered: the newest report of an assignment, removed before it was read: the robot is waited for until the
phase's time is over, which is a failure.
"""

import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from components.contracts import AgentState, Assignment, EnrolledRobot, RobotReport, SignedReport
from components.contracts.errors import InvalidDocumentError, ObjectNotFoundError, StorageError
from components.robot import is_signed_by, report_key
from components.storage import ObjectStore

log = logging.getLogger(__name__)

MAX_REPORT_BYTES = 64 * 1024
MAX_REPORTS = 20_000
"""Of one robot and assignment that are read; more put the robot in doubt. The gateway takes a few hundred an hour."""
KEPT_REPORTS = 500
"""Of one robot, beside those that an open rollout needs."""
FAILED: tuple[AgentState, ...] = ("ROLLBACK", "QUARANTINE", "REJECTED")
_BUCKET, _ASIDE = "reports", "set-aside/"
_MOST_ALARMS = 3
_NAME = re.compile(r"(?P<seq>\d{8,16})-(?P<count>\d{8,16})\.json")


@dataclass(frozen=True)
class Heard:
    """Everything that is known from robots."""

    latest: dict[str, RobotReport]
    """Robot -> the verified report that decides: of one assignment a failure before a success, the worst success, and
    the latest where there is neither."""
    alarms: tuple[str, ...]
    """Reports that were not what they claim: ignored."""
    doubts: dict[str, str] = field(default_factory=dict)
    """Robot -> why what it says of this assignment is not known whole."""


@dataclass
class _Reading:
    """The reports of one robot about one assignment."""

    verified: dict[int, RobotReport] = field(default_factory=dict)
    bad: dict[int, str] = field(default_factory=dict)
    """Number -> what is wrong with it."""
    too_many: bool = False

    def decisive(self, deployment: str | None) -> RobotReport | None:
        """Of those about this rollout; None: about any. A repository that was made anew counts assignments anew."""
        reports = [self.verified[count] for count in sorted(self.verified)]
        reports = [report for report in reports if deployment in {None, report.deployment}]
        if failed := [report for report in reports if report.state in FAILED]:
            return failed[0]
        if outcomes := [report for report in reports if report.state == "IDLE"]:
            return min(reversed(outcomes), key=lambda item: item.successes / item.trials if item.trials else math.inf)
        return reports[-1] if reports else None

    def doubt(self, accepted: int) -> str | None:
        """Why the reports above number `accepted` are not all there."""
        if self.too_many:
            return f"more than {MAX_REPORTS} reports of one assignment"
        newest = max(self.bad, default=0)
        if newest > max(self.verified, default=0):
            return f"its newest report, number {newest}, {self.bad[newest]}"
        for before, after in pairwise(sorted(self.verified)):
            if after > max(before + 1, accepted):
                there = next((f"number {n} {self.bad[n]}" for n in range(before + 1, after) if n in self.bad), "none")
                return f"expected its reports {before + 1} to {after - 1}, found {there}"
        return None


def hear(
    store: ObjectStore,
    robots: Iterable[EnrolledRobot],
    *,
    about: Mapping[str, tuple[int, str]] | None = None,
    accepted: Mapping[str, int] | None = None,
) -> Heard:
    """Read the report of each robot about its assignment.

    Args:
        store: with the platform's identity.
        robots: whose keys count.
        about: robot -> number and rollout of the assignment that is asked for, other robots are left out; None: every
            robot's newest assignment of which it said anything.
        accepted: robot -> number up to which a person accepted what is missing.
    """
    heard, alarms = Heard({}, ()), []
    for entry in robots:
        wanted = about.get(entry.robot) if about is not None else None
        if about is not None and wanted is None:
            continue
        reading = _read(store, entry, wanted[0]) if wanted else _newest(store, entry)
        if found := reading.decisive(wanted[1] if wanted else None):
            heard.latest[entry.robot] = found
        if doubt := reading.doubt((accepted or {}).get(entry.robot, 0)):
            heard.doubts[entry.robot] = doubt
        said = [f"{entry.robot}: report {number} {why}; ignored" for number, why in sorted(reading.bad.items())]
        alarms += said[:_MOST_ALARMS]
        if len(said) > _MOST_ALARMS:
            alarms.append(f"{entry.robot}: {len(said) - _MOST_ALARMS} more such reports")
    for alarm in alarms:
        log.error("ALARM %s", alarm)
    return Heard(heard.latest, tuple(alarms), heard.doubts)


@dataclass(frozen=True)
class LastWord:
    """What a robot said last, and what counts of what it said."""

    report: RobotReport
    received_at: datetime | None
    """When the platform got it, by the store's clock."""
    outcome: RobotReport | None
    doubt: str | None


def last_word(
    store: ObjectStore, entry: EnrolledRobot, assignment: Assignment | None, *, accepted: int = 0
) -> LastWord | None:
    """The newest report that a robot signed, with the outcome of its assignment; None: there is none.

    Args:
        store: with the platform's identity.
        entry: whose key counts.
        assignment: its assignment now.
        accepted: number of a report up to which a person accepted that some are missing.
    """
    reading = _newest(store, entry)
    if not reading.verified:
        return None
    report = reading.verified[max(reading.verified)]
    found = store.stat(_BUCKET, _key(entry.robot, report.seq, report.count))
    about = reading if assignment and assignment.seq == report.seq else _Reading()
    outcome = about.decisive(assignment.deployment) if assignment else None
    return LastWord(report, found.modified_at if found else None, outcome, about.doubt(accepted))


def set_aside(store: ObjectStore, entry: EnrolledRobot, seq: int) -> int:
    """Move what is no report of this robot's from among its reports to `reports/set-aside/`.

    Returns:
        The highest number that it reported under: what is missing below is accepted.

    Raises:
        StorageError: one cannot be read; nothing is removed that was not copied.
    """
    reading = _read(store, entry, seq)
    for count in reading.bad:
        key = _key(entry.robot, seq, count)
        try:
            store.put(_BUCKET, _ASIDE + key, store.get(_BUCKET, key))
        except ObjectNotFoundError:
            continue
        store.remove(_BUCKET, key)
    return max(reading.verified, default=0)


def prune_reports(store: ObjectStore, robot: str, needed: Iterable[int]) -> None:
    """Remove all but the newest reports of a robot.

    Args:
        store: with the platform's identity: nobody else may.
        robot: its id.
        needed: assignments that open rollouts are about; their reports stay, however many.
    """
    keep = set(needed)
    numbers = sorted((number for number in _numbers(store, robot) if number[0] not in keep), reverse=True)
    for seq, count in numbers[KEPT_REPORTS : KEPT_REPORTS + MAX_REPORTS]:
        store.remove(_BUCKET, _key(robot, seq, count))


def _newest(store: ObjectStore, entry: EnrolledRobot) -> _Reading:
    """Of the newest assignment about which there is a verified report."""
    for seq in sorted({seq for seq, _ in _numbers(store, entry.robot)}, reverse=True)[:MAX_REPORTS]:
        reading = _read(store, entry, seq)
        if reading.verified:
            return reading
    return _Reading()


def _read(store: ObjectStore, entry: EnrolledRobot, seq: int) -> _Reading:
    counts = sorted(count for _, count in _numbers(store, entry.robot, seq))
    reading = _Reading(too_many=len(counts) > MAX_REPORTS)
    for count in counts[:MAX_REPORTS]:
        found = _verified(store, _key(entry.robot, seq, count), entry)
        if isinstance(found, RobotReport):
            reading.verified[count] = found
        elif found:
            reading.bad[count] = found
    return reading


def _numbers(store: ObjectStore, robot: str, seq: int | None = None) -> Iterable[tuple[int, int]]:
    """The numbers of this robot's reports; what has no report's name is passed over."""
    folder = f"robots/{robot}/"
    for info in store.list(_BUCKET, folder if seq is None else f"{folder}{seq:08d}-"):
        match = _NAME.fullmatch(info.key.removeprefix(folder))
        if match and info.key == _key(robot, number := int(match["seq"]), count := int(match["count"])):
            yield number, count


def _verified(store: ObjectStore, key: str, entry: EnrolledRobot) -> RobotReport | str:
    """The report, or why it is none; nothing for one that is gone."""
    try:
        signed = SignedReport.parse(store.get(_BUCKET, key, limit=MAX_REPORT_BYTES), source=f"{_BUCKET}/{key}")
    except ObjectNotFoundError:
        return ""
    except (InvalidDocumentError, StorageError) as error:
        return f"cannot be read ({error})"
    if not is_signed_by(signed, entry.public_key):
        return f"is not signed by the key of {entry.robot}"
    if report_key(signed.report) != key:
        return f"holds another report, {report_key(signed.report)}"
    return signed.report


def _key(robot: str, seq: int, count: int) -> str:
    return f"robots/{robot}/{seq:08d}-{count:08d}.json"
