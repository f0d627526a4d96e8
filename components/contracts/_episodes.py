"""Episodes, their summaries, and what is said about them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from ._base import Frozen
from ._refs import ObjectRef, Sha256

Axis = Literal["linear_x", "linear_y", "angular_z"]
AXES: tuple[Axis, ...] = ("linear_x", "linear_y", "angular_z")
ACTION_LIMIT = 1.15
"""Largest command on an axis: m/s, m/s, rad/s."""

RobotId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
EpisodeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]

EpisodeSource = Literal["robot", "simulated", "donkey", "ros", "lerobot", "recon"]
"""Who drove and recorded. `ros`: an imported MCAP or rosbag2. Only `robot` and `simulated` are driven by keys."""
Spread = tuple[float, float, float, float, float]
"""Over an episode's frames: least, 10 % quantile, median, 90 % quantile, most."""


class EpisodeSummary(Frozen):
    """One row of the table that the checks judge. Every figure is measured from the file, none is claimed by the robot
    except those named `stated_*`."""

    sha256: Sha256
    """Of the file."""
    content_sha256: Sha256
    """Of the decoded frames and actions: equal for two files that hold the same episode in other bytes."""
    name: EpisodeName
    robot: RobotId
    session: str
    """Collection session: episodes of one robot that were recorded together; never straddles a split."""
    scenario: str | None
    pattern: str | None
    distance: str | None
    instruction: str
    source: EpisodeSource
    collected_at: datetime | None
    frames: int
    """T, with frame 0."""
    width: int
    height: int
    stated_frames: int | None
    stated_duration_s: float | None
    frame_zero_is_start: bool
    """Frame 0 is an `episode_start` with a zero action."""
    non_finite_actions: int
    action_min: tuple[float, float, float] | None
    """Per axis over finite values; None if there is none."""
    action_max: tuple[float, float, float] | None
    unknown_key_fraction: float
    """Share of frames after frame 0 whose action is no key press of the robots' vocabulary."""
    brightness_mean: float
    """Of the frames, 0..255."""
    blank_frames: int
    """Frames whose standard deviation is under 2/255."""
    frozen_frames: int
    """Frames equal to their predecessor although the robot was told to move."""
    perceptual_hash: str
    """64-bit difference hash of three frames, hex: near-duplicates differ in few bits."""
    position: str | None = None
    """Of the obstacle, seen from the robot: left, center or right. From here on absent in older records."""
    colour_order: Literal["bgr", "rgb"] | None = None
    """In which the file's frames were taken to be stored: every figure above and below is of RGB read that way."""
    colour_basis: Literal["stated", "decided", "unknown"] = "unknown"
    """`stated`: the file says so. `decided`: it does not, and the robot's other episodes agree. `unknown`: it does not,
    and it was taken for the robots' usual BGR."""
    colour_confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    """That `colour_order` is right, by the robot's other episodes; None where they do not tell."""
    warmth: tuple[float, float, float] | None = None
    """Mean red minus mean blue of the frames' upper, middle and lower third, in levels of 255."""
    sharpness: Spread | None = None
    """Of the frames that have edges: the part of the change across an edge that is between neighbouring pixels."""
    edgeless_fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of frames without enough edges to tell their sharpness."""
    dark_share: Spread | None = None
    """Share of a frame's pixels that are clipped to black."""
    bright_share: Spread | None = None
    """Share of a frame's pixels that are clipped to white."""
    side: float | None = None
    """How far to the left (+) or right (-) of straight on the driven path runs, over its length."""
    idle_fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of frames after frame 0 with a zero action."""
    longest_pause: int | None = None
    """Most zero actions in a row between two movements."""
    key_counts: dict[str, int] | None = None
    """Frames after frame 0 by the key that commands their action; `other` where none does."""


class EpisodeRecord(Frozen):
    """An episode that was verified and admitted: immutable, named by its file's SHA-256."""

    file: ObjectRef
    summary: EpisodeSummary
    warnings: tuple[str, ...] = ()
    """Rules that warn, with the observed value."""


class Finding(Frozen):
    """One rule that one episode breaks."""

    sha256: Sha256
    rule: str
    severity: Literal["error", "warning"]
    expected: str
    observed: str


class CheckReport(Frozen):
    """What the suite found in one batch."""

    batch: str
    """Digest of the batch: the sorted SHA-256s of its files."""
    episodes: int
    findings: tuple[Finding, ...]
    data_docs: ObjectRef | None
    """index.html of the kept Data Docs."""
    rules: Sha256 | None = None
    """Digest of the thresholds and severities that the batch was judged by."""


class Receipt(Frozen):
    """The server's word that the bytes are safe. On this alone a robot deletes its copy."""

    robot: RobotId
    name: EpisodeName
    sha256: Sha256
    size: int
    status: Literal["accepted", "quarantined"]
    rule: str | None = None
    """Why it was quarantined."""
    issued_at: datetime


class SignedReceipt(Frozen):
    """A receipt with the platform's signature: whoever can only write into the store cannot make a robot delete."""

    receipt: Receipt
    key: Sha256
    """Ed25519 public key, 32 bytes, hex. A robot knows from its enrolment which ones count."""
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
    """Of the receipt's canonical JSON."""
