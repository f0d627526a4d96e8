"""The work of each of the update agent's states: it does it, and says what happened."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from components.contracts import AgentState, Release, hardware_id
from components.contracts.errors import PackageError, PolicyError, ReleaseRefusedError, StorageError

from ._bench import Bench, TrialDriver, TrialResult
from ._fingerprint import Fingerprint
from ._journal import FileEntry, Job, Journal
from ._machine import MAX_STARTS, Event
from ._slots import Slots, copy_durably
from ._tuf import Offer

log = logging.getLogger(__name__)

MAX_PACKAGE_BYTES = 2**30


class Offers(Protocol):
    """Where assignments and files come from; `ReleaseClient` is one."""

    def check(self) -> Offer | None: ...
    def fetch(self, release: Release, name: str, entry: FileEntry, folder: Path) -> Path: ...


class Steps:
    """Holds the job in hand. `alarm` is told a kind and a text for whatever a person should see."""

    def __init__(
        self,
        *,
        robot: str,
        home: Path,
        slots: Slots,
        journal: Journal,
        offers: Offers,
        bench: Bench,
        trials: TrialDriver,
        fingerprint: Fingerprint,
        is_safe: Callable[[], bool],
        activated: Callable[[Path | None], None],
        alarm: Callable[[str, str], None],
    ) -> None:
        self._robot, self._slots, self._journal, self._offers = robot, slots, journal, offers
        self._bench, self._trials, self._fingerprint = bench, trials, fingerprint
        self._is_safe, self._activated, self._alarm = is_safe, activated, alarm
        self.downloads = home / "downloads"
        self.job = journal.job()

    def work(self, state: AgentState) -> Event:
        """Do what `state` is for."""
        work: dict[AgentState, Callable[[], Event]] = {
            "CHECK": self._check,
            "DOWNLOAD": self._download,
            "VERIFY": self._verify,
            "STAGE": self._stage,
            "BUILD": self._build,
            "SELFTEST": self._self_test,
            "WAIT_SAFE": self._wait_safe,
            "ACTIVATE": self._activate,
            "TRIAL": self._trial,
            "ROLLBACK": self._roll_back,
        }
        return work[state]() if state in work else "done"

    def _check(self) -> Event:
        offer = self._offer()
        if isinstance(offer, str):
            return "nothing" if offer == "nothing" else "hindered"
        assignment, release, old = offer.assignment, offer.release, self.job
        same_job = (old.assignment, old.scope) == (assignment, offer.scope)
        self.job = Job(
            state="CHECK",
            assignment=assignment,
            release=release,
            scope=offer.scope,
            files=offer.files,
            previous=self._slots.current(),
            starts=old.starts if same_job else {},
        )
        if release is None:
            return "none"
        if reason := self._unfit(release, offer):
            self.note(reason=reason)
            return "unfit"
        current = self._slots.current()
        record = self._slots.record(current)
        if current and record and record.release == release and not assignment.trials and self._slots.intact(current):
            self.note(slot=current, reason="runs already")
            return "same"
        return "done"

    def _offer(self) -> Offer | str:
        """An assignment that is new; else "nothing", or "hindered" after an alarm where one is due."""
        try:
            offer = self._offers.check()
        except StorageError as error:
            log.info("%s: no contact: %s", self._robot, error)
            return "hindered"
        except ReleaseRefusedError as error:
            self._alarm(error.reason, str(error))
            return "hindered"
        self._journal.set_alarm("")
        if offer is None or offer.assignment.seq <= self._journal.handled(offer.scope):
            return "nothing"
        return offer

    def _unfit(self, release: Release, offer: Offer) -> str | None:
        device = self._fingerprint
        if hardware_id(device.module) not in release.hardware:
            return f"{release.name} is for {', '.join(release.hardware)}; this is {device.module}"
        if release.l4t and device.l4t not in release.l4t:
            return f"{release.name} is for Jetson Linux {', '.join(release.l4t)}; this is {device.l4t or 'none'}"
        if reason := self._journal.quarantined(release.package, device.digest()):
            return f"{release.name} is quarantined on this device: {reason}"
        size = sum(entry.size for entry in offer.files.values())
        if size > MAX_PACKAGE_BYTES:
            return f"{release.name} has {size} bytes, at most {MAX_PACKAGE_BYTES} are allowed"
        return None

    def _download(self) -> Event:
        release = self.release()
        folder, parts = self.downloads / release.package, self.downloads / "parts"
        try:
            for place in (folder, parts):
                place.mkdir(parents=True, exist_ok=True)
            need = 2 * sum(entry.size for entry in self.job.files.values())
            if shutil.disk_usage(folder).free < need:
                self._alarm("disk", f"expected {need} bytes of free disk for {release.name}")
                return "hindered"
            for name, entry in self.job.files.items():
                if known := self._slots.find(entry.sha256):
                    copy_durably(known, parts / entry.sha256)
                self._offers.fetch(release, name, entry, parts).replace(folder / name)
            for stranger in {path.name for path in folder.iterdir()} - set(self.job.files):
                (folder / stranger).unlink()
        except StorageError as error:
            log.info("%s: download waits: %s", self._robot, error)
            return "hindered"
        except ReleaseRefusedError as error:
            self._alarm(error.reason, str(error))
            return "hindered"
        except OSError as error:
            self._alarm("disk", str(error))
            return "hindered"
        return "done"

    def _verify(self) -> Event:
        release = self.release()
        try:
            self._bench.verify(self.downloads / release.package, release.package)
        except PackageError as error:
            self.note(reason=f"VERIFY: {error}")
            return "bad"
        return "done"

    def _stage(self) -> Event:
        release = self.release()
        folder = self.downloads / release.package
        try:
            slot = self._slots.stage(release, {name: folder / name for name in self.job.files})
        except OSError as error:
            self._alarm("disk", str(error))
            return "hindered"
        self.note(slot=slot, previous=self._slots.current())
        return "done"

    def _build(self) -> Event:
        try:
            self._bench.build(self._slot_path())
        except PackageError as error:
            self.note(reason=f"BUILD: {error}")
            return "bad"
        except OSError as error:
            self._alarm("disk", str(error))
            return "hindered"
        return "done"

    def _self_test(self) -> Event:
        try:
            result = self._bench.self_test(self._slot_path(), self.release().package)
        except PackageError as error:
            self.note(reason=f"SELFTEST: {error}")
            return "bad"
        if result.latency:
            latency = result.latency
            self.note(p50_ms=latency.p50_ms, p99_ms=latency.p99_ms, provider=latency.provider)
        if not result.passed:
            self.note(reason=f"SELFTEST: {'; '.join(result.failures[:3])}")
            return "bad"
        return "done"

    def _wait_safe(self) -> Event:
        if self._is_safe():
            return "done"
        offer, mine = self._offer(), self.job.assignment
        if isinstance(offer, Offer) and offer.assignment != mine:
            self.note(reason=f"assignment {offer.assignment.seq} came while waiting")
            return "hindered"
        return "wait"

    def _activate(self) -> Event:
        slot = self.job.slot
        if slot and not self._slots.intact(slot):
            self._alarm("disk", f"slot {slot} changed since it was verified")
            return "hindered"
        self._slots.activate(slot)
        self._activated(self._slots.path(slot) if slot else None)
        return "done"

    def _trial(self) -> Event:
        wanted = self.job.assignment.trials if self.job.assignment and self.job.slot else 0
        while self.job.trials < wanted:
            starts = self.job.starts.get("TRIAL", 1)
            try:
                verdict = self._drive(wanted)
            except PolicyError as error:
                verdict = None
                log.warning("%s: trial start %d of %d failed: %s", self._robot, starts, MAX_STARTS, error)
                if starts >= MAX_STARTS:
                    verdict = f"TRIAL: {starts} starts, the last: {error}"
                self.note(starts=self.job.starts | {"TRIAL": starts + 1})
                self._journal.save(self.job)
            if verdict:
                self.note(reason=verdict)
                return "bad"
        return "done"

    def _drive(self, wanted: int) -> str | None:
        """Drive what is left; the verdict if the release has failed."""
        done = self.job.trials
        for result in self._trials(self._slot_path(), trials=wanted - done, seed=done):
            if verdict := self._judge(result, wanted):
                return verdict
        if self.job.trials < wanted:
            raise PolicyError(f"the driver ended after {self.job.trials} of {wanted} trials")
        return None

    def _judge(self, result: TrialResult, wanted: int) -> str | None:
        """Count one trial; the verdict if the release has failed."""
        self.note(trials=self.job.trials + 1, successes=self.job.successes + result.success)
        self._journal.save(self.job)
        if result.fault:
            return f"TRIAL: {result.fault} in trial {self.job.trials}"
        minimum = self.job.assignment.min_success if self.job.assignment else 0
        reachable = self.job.successes + wanted - self.job.trials
        if reachable < minimum * wanted:
            return f"TRIAL: {self.job.successes} of {self.job.trials} succeeded, {minimum:.0%} of {wanted} are needed"
        return None

    def _roll_back(self) -> Event:
        previous = self.job.previous
        if previous and not self._slots.intact(previous):
            log.error("%s: slot %s is damaged; nothing drives until a release is assigned", self._robot, previous)
            previous = None
        self._slots.activate(previous)
        self._activated(self._slots.path(previous) if previous else None)
        return "done"

    def note(self, **facts: object) -> None:
        """Change the job in memory; whoever enters a state keeps it."""
        self.job = self.job.model_copy(update=facts)

    def release(self) -> Release:
        """The job's release, in states that have one."""
        assert self.job.release is not None, f"{self.job.state} needs a release"
        return self.job.release

    def _slot_path(self) -> Path:
        assert self.job.slot is not None, f"{self.job.state} needs a slot"
        return self._slots.path(self.job.slot)
