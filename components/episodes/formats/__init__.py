"""Other people's formats: imports into episode files, exports from them. One file a format; a format's library is
loaded when the format is used.

What is not covered: ROS 1 bags; rosbag2's own file and message compression; MCAP of other encodings than ROS 2's; depth
images; several cameras at once; a parser's memory safety (files are read in this process: take what strangers send
through `ingest`, which reads in a limited one).
"""

from ._bag import RosOptions
from ._conversion import Conversion
from ._donkey import import_donkey
from ._hdf5_files import export_hdf5, hdf5_files, import_hdf5, import_recon
from ._images import decode_whole_jpeg, exif_orientation, oriented
from ._lerobot import import_lerobot
from ._lerobot_write import export_lerobot
from ._mcap_write import export_mcap
from ._rerun import export_rerun, log_episode
from ._ros import import_mcap, import_rosbag2
from ._sources import files_in

__all__ = [
    "Conversion", "RosOptions", "decode_whole_jpeg", "exif_orientation", "export_hdf5", "export_lerobot", "export_mcap",
    "export_rerun", "files_in", "hdf5_files", "import_donkey", "import_hdf5", "import_lerobot", "import_mcap",
    "import_recon", "import_rosbag2", "log_episode", "oriented",
]  # fmt: skip
