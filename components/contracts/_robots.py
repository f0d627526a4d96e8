"""Robots as the platform knows them: enrolment, hardware, and what they report."""

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ._base import Frozen
from ._episodes import RobotId
from ._keys import PublicKey
from ._refs import Count, Sha256

ReleaseName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
DeploymentName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
HardwareId = Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,64}$")]
"""E.g. "simulated", "jetson-orin-nx-16gb"."""
UNKNOWN_HARDWARE = "unknown"
"""Of a robot or another source of episodes that was enrolled without hardware: it uploads, and takes no releases."""
_Trials = Annotated[int, Field(ge=0, le=10_000)]
_Milliseconds = Annotated[float, Field(ge=0, le=1e9)]
_LINE = r"^[^\x00-\x1f\x7f-\x9f]*$"


def hardware_id(text: str) -> str:
    """The id that a free text comes to, as earlier versions took it: lower case, other characters as `-`."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:64].strip("-") or UNKNOWN_HARDWARE


KnownHardware = Annotated[
    HardwareId, BeforeValidator(lambda text: hardware_id(text) if isinstance(text, str) else text)
]
"""Reads what earlier versions wrote, too."""

AgentState = Literal[
    "IDLE",
    "CHECK",
    "DOWNLOAD",
    "VERIFY",
    "STAGE",
    "BUILD",
    "SELFTEST",
    "WAIT_SAFE",
    "ACTIVATE",
    "TRIAL",
    "COMMIT",
    "ROLLBACK",
    "QUARANTINE",
    "REJECTED",
]


class RobotReport(Frozen):
    """A robot's report about itself, signed with its own key."""

    robot: RobotId
    sent_at: datetime
    deployment: DeploymentName | None
    release: ReleaseName | None
    """The release that runs now."""
    attempted: ReleaseName | None
    """The release of the last assignment."""
    seq: Count
    state: AgentState
    """IDLE after a commit; QUARANTINE or REJECTED after a refusal."""
    reason: Annotated[str, Field(max_length=500)]
    """Free text, in whatever characters: whoever shows it renders it as plain text."""
    trials: _Trials
    successes: _Trials
    p50_ms: _Milliseconds | None
    p99_ms: _Milliseconds | None
    provider: Annotated[str, Field(max_length=128, pattern=_LINE)] | None
    count: Count = 0
    """Rises by one with every report of this robot."""
    fingerprint: Annotated[str, Field(max_length=160, pattern=_LINE)] = ""
    """Of the device: module, SM, L4T, TensorRT, onnxruntime, power mode."""

    @model_validator(mode="after")
    def _successes_are_trials(self) -> "RobotReport":
        if self.successes > self.trials:
            raise ValueError(f"expected at most {self.trials} successes of {self.trials} trials, got {self.successes}")
        return self


class SignedReport(Frozen):
    """reports/robots/<robot>/<seq>-<count>.json."""

    report: RobotReport
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
    """Ed25519 over the report's canonical JSON, by the robot's own key."""


class ReportAnswer(Frozen):
    """The gateway's answer to POST /v1/reports: the platform keeps these very bytes under this number."""

    robot: RobotId
    seq: Count
    count: Count
    sha256: Sha256
    """Of the SignedReport's canonical JSON."""


class EnrolledRobot(Frozen):
    """models/fleet/<robot>.json: whose reports count."""

    robot: RobotId
    public_key: PublicKey
    """Ed25519, 32 bytes, hex."""
    hardware: KnownHardware
    """As the robot claims; no release is signed for it unless an operator named it."""
    enrolled_at: datetime
    revoked: bool = False
    """No assignments, and its reports are ignored."""

    @property
    def takes_releases(self) -> bool:
        """True for a robot that was enrolled with its hardware; a source without hardware only uploads."""
        return not self.revoked and self.hardware != UNKNOWN_HARDWARE
