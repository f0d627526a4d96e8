"""The meeting point of the workers of one run: a file, where torch's own way is a server that answers everyone.

torch's TCPStore listens on every address of the machine and asks nobody for anything: who reaches it can send the
workers elsewhere. A file below the run's folder is open to those who may enter that folder.

What is not covered: the connections over which gradients then go (gloo, on loopback). torch is built without TLS for
them; each worker's port takes connections while the workers meet.
"""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import ray
import torch.distributed
from ray.train.backend import Backend
from ray.train.torch import TorchConfig


@dataclass
class FileGroup(TorchConfig):  # type: ignore[misc]  # ray has no types
    """Gloo over a file in `folder`, which all workers see."""

    folder: str = ""

    @property
    def backend_cls(self) -> type[Backend]:
        return _FileBackend


class _FileBackend(Backend):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: FileGroup) -> None:
        """Called for each set of workers; a new file each time, because an old one names workers that are gone."""
        folder = Path(backend_config.folder)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.meeting"):
            old.unlink(missing_ok=True)
        url = (folder.absolute() / f"{uuid.uuid4().hex}.meeting").as_uri()
        size = len(worker_group)
        joins = [worker_group.execute_single_async(rank, _join, url, rank, size) for rank in range(size)]
        ray.get(joins)

    def on_shutdown(self, worker_group: Any, backend_config: FileGroup) -> None:
        del backend_config
        ray.wait(worker_group.execute_async(_leave), num_returns=len(worker_group), timeout=5.0)


def _join(url: str, rank: int, size: int) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=url, rank=rank, world_size=size, timeout=timedelta(minutes=30)
    )


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
