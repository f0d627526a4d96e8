"""From the spool to the platform's inbox. The local copy goes when a signed receipt says that its bytes are safe."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from components.contracts import SignedReceipt, UploadAnswer, UploadTicket
from components.contracts.errors import GatewayError
from components.storage import sha256_of_file

from ._conditions import Power, TokenBucket, UploadRules, read_power, read_rules, why_not_now
from ._gateway import Gateway
from ._loop import keep_running
from ._receipts import why_not_trusted
from ._sender import HeldError, Outgoing, Sender
from ._spool import Spool, checked_robot
from ._upload_journal import Entry

_log = logging.getLogger(__name__)
_GIVE_UP_AFTER = 3
_ROBOT_IS_OUT = frozenset({"revoked", "unauthenticated", "clock"})
"""Refusals of the robot, not of one episode."""
GATEWAY, RECEIPT, REFUSED, CHANGED, ODD = "gateway", "receipt", "refused", "changed", "odd"
"""Kinds of alarms; all but the first with the episode's name behind a colon."""
UPLOADER = "uploader"
"""A pass that ended in an error nobody expected."""


@dataclass
class UploadReport:
    """What one pass did, by episode name."""

    sent: list[str] = field(default_factory=list)
    """Uploaded now."""
    waiting: list[str] = field(default_factory=list)
    """In the inbox since an earlier pass, not confirmed yet; kept."""
    confirmed: list[str] = field(default_factory=list)
    """Confirmed by a receipt; the spool's copy is deleted."""
    quarantined: dict[str, str] = field(default_factory=dict)
    """Confirmed too, but the platform has put it aside: name -> rule."""
    held: dict[str, str] = field(default_factory=dict)
    """Not sent because a rule of the user's says not now: name -> which. Kept."""
    failed: dict[str, str] = field(default_factory=dict)
    """Not sent or not asked for: name -> why. Kept; the next pass tries again."""
    bytes_sent: int = 0
    """Of episodes, over the network; what was sent twice counts twice."""


