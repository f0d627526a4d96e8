"""Robots' reports on their way into the store: signed by the robot's own key, numbered, written once.

reports/robots/<robot>/<seq>-<count>.json   SignedReport, in canonical JSON

The gateway alone writes there, and it overwrites nothing: what holds a number keeps it.
"""

import hashlib
import threading
from collections.abc import Callable

from components.contracts import EnrolledRobot, ReportAnswer, SignedReport
from components.contracts.errors import AlreadyExistsError, StorageError
from components.robot import is_signed_by, report_key
from components.storage import ObjectStore

from ._problems import Refused

_BUCKET = "reports"


def accept_report(store: ObjectStore, robot: EnrolledRobot, signed: SignedReport) -> ReportAnswer:
    """Keep a robot's report. The same bytes again are the same answer.

    Args:
        store: with the gateway's identity.
        robot: whose request it is.
        signed: what it sent; its types bound every field, so that a report has at most a few kB.

    Raises:
        Refused: `unauthenticated` (another robot's, or not signed by the enrolled key) or `conflict` (other bytes have
            this number).
        StorageError: the store failed.
    """
    report = signed.report
    if report.robot != robot.robot:
        raise Refused("unauthenticated", f"expected a report of {robot.robot}, got one of {report.robot}")
    if not is_signed_by(signed, robot.public_key):
        raise Refused("unauthenticated", f"the report is not signed by the key that {robot.robot} enrolled")
    key, document = report_key(report), signed.canonical_json()
    try:
        store.put(_BUCKET, key, document, if_absent=True)
    except AlreadyExistsError:
        if not _holds(store, key, document):
            raise Refused("conflict", f"{key} holds another report: give this one a number of its own") from None
    else:
        if not _holds(store, key, document):  # two requests of a few kB more, for a word that the robot forgets
            raise StorageError(f"{_BUCKET}/{key} is not what was written there; the robot sends it again")
    sha256 = hashlib.sha256(document).hexdigest()
    return ReportAnswer(robot=report.robot, seq=report.seq, count=report.count, sha256=sha256)


def _holds(store: ObjectStore, key: str, document: bytes) -> bool:
    """False also for an object that is too large to be a report."""
    info = store.stat(_BUCKET, key)
    if info is None:
        raise StorageError(f"{_BUCKET}/{key} was there and is gone: the robot asks again")
    return info.size == len(document) and store.get(_BUCKET, key, limit=len(document)) == document


class ReportRates:
    """The number of reports that each robot may still send: `per_hour` at once, and as many in each hour after that.

    In memory, of enrolled robots alone: a restarted gateway counts anew.
    """

    def __init__(self, per_hour: int, now: Callable[[], float]) -> None:
        self._per_hour, self._now = per_hour, now
        self._left: dict[str, tuple[float, float]] = {}
        """Robot -> reports left, and when that was so."""
        self._lock = threading.Lock()

    def note(self, robot: str) -> None:
        """One more. Raises Refused, `busy`: none is left."""
        with self._lock:
            now = self._now()
            left, since = self._left.get(robot, (float(self._per_hour), now))
            left = min(self._per_hour, left + max(now - since, 0) * self._per_hour / 3600)
            if left < 1:
                raise Refused("busy", f"more than {self._per_hour} reports within an hour: they wait on the robot")
            self._left[robot] = (left - 1, now)
