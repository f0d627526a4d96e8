"""The work of each of the update agent's states: it does it, and says what happened."""

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from components.contracts import AgentState, Release, Sha256
from components.contracts.errors import InvalidDocumentError, PackageError, ReleaseRefusedError, StorageError
from components.storage import copy_durably, remove_any

from ._bench import Bench, TrialDriver
from ._driving import VERIFY_S, Driving, why_unfit
from ._fingerprint import Fingerprint
from ._journal import FileEntry, Job, Journal
from ._machine import Event
from ._slots import Slot, Slots
from ._trial_phase import TrialPhase
from ._tuf import Offer

log = logging.getLogger(__name__)

_WITH_A_RELEASE: frozenset[AgentState] = frozenset(
    {"DOWNLOAD", "VERIFY", "STAGE", "BUILD", "SELFTEST", "WAIT_SAFE", "ACTIVATE", "TRIAL", "COMMIT"}
)


class Offers(Protocol):
    """Where assignments and files come from; `ReleaseClient` is one."""

    def check(self) -> Offer | None: ...
    def fetch(self, release: Release, name: str, entry: FileEntry, folder: Path) -> Path: ...
    def vouch(self, release: Release, files: Mapping[str, Sha256]) -> str | None: ...


class Steps:
    """Holds the job in hand.

    `alarm` is told a key and a text for whatever a person should see, `over` that all of some keys is over: `check:...`
    what is served, `work:...` what the work on a release met, `slot` and `device` what drives.
    """

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
        fingerprint: Callable[[], Fingerprint],
        is_safe: Callable[[], bool],
        activated: Callable[[Path | None], None],
        alarm: Callable[[str, str], None],
        over: Callable[[str], None],
        verify_s: float = VERIFY_S,
    ) -> None:
        self._robot, self._slots, self._journal, self._offers = robot, slots, journal, offers
        self._bench, self._device = bench, fingerprint
        self._is_safe, self._activated, self._alarm, self._over = is_safe, activated, alarm, over
        self.downloads = home / "downloads"
        self.job = journal.job()
        self._trials = TrialPhase(robot, trials, job=lambda: self.job, save=self._save, package=self._slot_path)
        self._driving = Driving(
            slots, journal, bench, device=fingerprint, is_safe=is_safe, activate=self._let_drive, alarm=alarm,
            over=over, vouch=offers.vouch, verify_s=verify_s,
        )  # fmt: skip

    def guard(self) -> None:
        """Look at what drives, between jobs and while one waits."""
        self.job = self._driving.guard(self.job)

    def adopt(self) -> None:
        """Make up for a journal that does not know the slots yet."""
        self._driving.adopt()

    def _let_drive(self, slot: Slot | None) -> None:
        self._slots.activate(slot)
        self._activated(self._slots.path(slot) if slot else None)

    def work(self, state: AgentState) -> Event:
        """Do what `state` is for, on the device as it is now."""
        if state in _WITH_A_RELEASE and self.job.release and (event := self._on_this_device(state)):
            return event
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
            "COMMIT": self._commit,
            "ROLLBACK": self._roll_back,
        }
        return work[state]() if state in work else "done"

    def _on_this_device(self, state: AgentState) -> Event | None:
        """Begin anew where the fingerprint is not the job's: fitness, build and self-test count on one device only."""
        device, release = self._device(), self.release()
        if self.job.fingerprint == device:
            return None
        drives = self.job.slot is not None and self._slots.current() == self.job.slot
        if state == "COMMIT":
            return "changed"
        if state == "ACTIVATE" and drives:
            return None  # activated, and killed before that was written down: TRIAL is where it is tested again
        log.warning("%s: this device changed; %s is tested again", self._robot, release.name)
        reason = why_unfit(release, self.job.files, device, self._journal)
        if state == "TRIAL":
            if reason is None and self.job.slot:
                self.job, reason = self._driving.retest(self.job, self.job.slot)
            facts = {"fingerprint": device, "trials": 0, "successes": 0, "starts": {"TRIAL": 1}}
            self.note(reason=reason or "", **facts)  # after the test: killed in it, it is begun again
            return "bad" if reason else None
        self.note(fingerprint=device, starts={}, trials=0, successes=0)
        if reason:
            self.note(reason=reason)
            return "unfit"
        return "changed" if state in {"SELFTEST", "WAIT_SAFE", "ACTIVATE"} else None

    def _check(self) -> Event:
        offer = self._offer()
        if isinstance(offer, str):
            return "nothing" if offer == "nothing" else "hindered"
        assignment, release, old, device = offer.assignment, offer.release, self.job, self._device()
        same_job = (old.assignment, old.scope) == (assignment, offer.scope)
        self.job = Job(
            state="CHECK",
            assignment=assignment,
            release=release,
            scope=offer.scope,
            files=offer.files,
            previous=self._slots.current(),
            fingerprint=device,
            driving=old.driving,
            healing=old.healing,
            starts=old.starts if same_job and old.fingerprint == device else {},
            trials=old.trials if same_job and self._heals(release) else 0,
            successes=old.successes if same_job and self._heals(release) else 0,
        )
        if release is None:
            return "none"
        if reason := why_unfit(release, offer.files, device, self._journal):
            self.note(reason=reason)
            return "unfit"
        if not assignment.trials and (current := self._runs_already(release)):
            self.note(slot=current, reason="runs already")
            return "same"
        return "done"

    def _runs_already(self, release: Release) -> Slot | None:
        """The slot that drives, if it holds this very release, tested on this device."""
        current = self._slots.current()
        record = self._slots.record(current)
        if current is None or record is None or record.release != release:
            return None
        return current if record.fingerprint == self._device() and not self._driving.unfit(current, self.job) else None

    def _heals(self, release: Release | None) -> bool:
        """It is the one that was trusted here already: its bytes are fetched again, its trials stand."""
        return release is not None and release.package == self.job.healing

    def _offer(self) -> Offer | str:
        """An assignment that is new; else "nothing", or "hindered" after an alarm where one is due."""
        try:
            offer = self._offers.check()
        except StorageError as error:
            log.info("%s: no contact: %s", self._robot, error)
            return "hindered"
        except ReleaseRefusedError as error:
            self._alarm(f"check:{error.reason}", str(error))
            return "hindered"
        self._over("check:")
        if offer is None:
            return "nothing"
        if offer.assignment.seq > self._journal.handled(offer.scope):
            return offer
        return offer if self._may_heal(offer) else "nothing"

    def _may_heal(self, offer: Offer) -> bool:
        """An assignment that was settled is taken up again for the release that ought to drive, unless it failed."""
        if not self.job.healing or offer.release is None:
            return False
        reason = why_unfit(offer.release, offer.files, self._device(), self._journal)
        if reason:
            log.info("%s: nothing heals it until another release is assigned: %s", self._robot, reason)
        return reason is None

    def _download(self) -> Event:
        release = self.release()
        folder, parts = self.downloads / release.package, self.downloads / "parts"
        try:
            for place in (folder, parts):
                if place.is_symlink() or not place.is_dir():
                    remove_any(place)
                place.mkdir(parents=True, exist_ok=True)
            need = 2 * sum(entry.size for entry in self.job.files.values())
            if shutil.disk_usage(folder).free < need:
                self._alarm("work:disk", f"expected {need} bytes of free disk for {release.name}")
                return "hindered"
            for name, entry in self.job.files.items():
                self._fetch(release, name, entry, parts, folder / name)
            for stranger in {path.name for path in folder.iterdir()} - set(self.job.files):
                remove_any(folder / stranger)
        except StorageError as error:
            log.info("%s: download waits: %s", self._robot, error)
            return "hindered"
        except ReleaseRefusedError as error:
            self._alarm(f"work:{error.reason}", str(error))
            return "hindered"
        except OSError as error:
            self._alarm("work:disk", str(error))
            return "hindered"
        return "done"

    def _fetch(self, release: Release, name: str, entry: FileEntry, parts: Path, target: Path) -> None:
        self.guard()  # a weak network takes hours, and what drives must not go unseen for so long
        for place in (parts / entry.sha256, target):
            if place.is_dir():
                remove_any(place)
        if known := self._slots.find(entry.sha256):
            copy_durably(known, parts / entry.sha256)
        self._offers.fetch(release, name, entry, parts).replace(target)

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
            slot = self._slots.stage(release, folder, {name: entry.sha256 for name, entry in self.job.files.items()})
        except OSError as error:
            self._alarm("work:disk", str(error))
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
            self._alarm("work:disk", str(error))
            return "hindered"
        return "done"

    def _self_test(self) -> Event:
        try:
            result = self._bench.self_test(self._slot_path(), self.release().package)
        except (PackageError, InvalidDocumentError) as error:
            self.note(reason=f"SELFTEST: {error}")
            return "bad"
        if result.latency:
            latency = result.latency
            self.note(p50_ms=latency.p50_ms, p99_ms=latency.p99_ms, provider=latency.provider)
        if not result.passed:
            self.note(reason=f"SELFTEST: {'; '.join(result.failures[:3])}")
            return "bad"
        if self.job.slot:
            self._slots.note(self.job.slot, fingerprint=self.job.fingerprint)
        self._over("work:")
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
        if slot and (reason := self._driving.unfit(slot, self.job)):
            self._alarm("work:disk", f"{reason}; it changed since it was verified")
            return "hindered"
        self._let_drive(slot)
        self.note(driving=slot or "none")
        return "done"

    def _damaged(self) -> bool:
        """Nothing of `slots/` is believed because it was right a moment ago: looked at again before it counts."""
        stopped = self._driving.guard_on_trial(self.job)
        self.job = stopped or self.job
        return stopped is not None

    def _trial(self) -> Event:
        if self._damaged():
            return "damaged"
        if self._heals(self.job.release):
            return "done"
        verdict = self._trials.run()
        if self._damaged():  # then the trials say nothing of the release
            return "damaged"
        if verdict:
            self.note(reason=verdict)
            return "bad"
        return "done"

    def _commit(self) -> Event:
        if self._damaged():
            return "damaged"
        if self.job.slot:
            self._slots.note(self.job.slot, committed=True)
        healed = self._heals(self.job.release)
        self.note(healing=None, reason=self.job.reason or ("fetched again and healed" if healed else "committed"))
        self._driving.all_well()
        return "done"

    def _roll_back(self) -> Event:
        previous, reason = self.job.previous, None
        if previous and (fault := self._driving.unfit(previous, self.job)):
            reason = fault
        elif previous and (record := self._slots.record(previous)) and record.fingerprint != self._device():
            self.job, reason = self._driving.retest(self.job, previous)
        if reason:
            self._alarm("slot", f"{reason}; nothing drives until a release is assigned")
            previous = None
        self._let_drive(previous)
        self.note(driving=previous or "none")
        return "done"

    def note(self, **facts: object) -> None:
        """Change the job in memory; whoever enters a state keeps it."""
        self.job = self.job.model_copy(update=facts)

    def _save(self, **facts: object) -> None:
        self.note(**facts)
        self._journal.save(self.job)

    def release(self) -> Release:
        """The job's release, in states that have one."""
        assert self.job.release is not None, f"{self.job.state} needs a release"
        return self.job.release

    def _slot_path(self) -> Path:
        assert self.job.slot is not None, f"{self.job.state} needs a slot"
        return self._slots.path(self.job.slot)
