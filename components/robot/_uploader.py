"""From the spool to the platform's inbox. The local copy goes when a receipt says that its bytes are safe."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from components.contracts import Receipt
from components.contracts.errors import (
    AlreadyExistsError,
    ConfigurationError,
    EpisodeError,
    InvalidDocumentError,
    ObjectNotFoundError,
    SpoolFullError,
    StorageError,
)
from components.storage import ObjectStore, sha256_of_file

from ._spool import Spool, checked_robot

_log = logging.getLogger(__name__)
_RECEIPT_LIMIT = 64 * 1024
_GIVE_UP_AFTER = 3


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
    failed: dict[str, str] = field(default_factory=dict)
    """Not sent or not asked for: name -> why. Kept; the next pass tries again."""


class Uploader:
    """Uploads a spool's episodes to `inbox/<robot>/<sha256>/<name>.h5` and deletes those that have a receipt.

    Any number of passes, cut off anywhere, give the same result.
    """

    def __init__(self, spool: Spool, store: ObjectStore, robot: str) -> None:
        """The store retries each request for as long as it does; then the episode waits for the next pass.

        Raises:
            ConfigurationError: `robot` is no valid id.
        """
        self.spool = spool
        self.robot = checked_robot(robot)
        self._store = store

    def sync(self) -> UploadReport:
        """One pass over all finished episodes. Trouble with one does not stop the others, but three in a row end the
        pass: then it is the store or the network."""
        report = UploadReport()
        pending = self.spool.pending()
        in_a_row = 0
        for position, path in enumerate(pending):
            try:
                self._settle(path, report)
                in_a_row = 0
            except FileNotFoundError:
                continue  # another pass was faster
            except (StorageError, OSError) as error:
                in_a_row += 1
                report.failed[path.stem] = f"{error}; the episode is kept"
                _log.warning("%s was not uploaded: %s; it is kept", path.stem, error)
                if in_a_row == _GIVE_UP_AFTER:
                    report.failed |= {
                        later.stem: "not tried, the store does not answer; the episode is kept"
                        for later in pending[position + 1 :]
                    }
                    break
        return report

    def receipt_for(self, sha256: str, size: int) -> Receipt | None:
        """The platform's receipt for these bytes of this robot, or None. A receipt that says anything else is none."""
        key = f"{self.robot}/{sha256}.json"
        try:
            document = self._store.get("receipts", key, limit=_RECEIPT_LIMIT)
            receipt = Receipt.parse(document, source=f"s3://receipts/{key}")
        except ObjectNotFoundError:
            return None
        except InvalidDocumentError as error:
            _log.warning("%s; the episode is kept", error)
            return None
        if (receipt.robot, receipt.sha256, receipt.size) != (self.robot, sha256, size):
            _log.warning("s3://receipts/%s is for other bytes or another robot; the episode is kept", key)
            return None
        return receipt

    def _settle(self, path: Path, report: UploadReport) -> None:
        name, size, sha256 = path.stem, path.stat().st_size, sha256_of_file(path)
        if receipt := self.receipt_for(sha256, size):
            self.spool.remove(path)
            report.confirmed.append(name)
            if receipt.status == "quarantined":
                report.quarantined[name] = receipt.rule or "unnamed rule"
        elif self._sent(path, sha256, size):
            report.sent.append(name)
        else:
            report.waiting.append(name)

    def _sent(self, path: Path, sha256: str, size: int) -> bool:
        """Whether it was sent now; False if it was there."""
        key = f"{self.robot}/{sha256}/{path.stem}.h5"
        try:
            there = self._store.stat("inbox", key)
        except StorageError:  # robots may write the inbox, not look into it
            if self.spool.sent_lately(path, sha256):
                return False
            there = None
        if there is not None and there.size == size:
            return False
        try:
            self._store.put_file("inbox", key, path, if_absent=there is None)
        except AlreadyExistsError:
            self.spool.note_sent(path, sha256)
            return False
        self.spool.note_sent(path, sha256)
        return True


def upload_folder(folder: Path, uploader: Uploader) -> UploadReport:
    """Send the episode files (`*.h5`) of a folder of the user's. Each is copied into the spool first; the originals are
    never touched. Files that the platform has confirmed are not sent again.

    Raises:
        ConfigurationError: no such folder, or no `.h5` file in it.
        SpoolFullError: not even the first file fits the spool.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder}: expected a folder of episode files, found {'a file' if folder.exists() else 'nothing'}"
        )
    files = sorted(path for path in folder.glob("*.h5") if path.is_file())
    if not files:
        raise ConfigurationError(
            f"{folder}: expected episode files (*.h5), found none; name the folder that holds them"
        )
    refused: dict[str, str] = {}
    confirmed: list[str] = []
    reachable = True
    for position, path in enumerate(files):
        try:
            if reachable and uploader.receipt_for(sha256_of_file(path), path.stat().st_size):
                confirmed.append(path.stem)
                continue
        except StorageError:
            reachable = False  # sync says so for each; spooled now, they go out when the store is back
        try:
            uploader.spool.add(path)
        except SpoolFullError as error:
            if position == 0:
                raise
            refused |= {later.stem: str(error) for later in files[position:]}
            break
        except (EpisodeError, OSError) as error:
            refused[path.stem] = str(error)
    report = uploader.sync()
    report.confirmed = list(dict.fromkeys(confirmed + report.confirmed))
    report.failed = refused | report.failed
    return report
