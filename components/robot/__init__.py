"""What runs on a robot: recorder, spool, uploader; policy runtime, safety layer and self-test; the update agent.

`Runtime(package_dir)` drives (contracts.Policy); `self_test(package_dir)` says whether it may; `run_agent` (a process:
`python -m components.robot.agent_main`) takes signed releases, tries them, and takes them back.

What is not covered: the camera and the motors; a driver hands frames to the recorder. Encryption of what waits on the
robot's disk. An image of another aspect ratio than training's is squeezed, not refused. The runtime's deadline stops a
late action; a `Watchdog` must be fed to catch one that never comes. TensorRT engines are onnxruntime's business.
"""

from ._agent import UpdateAgent
from ._bench import Bench, ChildTrials, OnnxBench, TrialDriver, TrialResult
from ._fingerprint import Fingerprint, read_fingerprint
from ._graphs import CPU
from ._identity import RobotIdentity, is_signed_by, report_key
from ._jpeg import MAX_JPEG_BYTES, decode_jpeg
from ._package import MANIFEST, VerifiedPackage, read_verified, verify_package
from ._recorder import Recorder
from ._runtime import Decision, Runtime, Session
from ._safety import Fault, SafeAction, SafetyLayer, Watchdog
from ._selftest import hardware_name, measure_latency, percentiles, self_test, undecided
from ._service import MOVING_FILE, ROOT_FILE, open_agent, run_agent
from ._slots import Slots
from ._spool import Spool
from ._uploader import Uploader, UploadReport, upload_folder

__all__ = [
    "CPU",
    "MANIFEST",
    "MAX_JPEG_BYTES",
    "MOVING_FILE",
    "ROOT_FILE",
    "Bench",
    "ChildTrials",
    "Decision",
    "Fault",
    "Fingerprint",
    "OnnxBench",
    "Recorder",
    "RobotIdentity",
    "Runtime",
    "SafeAction",
    "SafetyLayer",
    "Session",
    "Slots",
    "Spool",
    "TrialDriver",
    "TrialResult",
    "UpdateAgent",
    "UploadReport",
    "Uploader",
    "VerifiedPackage",
    "Watchdog",
    "decode_jpeg",
    "hardware_name",
    "is_signed_by",
    "measure_latency",
    "open_agent",
    "percentiles",
    "read_fingerprint",
    "read_verified",
    "report_key",
    "run_agent",
    "self_test",
    "undecided",
    "upload_folder",
    "verify_package",
]
