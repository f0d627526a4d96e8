"""Keeps what drives true: the slot's bytes, the link to it, and the device that it was tested on.

What has to be in a slot is in the journal, as the release's metadata signed it. It was true when it was written; so the
slot that drives is looked at in every tick, read and hashed at the start and every `verify_s`, held against the
security floor, and tested again when the device's fingerprint is another one. Where the journal itself was lost, a slot
drives only if the signed metadata of the last contact names its release and files, the floors are known, and its record
says that it was trusted before. Where it fails: nothing drives (the built-in safe stop), an alarm, and as soon as it is
safe the release that was trusted before; the assigned one is fetched again.

What is not covered: what a runtime has loaded already. It read its files once, verified; a change on the disk
does not reach it, and `activated` tells it to stop. What the kernel keeps in memory of a file hides a fault of the disk
below it. A release that is not assigned any more cannot be fetched again.
"""

import logging
import time
from collections.abc import Callable, Mapping

from components.contracts import Release, Sha256, hardware_id
from components.contracts.errors import InvalidDocumentError, PackageError

from ._bench import Bench
from ._fingerprint import Fingerprint
from ._journal import FileEntry, Job, Journal
from ._machine import MAX_STARTS
from ._slot_checks import Stamp
from ._slots import SLOTS, Slot, SlotRecord, Slots

log = logging.getLogger(__name__)

VERIFY_S = 3600.0
_UNKNOWN = "0" * 64
"""A package that nothing tells any more: whatever is assigned is fetched, and tried like a new one."""
MAX_PACKAGE_BYTES = 2**30


def why_unfit(release: Release, files: Mapping[str, FileEntry], device: Fingerprint, journal: Journal) -> str | None:
    """Why this device must not take a release; None: it may."""
    if hardware_id(device.module) not in release.hardware:
        return f"{release.name} is for {', '.join(release.hardware)}; this is {device.module}"
    if release.l4t and device.l4t not in release.l4t:
        return f"{release.name} is for Jetson Linux {', '.join(release.l4t)}; this is {device.l4t or 'none'}"
    if reason := journal.quarantined(release.package, device.digest()):
        return f"{release.name} is quarantined on this device: {reason}"
    size = sum(entry.size for entry in files.values())
    if size > MAX_PACKAGE_BYTES:
        return f"{release.name} has {size} bytes, at most {MAX_PACKAGE_BYTES} are allowed"
    return None


