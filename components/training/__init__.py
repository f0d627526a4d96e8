"""Training on Ray: one member on many workers, many members side by side, and the ensemble over them.

`train` (Ray Train), `train_members` (Ray Tune trials), `fit_ensemble`. The loop itself (`_loop.fit`) is plain torch.
`share_out` gives other rooms their parallel work: Ray is imported nowhere else.
They use the Ray of `settings.ray_address` or `RAY_ADDRESS`, or start one for as long as they need it.

What is not covered: GPUs (CPU and gloo alone), datasets larger than a worker's memory (all frames are in memory, one
copy a machine), Ray clients (`ray://`), search over specs. The process that calls must run on one of Ray's machines.
"""

from ._environment import prepare

prepare()  # Ray reads its environment when it is imported, which the rooms' files below do

from ._ensemble import fit_ensemble  # noqa: E402
from ._progress import Progress  # noqa: E402
from ._runs import train, train_members  # noqa: E402
from ._share import Crew, share_out  # noqa: E402

__all__ = ["Crew", "Progress", "fit_ensemble", "share_out", "train", "train_members"]
