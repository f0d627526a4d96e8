"""A robot's step in onnxruntime against the same policy in torch, one core each."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from components.policies import TorchDriver, load_module
from components.robot import Runtime
from tests.benchmarks.paired import Row, paired
from tests.packaging.made import LEFT, make


def measure() -> list[Row]:
    """720p frame in, action out: both resize the frame with the same code."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="drover-bench-") as name:
            made = make(Path(name))
            ours, peer = Runtime(made.folder), TorchDriver(load_module(made.store, made.subject))
            image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
            ours.reset(LEFT)
            peer.reset(LEFT)

            def drive(policy: Runtime | TorchDriver) -> None:
                for _ in range(20):
                    policy.act(image)

            seconds, ratio = paired(lambda: drive(ours), lambda: drive(peer))
    finally:
        torch.set_num_threads(threads)
    return [
        {
            "name": "robot runtime, frame to action",
            "value": seconds / 20 * 1000,
            "unit": "ms",
            "peer": "torch eager",
            "ratio": ratio,
            "goal": 1.0,
        }
    ]