class Uploader:
    """Uploads a spool's episodes through the gateway and deletes those that have a receipt.

    Any number of passes, cut off anywhere, give the same result.
    """

    def __init__(
        self,
        spool: Spool,
        gateway: Gateway,
        *,
        rules: UploadRules | None = None,
        power: Callable[[], Power] | None = None,
    ) -> None:
        """An uploader of an enrolled robot.

        Args:
            spool: whose episodes to send.
            gateway: of the enrolled robot, see `open_gateway`.
            rules: when and how fast; None: the spool's `upload.toml` and `DROVER_ROBOT_*`.
            power: the robot's power now; None: `read_power`.

        Raises:
            ConfigurationError: a rule that makes no sense.
        """
        self.spool = spool
        self.robot = checked_robot(gateway.robot)
        self._gateway, self._journal = gateway, spool.journal
        self._rules = rules or read_rules(spool.folder)
        self._power = power or (lambda: read_power(spool.folder))
        limit = self._rules.bandwidth_kib_s
        self._busy: str | None = None
        """The gateway's message in this pass when it had no room for another episode."""
        self._sender = Sender(
            gateway, opened=self._note_open, hold=self._hold, bucket=TokenBucket(limit * 1024) if limit else None
        )

    def sync(self) -> UploadReport:
        """One pass over all finished episodes. Trouble with one does not stop the others, but three without an answer,
        none between that went well, end the pass: then it is the platform or the network. Where the platform is busy
        nothing more is sent in this pass, and receipts are collected all the same."""
        report, before = UploadReport(), self._sender.bytes_sent
        pending = self.spool.pending()
        in_a_row, answered, self._busy = 0, True, None
        for position, path in enumerate(pending):
            try:
                self._settle(path, report)
                in_a_row = 0
            except FileNotFoundError:
                continue  # another pass was faster
            except Exception as error:  # noqa: BLE001  # one file must not stop the others, whatever is odd about it
                in_a_row += isinstance(error, GatewayError) and error.again
                answered = answered and not isinstance(error, GatewayError)
                if isinstance(error, GatewayError) and error.code == "busy":
                    self._busy = str(error)
                self._note_trouble(path, error)
                report.failed[path.stem] = f"{error}; the episode is kept"
                out = isinstance(error, GatewayError) and error.code in _ROBOT_IS_OUT
                if out or in_a_row == _GIVE_UP_AFTER:
                    why = f"not tried, since {'this robot is refused' if out else 'the platform does not answer'}"
                    report.failed |= {later.stem: f"{why}; the episode is kept" for later in pending[position + 1 :]}
                    break
        if answered:
            self._journal.clear(GATEWAY)
        report.bytes_sent = self._sender.bytes_sent - before
        return report

    def known_receipt(self, sha256: str, size: int) -> SignedReceipt | None:
        """The receipt that this robot kept for these bytes, if it still counts."""
        signed = self._journal.confirmed(sha256)
        return signed if signed and self._distrust(signed, sha256, size) is None else None

    def _settle(self, path: Path, report: UploadReport) -> None:
        entry, fresh = self._hashed(path)
        episode = Outgoing(path, entry.sha256, entry.size)
        if signed := self.known_receipt(entry.sha256, entry.size):  # killed between the proof and the deletion
            self._delete(episode, signed, report)
            return
        if entry.state != "sent" and (reason := self._busy or self._hold()):
            report.held[path.stem] = reason
            return
        try:
            if entry.state == "sent":  # to ask costs nothing; to send again, should it be lost, may be held
                answer, completed = self._sender.ask(episode), False
                if answer.state == "open":
                    self._journal.save(entry.model_copy(update={"state": "recorded", "sent_at": None}))
                    answer, completed = self._sent(episode, answer)
            else:
                answer, completed = self._sent(episode, None, hashed_now=fresh)
        except HeldError as error:
            report.held[path.stem] = str(error)
            return
        self._judge(episode, answer, report, completed=completed)

    def _sent(
        self, episode: Outgoing, answer: UploadAnswer | None, *, hashed_now: bool = False
    ) -> tuple[UploadAnswer, bool]:
        """Send the file as it is now: what the journal knows of it may be older than a disk's fault."""
        if reason := self._hold():
            raise HeldError(reason)
        if not hashed_now:
            self._check_unchanged(episode)
        return self._sender.send(episode, answer)

    def _judge(self, episode: Outgoing, answer: UploadAnswer, report: UploadReport, *, completed: bool) -> None:
        if answer.state == "settled":
            signed = answer.receipt
            reason = self._distrust(signed, episode.sha256, episode.size) if signed else "there is none"
            if signed is None or reason:
                text = f"{episode.name}: the gateway's receipt does not count: {reason}"
                self._journal.alarm(f"{RECEIPT}:{episode.name}", f"{text}; the episode is kept")
                raise GatewayError("receipt", text)
            self._delete(episode, signed, report)
            return
        entry = self._journal.entry(episode.name) or self._hashed(episode.path)[0]
        now = datetime.now(UTC)
        self._journal.save(
            entry.model_copy(
                update={"state": "sent", "sent_at": entry.sent_at or now, "upload_id": None, "trouble": ""}
            )
        )
        (report.sent if completed else report.waiting).append(episode.name)

    def _delete(self, episode: Outgoing, signed: SignedReceipt, report: UploadReport) -> None:
        """The only place where an episode leaves the robot: its bytes, read now, are those of the receipt."""
        self._check_unchanged(episode)
        self._journal.confirm(episode.name, signed)
        self.spool.remove(episode.path)
        for kind in (RECEIPT, REFUSED, CHANGED, ODD):
            self._journal.clear(f"{kind}:{episode.name}")
        report.confirmed.append(episode.name)
        if signed.receipt.status == "quarantined":
            report.quarantined[episode.name] = signed.receipt.rule or "unnamed rule"

    def _distrust(self, signed: SignedReceipt, sha256: str, size: int) -> str | None:
        return why_not_trusted(signed, robot=self.robot, sha256=sha256, size=size, keys=self._gateway.receipt_keys)

    def _hashed(self, path: Path) -> tuple[Entry, bool]:
        """What is known of the file, hashed anew unless it is as it was; whether it was hashed just now."""
        found = path.stat()
        known = self._journal.entry(path.stem)
        if known and (known.size, known.modified_ns) == (found.st_size, found.st_mtime_ns):
            return known, False
        entry = Entry(name=path.stem, size=found.st_size, modified_ns=found.st_mtime_ns, sha256=sha256_of_file(path))
        self._journal.save(entry)
        return entry, True

    def _check_unchanged(self, episode: Outgoing) -> None:
        """Raises OSError if the file is not what was hashed; it is hashed anew in the next pass."""
        if (episode.path.stat().st_size, sha256_of_file(episode.path)) != (episode.size, episode.sha256):
            self._journal.forget(episode.name)
            text = f"{episode.path} changed since it was hashed; it is kept, and sent as it is now"
            self._journal.alarm(f"{CHANGED}:{episode.name}", text)
            raise OSError(text)

    def _hold(self) -> str | None:
        return why_not_now(self._rules, self._power(), self._gateway.now().astimezone())

    def _note_open(self, episode: Outgoing, ticket: UploadTicket) -> None:
        if entry := self._journal.entry(episode.name):
            parts = -(-episode.size // ticket.part_bytes)
            facts = {
                "state": "open", "upload_id": ticket.upload_id, "parts_done": len(ticket.done), "parts": parts,
            }  # fmt: skip
            self._journal.save(entry.model_copy(update=facts))

    def _note_trouble(self, path: Path, error: Exception) -> None:
        _log.warning("%s was not uploaded: %s; it is kept", path.stem, error)
        code = error.code if isinstance(error, GatewayError) else ""
        if code in {"too-large", "conflict"}:
            self._journal.alarm(f"{REFUSED}:{path.stem}", str(error))
            if entry := self._journal.entry(path.stem):
                self._journal.save(entry.model_copy(update={"state": "refused", "trouble": str(error)[:500]}))
        elif not isinstance(error, GatewayError | OSError):
            self._journal.alarm(f"{ODD}:{path.stem}", f"{type(error).__name__}: {error}; the episode is kept")
        elif code not in {"", "receipt"}:
            self._journal.alarm(GATEWAY, str(error))


def run_uploader(
    uploader: Uploader,
    *,
    stop: threading.Event,
    poll_s: float = 10.0,
    told: Callable[[UploadReport], None] = lambda _report: None,
) -> None:
    """Pass after pass until `stop` is set, recovering what a killed recorder left before each. A pass that fails is an
    alarm, and the next one waits longer.

    Args:
        uploader: of this robot.
        stop: ends it after the pass in hand.
        poll_s: seconds between passes.
        told: each pass's report.
    """
    journal = uploader.spool.journal

    def one_pass() -> None:
        uploader.spool.recover()
        told(uploader.sync())

    keep_running(
        one_pass,
        stop=stop,
        poll_s=poll_s,
        failed=lambda error: journal.alarm(UPLOADER, f"a pass failed: {type(error).__name__}: {error}"),
        worked=lambda: journal.clear(UPLOADER),
    )
