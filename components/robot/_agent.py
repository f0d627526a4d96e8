"""The update agent: takes a release from offered to trusted, or back, and survives a kill at any moment.

The table in `_machine.py` decides what follows what; the journal remembers; `_steps.py` does the work of each state.
What is not covered: TensorRT engines (BUILD makes none); resuming inside a file; starting the policy process, which
opens `<home>/current` itself (`activated` tells it).
"""

import logging
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from components.contracts import AgentState, Release, RobotReport, hardware_id
from components.contracts.errors import GatewayError

from ._bench import Bench, TrialDriver
from ._clock import utc_now
from ._driving import VERIFY_S
from ._fingerprint import Fingerprint
from ._identity import RobotIdentity
from ._journal import Journal
from ._machine import next_state, resume
from ._reporting import ReportSink
from ._slots import Slots
from ._steps import Offers, Steps

log = logging.getLogger(__name__)

_COUNTED: tuple[AgentState, ...] = ("BUILD", "SELFTEST", "TRIAL")
_TOLD: tuple[AgentState, ...] = ("DOWNLOAD", "WAIT_SAFE", "TRIAL")
_BEGUN_ANEW: tuple[AgentState, ...] = (
    "CHECK", "DOWNLOAD", "VERIFY", "STAGE", "BUILD", "SELFTEST", "WAIT_SAFE",
)  # fmt: skip
_SETTLED: tuple[AgentState, ...] = ("COMMIT", "QUARANTINE", "REJECTED")