class Driving:
    """The slot that drives, between jobs and while one waits. Takes the job in hand and returns it as it is then.

    Args:
        slots, journal, bench: the agent's.
        device: this machine's fingerprint, asked anew each time.
        is_safe: the policy may be changed now.
        activate: makes a slot drive, or None; tells whoever drives.
        alarm, over: raise an alarm of a kind, once; end those of a kind.
        vouch: why the signed metadata on this robot does not name a release with these files; None: it does.
        verify_s: seconds after which an unchanged slot is hashed again.
        clock: monotonic, s.
    """

    def __init__(
        self,
        slots: Slots,
        journal: Journal,
        bench: Bench,
        *,
        device: Callable[[], Fingerprint],
        is_safe: Callable[[], bool],
        activate: Callable[[Slot | None], None],
        alarm: Callable[[str, str], None],
        over: Callable[[str], None],
        vouch: Callable[[Release, Mapping[str, Sha256]], str | None],
        verify_s: float = VERIFY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vouch = vouch
        self._slots, self._journal, self._bench = slots, journal, bench
        self._device, self._is_safe, self._activate = device, is_safe, activate
        self._alarm, self._over, self._verify_s, self._clock = alarm, over, verify_s, clock
        self._seen: dict[Slot, tuple[Stamp, float]] = {}

    def guard(self, job: Job) -> Job:
        """Look at what drives; stop it where it is not what was trusted, and go back to what was, as far as it can."""
        lost = self._journal.lost
        if lost:
            self._alarm("journal", f"{lost}; what drives is held against the signed metadata")
        if job.driving is None:  # of an earlier version, or lost: what the link leads to, if it may drive
            job = self._saved(job, driving=self._slots.current() or "none")
        slot = None if job.driving == "none" else job.driving
        if fault := self._slots.misled(slot) or (self.fault(slot) if slot else None):
            job = self._stopped(job, slot, "slot", fault)
        elif slot and lost and not self._is_trusted(slot):
            job = self._stopped(job, slot, "slot", f"slot {slot}: nothing says that it was trusted here before")
        elif slot and (fault := self._below_floor(slot, job)):
            job = self._stopped(job, slot, "floor", fault)
        elif slot:
            job = self._guard_device(job, slot)
        if job.healing and job.driving == "none" and self._is_safe():
            job = self._recovered(job)
        self._journal.found_again()
        if lost:
            self._over("journal")
        return job

    def guard_on_trial(self, job: Job) -> Job | None:
        """Look at the slot of the job in hand, which drives; None: it is what was activated, else the job, stopped.

        What was on trial was not trusted yet: it is not healed but taken up again like a new release.
        """
        fault = self._slots.misled(job.slot)
        if job.slot and not fault:
            fault = self.unfit(job.slot, job)
        if not fault:
            return None
        trusted = job.slot is not None and self._is_trusted(job.slot)
        stopped = self._stopped(job, job.slot, "slot", fault)
        return stopped if trusted else self._saved(stopped, healing=_UNKNOWN)

    def unfit(self, slot: Slot, job: Job) -> str | None:
        """Why a slot must not drive, now or next: damage, or the floor; None: it may, on the device that it was tested
        on. Asked wherever a slot is taken to drive."""
        return self.fault(slot) or self._below_floor(slot, job)

    def _below_floor(self, slot: Slot, job: Job) -> str | None:
        record = self._slots.record(slot)
        if record is None or record.release.number >= (floor := self._floor(job)):
            return None
        return f"{record.release.name} is number {record.release.number}, the security floor is {floor}"

    def _floor(self, job: Job) -> int:
        return max(self._journal.floor("release"), job.assignment.floor if job.assignment else 0)

    def _is_trusted(self, slot: Slot) -> bool:
        record = self._slots.record(slot)
        return record is not None and record.committed

    def adopt(self) -> None:
        """Give a new journal, or an earlier version's, the records that it lacks: of releases that the signed metadata
        names with these files. Before any state's work; once the slots were looked at, nothing is adopted any more."""
        if not self._journal.adopts():
            return
        for slot in SLOTS:
            found = self._slots.unrecorded(slot)
            if found is None:
                continue
            reason = "no floor is known" if not self._journal.knows_floors() else None
            if reason := reason or self._vouch(found.release, found.files):
                log.error("slot %s: nothing vouches for %s: %s", slot, found.release.name, reason)
            else:
                self._slots.keep(slot, found.model_copy(update={"fingerprint": None, "damaged": False}))

    def fault(self, slot: Slot) -> str | None:
        """Why a slot's files are not those of its release; None: they are."""
        if fault := self._slots.misshapen(slot):
            return fault
        record, stamp, now = self._slots.record(slot), self._slots.stamp(slot), self._clock()
        known = self._seen.get(slot)
        if known and known[0] == stamp and 0 <= now - known[1] < self._verify_s:
            return None
        self._seen.pop(slot, None)
        if record is None or stamp is None:
            return f"slot {slot} cannot be read"
        try:
            self._bench.verify(self._slots.path(slot), record.release.package)
        except (PackageError, OSError) as error:
            return f"slot {slot}: {error}"
        if not self._slots.intact(slot):
            return f"slot {slot}: expected the files of its record, found others"
        self._seen[slot] = (stamp, now)
        return None

    def retest(self, job: Job, slot: Slot) -> tuple[Job, str | None]:
        """Test a slot's release again where it lies, on the device as it is now. Counted, so that a crash loop ends.

        Returns:
            The job, and why the release must not drive here; None: it may.
        """
        record, device = self._slots.record(slot), self._device()
        if record is None:
            return job, f"slot {slot} has no record"
        if reason := why_unfit(record.release, {}, device, self._journal):
            return job, reason
        if job.retests >= MAX_STARTS:
            reason = f"the self-test of {record.release.name} was begun {job.retests} times and never ended"
            return self._saved(job, retests=0), self._barred(job, record, device, reason)
        job = self._saved(job, retests=job.retests + 1)
        reason = self._tested(slot, record)
        job = self._saved(job, retests=0)
        if reason:
            return job, self._barred(job, record, device, reason)
        self._slots.note(slot, fingerprint=device)
        return job, None

    def _tested(self, slot: Slot, record: SlotRecord) -> str | None:
        try:
            self._bench.build(self._slots.path(slot))
            result = self._bench.self_test(self._slots.path(slot), record.release.package)
        except (PackageError, InvalidDocumentError) as error:
            return f"SELFTEST: {error}"
        return None if result.passed else f"SELFTEST: {'; '.join(result.failures[:3])}"

    def _barred(self, job: Job, record: SlotRecord, device: Fingerprint, reason: str) -> str:
        self._journal.save(
            job.model_copy(update={"reason": reason}), quarantine=(record.release.package, device.digest())
        )
        return reason

    def _guard_device(self, job: Job, slot: Slot) -> Job:
        record = self._slots.record(slot)
        if record is None or record.fingerprint == self._device():
            return job
        log.warning("%s was not tested on this device as it is now; it is tested again", record.release.name)
        job, reason = self.retest(job, slot)
        return self._stopped(job, slot, "device", reason) if reason else job

    def _stopped(self, job: Job, slot: Slot | None, kind: str, fault: str) -> Job:
        """Stop first, then say so. The files stay: those that are right are copied, not fetched."""
        self._activate(None)
        record = self._slots.record(slot)
        if record:
            healing: str | None = record.release.package
        elif slot and job.slot == slot and job.release and job.state == "IDLE":
            healing = job.release.package
        else:
            healing = _UNKNOWN if slot else job.healing
        if slot and kind == "slot" and self._damaged(slot):
            self._slots.note(slot, damaged=True)
        job = self._saved(job, driving="none", healing=healing, starts={})
        self._over(kind)  # each stop is said, also where an earlier one is not healed yet
        self._alarm(kind, f"{fault}; nothing drives until it is healed")
        return job

    def _damaged(self, slot: Slot) -> bool:
        self._seen.pop(slot, None)
        return self.fault(slot) is not None

    def _recovered(self, job: Job) -> Job:
        """Let a slot drive that was trusted on this robot: the very one if only the link was wrong, else the other."""
        for slot in sorted(SLOTS, key=lambda slot: not self._holds(slot, job.healing)):
            record = self._slots.record(slot)
            if record is None or not self._may_return(record, job) or self.fault(slot):
                continue
            if record.fingerprint != self._device():
                job, reason = self.retest(job, slot)
                if reason:
                    self._alarm("device", reason)
                    continue
            self._activate(slot)
            healed = record.release.package == job.healing
            job = self._saved(job, driving=slot, healing=None if healed else job.healing)
            log.warning("%s drives again", record.release.name)
            if healed:
                self.all_well()
            return job
        return job

    def all_well(self) -> None:
        """What ought to drive does."""
        for kind in ("slot", "device", "floor"):
            self._over(kind)

    def _holds(self, slot: Slot, package: str | None) -> bool:
        record = self._slots.record(slot)
        return record is not None and record.release.package == package

    def _may_return(self, record: SlotRecord, job: Job) -> bool:
        """The damaged release itself, or one that it replaced: never a newer one, which was perhaps withdrawn."""
        if self._journal.quarantined(record.release.package, self._device().digest()):
            return False
        if record.release.number < self._floor(job):
            return False
        newest = job.release.number if job.release else 0
        return record.release.package == job.healing or (record.committed and record.release.number <= newest)

    def _saved(self, job: Job, **facts: object) -> Job:
        job = job.model_copy(update=facts)
        self._journal.save(job)
        return job
