"""Children that misuse memory, named by tests as `module:function`."""

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.contracts import Frozen


class Found(Frozen):
    """The limits as the child sees them."""

    oom_score_adj: int
    data_limit: int


def look(package: Path, **_: Any) -> Iterator[Found]:
    yield Found(
        oom_score_adj=int(Path("/proc/self/oom_score_adj").read_text()),
        data_limit=resource.getrlimit(resource.RLIMIT_DATA)[0],
    )


def eat(package: Path, **_: Any) -> Iterator[Found]:
    """Takes memory until there is no more; without a limit it stops at 6 GiB and says that it got them."""
    kept = [bytearray(2**26) for _ in range(96)]
    yield Found(oom_score_adj=0, data_limit=len(kept))
