"""What runs on a robot: recorder, spool, uploader; policy runtime, safety layer and self-test; the update agent.

`Recorder(spool, robot)` writes episodes into a `Spool`; `enrol` makes the robot known to a platform's upload gateway,
once; `Uploader(spool, open_gateway(home)).sync()` sends what waits and deletes what a signed receipt confirms.

`Runtime(package_dir)` drives (contracts.Policy); `self_test(package_dir)` says whether it may; `run_agent` (a process:
`python -m components.robot.agent_main`) takes signed releases, tries them, and takes them back.

What is not covered: the camera and the motors; a driver hands frames to the recorder. Encryption of what waits on the
robot's disk. A network that carries no 5 MiB at a time uploads nothing, as S3 takes no smaller part. A rotated receipt
key: the robot enrols anew. An image of another aspect ratio than training's is squeezed, not refused. The runtime's
deadline stops a late action; a `Watchdog` must be fed to catch one that never comes. TensorRT engines are onnxruntime's
business.
"""

from ._agent import UpdateAgent
from ._agent_home import ROOT_FILE, agent_home_fault
from ._bench import Bench, ChildTrials, OnnxBench, TrialDriver, TrialResult
from ._conditions import POWER_FILE, RULES_FILE, Power, UploadRules, read_power, read_rules, why_not_now
from ._fingerprint import Fingerprint, read_fingerprint
from ._gateway import PIN_FILE, Gateway, GatewayPin, enrol, open_gateway, read_pin
from ._graphs import CPU
from ._identity import RobotIdentity, is_signed_by, report_key
from ._journal_repair import driving_package
from ._jpeg import MAX_JPEG_BYTES, decode_jpeg, outline_jpeg
from ._package import MANIFEST, VerifiedPackage, read_verified, verify_package
from ._recorder import Recorder
from ._reporting import PinnedReports, ReportSink
from ._runtime import Decision, Runtime, Session
from ._safety import Fault, SafeAction, SafetyLayer, Watchdog
from ._selftest import hardware_name, measure_latency, percentiles, self_test, undecided
from ._service import MOVING_FILE, open_agent, run_agent
from ._slots import Slots
from ._spool import Spool, SpoolStatus
from ._upload_folder import upload_folder
from ._upload_journal import Alarm
from ._uploader import Uploader, UploadReport, run_uploader

__all__ = [
    "CPU",
    "MANIFEST",
    "MAX_JPEG_BYTES",
    "MOVING_FILE",
    "PIN_FILE",
    "POWER_FILE",
    "ROOT_FILE",
    "RULES_FILE",
    "Alarm",
    "Bench",
    "ChildTrials",
    "Decision",
    "Fault",
    "Fingerprint",
    "Gateway",
    "GatewayPin",
    "OnnxBench",
    "PinnedReports",
    "Power",
    "Recorder",
    "ReportSink",
    "RobotIdentity",
    "Runtime",
    "SafeAction",
    "SafetyLayer",
    "Session",
    "Slots",
    "Spool",
    "SpoolStatus",
    "TrialDriver",
    "TrialResult",
    "UpdateAgent",
    "UploadReport",
    "UploadRules",
    "Uploader",
    "VerifiedPackage",
    "Watchdog",
    "agent_home_fault",
    "decode_jpeg",
    "driving_package",
    "enrol",
    "hardware_name",
    "is_signed_by",
    "measure_latency",
    "open_agent",
    "open_gateway",
    "outline_jpeg",
    "percentiles",
    "read_fingerprint",
    "read_pin",
    "read_power",
    "read_rules",
    "read_verified",
    "report_key",
    "run_agent",
    "run_uploader",
    "self_test",
    "undecided",
    "upload_folder",
    "verify_package",
    "why_not_now",
]
