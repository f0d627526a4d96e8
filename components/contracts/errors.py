"""Everything that Drover raises on purpose.

    DroverError
    ├── ConfigurationError          a setting, a file or an environment variable the user can mend
    │   └── StackError              the embedded stack cannot start, or is not running
    ├── InvalidDocumentError        a JSON document is not the type it claims to be
    ├── StorageError                the object store did not do what was asked
    │   ├── ObjectNotFoundError     no such object
    │   ├── AlreadyExistsError      a conditional write found the object there
    │   ├── IntegrityError          bytes do not match their SHA-256 or their size
    │   └── BrokenUploadError       the parts that an upload listed are not there to complete it
    ├── GatewayError                the upload gateway refused, or is away; carries `code`
    ├── EpisodeError                an episode breaks a rule; carries `rule`
    │   └── DamagedImageError       one encoded image is cut off or broken; the others of its recording may be whole
    ├── SpoolFullError              the robot's disk budget is spent; nothing was deleted
    ├── DatasetError                a dataset cannot be built or read
    ├── PolicyError                 a policy cannot be built, loaded or run
    ├── TrainingError               a training run ended without a policy
    ├── EvidenceError               a report would break a rule of evidence
    ├── PackageError                a package is incomplete, altered or out of tolerance
    └── PromotionError              a release, an assignment or a rollout is refused
        └── ReleaseRefusedError     a robot refused what it was offered; carries `reason`

Every message says what was expected, what was found, and what to do next.
"""

from datetime import datetime


class DroverError(Exception):
    """Base of every error that Drover raises on purpose."""


class ConfigurationError(DroverError):
    """A setting, a file or an environment variable the user can mend."""


class StackError(ConfigurationError):
    """The embedded stack cannot start, or is not running."""


class InvalidDocumentError(DroverError):
    """A JSON document is not the type it claims to be."""


class StorageError(DroverError):
    """The object store did not do what was asked."""


class ObjectNotFoundError(StorageError):
    """No such object."""


class AlreadyExistsError(StorageError):
    """A conditional write found the object there: another writer won."""


class IntegrityError(StorageError):
    """Bytes do not match their SHA-256 or their size."""


class BrokenUploadError(StorageError):
    """The server does not hold the parts of a multipart upload, though it may list them: it was killed while it made
    them one object. Such an upload is never completed; abandon it and begin another."""


class GatewayError(DroverError):
    """The upload gateway refused, or is away.

    `code` is a `GatewayProblem`'s, or `away` (no answer), `malformed` (no sense in it), `receipt` (one that does not
    count) or `stuck` (no progress). `now` is the gateway's clock, where it said it; `again`: the same request may well
    be answered later.
    """

    def __init__(self, code: str, message: str, *, now: datetime | None = None, again: bool = False) -> None:
        super().__init__(message)
        self.code, self.now, self.again = code, now, again


class EpisodeError(DroverError):
    """An episode breaks a rule. `rule` is the rule's short name, e.g. `external-storage`."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class DamagedImageError(EpisodeError):
    """One encoded image is cut off or broken; the others of its recording may be whole. Its rule is `image`."""

    def __init__(self, message: str) -> None:
        super().__init__("image", message)


class SpoolFullError(DroverError):
    """The robot's disk budget is spent: recording is refused, nothing was deleted."""


class DatasetError(DroverError):
    """A dataset cannot be built or read."""


class PolicyError(DroverError):
    """A policy cannot be built, loaded or run."""


class TrainingError(DroverError):
    """A training run ended without a policy."""


class EvidenceError(DroverError):
    """A report would break a rule of evidence."""


class PackageError(DroverError):
    """A package is incomplete, altered or out of tolerance."""


class PromotionError(DroverError):
    """A release, an assignment or a rollout is refused."""


class ReleaseRefusedError(PromotionError):
    """A robot refused what it was offered. `reason` is short, e.g. `signature`, `expired`, `rollback`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
