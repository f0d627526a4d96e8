"""What runs on a robot: recorder, spool and uploader; the policy runtime, its safety layer and its self-test.

`Runtime(package_dir)` drives (contracts.Policy); `self_test(package_dir)` says whether it may.

What is not covered: the camera and the motors; a driver hands frames to the recorder. Encryption of what waits on the
robot's disk. An image of another aspect ratio than training's is squeezed, not refused. The runtime's deadline stops a
late action; a `Watchdog` must be fed to catch one that never comes. TensorRT engines are onnxruntime's business.
"""

from ._graphs import CPU
from ._jpeg import MAX_JPEG_BYTES, decode_jpeg
from ._package import MANIFEST, VerifiedPackage, read_verified, verify_package
from ._recorder import Recorder
from ._runtime import Decision, Runtime, Session
from ._safety import Fault, SafeAction, SafetyLayer, Watchdog
from ._selftest import hardware_name, measure_latency, percentiles, self_test, undecided
from ._spool import Spool
from ._uploader import Uploader, UploadReport, upload_folder

__all__ = [
    "CPU",
    "MANIFEST",
    "MAX_JPEG_BYTES",
    "Decision",
    "Fault",
    "Recorder",
    "Runtime",
    "SafeAction",
    "SafetyLayer",
    "Session",
    "Spool",
    "UploadReport",
    "Uploader",
    "VerifiedPackage",
    "Watchdog",
    "decode_jpeg",
    "hardware_name",
    "measure_latency",
    "percentiles",
    "read_verified",
    "self_test",
    "undecided",
    "upload_folder",
    "verify_package",
]
