"""What runs on a robot: recorder, spool and uploader.

What is not covered: the camera and the motors; a driver hands frames to the recorder. Encryption of what waits on the
robot's disk.
"""

from ._recorder import Recorder
from ._spool import Spool
from ._uploader import Uploader, UploadReport, upload_folder

__all__ = [
    "Recorder",
    "Spool",
    "UploadReport",
    "Uploader",
    "upload_folder",
]