class UpdateAgent:
    """One robot's agent. One process at a time; `tick` is called again and again.

    Args:
        robot: its id.
        home: its folder: journal, slots, downloads, `current`.
        offers: checks for assignments and fetches files, verified.
        bench: verifies, builds and self-tests a package on this machine.
        trials: drives the operating trials.
        reports: takes the signed reports, in order; the robot's gateway.
        identity: the robot's key.
        fingerprint: of this device, asked anew in every state.
        is_safe: stationary and docked, so that the policy may be changed. Never times out.
        journal: the memory; opened by whoever also gives it to `offers` as its floors.
        clock: now, in UTC.
        activated: told the folder that drives from now on; None: nothing drives.
        on_state: told each state when it is entered and on disk.
        verify_s: seconds after which what drives is hashed again, changed or not.
    """

    def __init__(
        self,
        *,
        robot: str,
        home: Path,
        offers: Offers,
        bench: Bench,
        trials: TrialDriver,
        reports: ReportSink,
        identity: RobotIdentity,
        fingerprint: Callable[[], Fingerprint],
        is_safe: Callable[[], bool],
        journal: Journal,
        clock: Callable[[], datetime] = utc_now,
        activated: Callable[[Path | None], None] = lambda _folder: None,
        on_state: Callable[[AgentState], None] = lambda _state: None,
        verify_s: float = VERIFY_S,
    ) -> None:
        self.robot, self.slots = robot, Slots(home, journal)
        self._journal, self._reports, self._identity = journal, reports, identity
        self._fingerprint, self._clock, self._on_state = fingerprint, clock, on_state
        self._steps = Steps(
            robot=robot,
            home=home,
            slots=self.slots,
            journal=journal,
            offers=offers,
            bench=bench,
            trials=trials,
            fingerprint=fingerprint,
            is_safe=is_safe,
            activated=activated,
            alarm=self.alarm,
            over=self.over,
            verify_s=verify_s,
        )
        died = self.state
        starts = self._steps.job.starts.get(died, 0)
        state = resume(died, starts)
        if state != died:
            self._steps.note(reason=f"died in {died}, begun {starts} times")
        if died != "IDLE":
            self._enter(state, told=False)

    @property
    def state(self) -> AgentState:
        return self._steps.job.state

    @property
    def release(self) -> Release | None:
        """What drives now; None: nothing."""
        record = self.slots.record(self.slots.current())
        return record.release if record else None

    def tick(self) -> AgentState:
        """Work until there is nothing more to do now: IDLE, or WAIT_SAFE while it is not safe.

        Raises:
            OSError, sqlite3.Error: this machine's disk; the next tick goes on.
            ConfigurationError: the trial driver is not there.
            Exception: what no state expects. Before activation the next tick begins anew, so that another assignment
                can end it; from then on the state is kept.
        """
        self._steps.adopt()
        if self._steps.job.state in {"IDLE", "WAIT_SAFE"}:
            self._steps.guard()
        if self._steps.job.state == "IDLE":
            self._enter(next_state("IDLE", "done"))
        while True:
            state = self._steps.job.state
            try:
                event = self._steps.work(state)
            except Exception:
                if state in _BEGUN_ANEW:
                    self._enter("IDLE")
                raise
            if event == "wait":
                break
            self._leave(state, next_state(state, event))
            if self._steps.job.state == "IDLE":
                break
        self.send_reports()
        return self._steps.job.state

    def send_reports(self) -> None:
        """Send what waits, in order; without a gateway it goes on waiting."""
        for signed in self._journal.unsent():
            try:
                self._reports.report(signed)
            except GatewayError as error:
                log.log(logging.INFO if error.again else logging.WARNING, "%s: reports wait: %s", self.robot, error)
                if error.code == "conflict":  # of an earlier journal or key of this robot, or planted
                    self._journal.renumber(self._identity.sign)
                return
            self._journal.sent(signed.report)

    def _leave(self, state: AgentState, following: AgentState) -> None:
        """What has to be true together with the next state: settled, barred, told."""
        if state in _SETTLED and following == "IDLE":
            shutil.rmtree(self._steps.downloads, ignore_errors=True)
            outcome: AgentState = "IDLE" if state == "COMMIT" else state
            self._enter(following, settled=outcome)
        else:
            self._enter(following)

    def _enter(self, state: AgentState, *, settled: AgentState | None = None, told: bool = True) -> None:
        was_idle = self._steps.job.state in {"IDLE", "CHECK"}
        starts = self._steps.job.starts
        if state in _COUNTED:
            starts = starts | {state: starts.get(state, 0) + 1}
        self._steps.note(state=state, starts=starts)
        reports = []
        if settled or (told and state in _TOLD):
            reports.append(self._identity.sign(self._report(settled or state)))
        barred = None
        if settled == "QUARANTINE":
            device = self._steps.job.fingerprint or self._fingerprint()
            barred = (self._steps.release().package, device.digest())
        if state != "CHECK" and not (state == "IDLE" and was_idle and not settled):  # an idle poll wears no flash
            self._journal.save(self._steps.job, reports=reports, quarantine=barred, handled=settled is not None)
        level = logging.DEBUG if was_idle and state in {"IDLE", "CHECK"} else logging.INFO
        log.log(level, "%s: %s %s", self.robot, state, self._steps.job.reason)
        self._on_state(state)
        if reports:
            self.send_reports()

    def alarm(self, key: str, text: str) -> None:
        """Report it once, until it is over. The key is `kind` or `scope:kind`."""
        kind = key.rpartition(":")[2]
        log.error("%s: ALARM %s: %s", self.robot, kind, text)
        raised = self._journal.alarms()
        if key not in raised:
            report = self._report("CHECK", f"alarm: {kind}: {text}")
            self._journal.queue(self._identity.sign(report))  # not the job: `guard` may just have replaced it
            self._journal.set_alarms(raised | {key})

    def over(self, scope: str) -> None:
        """End the alarm of that key, or those of that `scope:`."""
        raised = self._journal.alarms()
        self._journal.set_alarms(key for key in raised if key != scope and not key.startswith(f"{scope.rstrip(':')}:"))

    def _report(self, state: AgentState, reason: str | None = None) -> RobotReport:
        job, release, device = self._steps.job, self.release, self._fingerprint()
        assignment = job.assignment
        return RobotReport(
            robot=self.robot,
            sent_at=self._clock(),
            deployment=assignment.deployment if assignment else None,
            release=release.name if release else None,
            attempted=assignment.release if assignment else None,
            seq=assignment.seq if assignment else 0,
            state=state,
            reason=(job.reason if reason is None else reason)[:500],
            trials=job.trials,
            successes=job.successes,
            p50_ms=job.p50_ms,
            p99_ms=job.p99_ms,
            provider=job.provider,
            count=self._journal.next_count(),
            fingerprint=f"{hardware_id(device.module)}/{device.digest()[:12]}",
        )
