"""Closed-loop trials of the compact policy: by two processes against the wanted rate, on one against the camera."""

import statistics
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from components.contracts import AXES, FrameSpec
from components.episodes import KEYS, SCENARIOS, instruction_for, words
from components.policies import EnsembleModule, TorchDrivers, build_module, recipes
from components.simulation import Track, sample_scenario, trial_camera, trial_rooms
from tests.benchmarks.paired import Row, paired

ROOMS = 48
PRESSES = 14
"""A trial's, about what it takes to the cup."""
WANTED = 12.0
"""Rollouts a second on two cores."""
_ROUNDS = 3


class _Compact(TorchDrivers):
    """Untrained policies end trials anyhow; this one decides, and then goes aside and straight on whatever it decided,
    so that every press shows a new picture and every trial is as long."""

    def reset(self, instructions: Sequence[str]) -> None:
        super().reset(instructions)
        self._keys = ["A" if "left" in words(text) else "D" for text in instructions]
        self._frame = 0

    def act(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        super().act(images)
        self._frame += 1
        return np.stack([KEYS[key if self._frame < 5 else "W"] for key in self._keys])


def measure() -> list[Row]:
    """80x45 frames, as the demo's policies see them; processes are started and policies loaded beforehand."""
    vocabulary = sorted({word for scenario in SCENARIOS for word in words(instruction_for(scenario))})
    members = [
        build_module(recipes.compact_lstm(AXES), vocabulary).requires_grad_(requires_grad=False) for _ in range(4)
    ]
    drivers = {"compact": members[0], "4 compact": EnsembleModule(members, (0.25,) * 4)}
    make = {name: partial(_Compact, module) for name, module in drivers.items()}
    rooms, rows = trial_rooms(ROOMS), []
    with Track(make, workers=2, max_presses=PRESSES) as track:
        for name, words_of in (("compact", "compact policy"), ("4 compact", "ensemble of 4 compact policies")):
            rate = ROOMS / _seconds(track, name)
            rows.append(_row(f"rollouts of the {words_of}, two processes", rate, "12 a second", WANTED / rate, 1.0))
    cameras = [trial_camera(sample_scenario(*room), FrameSpec()) for room in rooms[:16]]
    with Track(make, workers=1, max_presses=PRESSES) as track:
        outcomes = track.drive("compact", rooms[:16])

        def render() -> None:
            for camera, outcome in zip(cameras, outcomes, strict=True):
                for pose in outcome.path:
                    camera.render(pose)

        seconds, ratio = paired(lambda: track.drive("compact", rooms[:16]), render)
    rows.append(_row("rollouts of the compact policy, one core", 16 / seconds, "drawing the same frames", ratio, 2.0))
    return rows


def _seconds(track: Track, name: str) -> float:
    """Median of a few drives through all rooms, after one that does not count."""
    taken = []
    for _ in range(_ROUNDS + 1):
        began = time.perf_counter()
        outcomes = track.drive(name, trial_rooms(ROOMS))
        taken.append(time.perf_counter() - began)
    steps = statistics.mean(outcome.steps for outcome in outcomes)
    assert steps > PRESSES - 2, f"trials of {steps:.1f} presses are too short to tell"
    return statistics.median(taken[1:])


def _row(name: str, rate: float, peer: str, ratio: float, goal: float) -> Row:
    return {"name": name, "value": rate, "unit": "1/s", "peer": peer, "ratio": ratio, "goal": goal}
