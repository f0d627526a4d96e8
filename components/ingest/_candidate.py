"""What ingest knows about one upload before it decides."""

from datetime import datetime
from typing import Literal, NamedTuple

from components.contracts import EpisodeSummary, Finding, Frozen, ObjectRef, RobotId, Sha256


class Upload(NamedTuple):
    """An object to be looked at, and what its key says."""

    bucket: Literal["inbox", "quarantine"]
    key: str
    robot: str | None
    name: str
    sha256: str | None
    """None: the key is none of ours."""
    size: int
    modified_at: datetime
    """Of an object of the inbox: with its size it tells one sending from the next."""


class Candidate(Frozen):
    """One object of the inbox, or of the quarantine: inspected, not settled."""

    bucket: Literal["inbox", "quarantine"] = "inbox"
    key: str
    """In the bucket."""
    robot: RobotId | None
    """From the key; None where the key is none of ours."""
    name: str
    """From the key, without `.h5`; made safe for a key of ours."""
    sha256: Sha256
    """Of the bytes."""
    size: int
    path: str | None = None
    """A local copy; None, or gone, has it fetched again."""
    known: bool = False
    """An episode of these bytes was admitted before."""
    summary: EpisodeSummary | None = None
    finding: Finding | None = None
    """Why it cannot be an episode. Without a summary and without a finding, it is `known`."""
    notes: tuple[str, ...] = ()
    """For the record's warnings, such as who released it and why."""


class Quarantined(Frozen):
    """finding.json beside quarantined bytes: who sent what, and the rule that it broke."""

    file: ObjectRef
    name: str
    robot: RobotId | None
    inbox_key: str
    finding: Finding
    summary: EpisodeSummary | None = None
    """Where the file could be read."""
    earlier: tuple[Finding, ...] = ()
    """Rules that the same bytes broke before, oldest first."""
