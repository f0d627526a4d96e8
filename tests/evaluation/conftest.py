"""A small world to evaluate in: episodes whose first pixel tells the key, and policies that read it or do not."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from components.contracts import (
    AXES,
    BLIND,
    Ensemble,
    EpochMetrics,
    EvaluationInputs,
    EvaluationReport,
    FrameSample,
    LeakCheck,
    Lineage,
    ObjectRef,
    PolicySpec,
    TrainedPolicy,
    TrialOutcome,
    TrialPlan,
)
from components.datasets import EpisodeFrames
from components.episodes import KEYS, instruction_for
from components.evaluation._ablations import ablate
from components.evaluation._baselines import fit_medians, predict_baselines
from components.evaluation._metrics import compare, measure
from components.evaluation._pairs import pair
from components.evaluation._room_metrics import room_metrics
from components.evaluation._truth import Truth
from components.evaluation.page import Material, render

_PRESSES = {"left": ("W", "Q", "A"), "right": ("W", "E", "D")}
SHA = "a" * 64
REF = ObjectRef(uri="s3://reports/x", sha256=SHA, size=1)
LINEAGE = Lineage(code_revision="c0ffee", python="3.11.9", packages={"numpy": "2.4.6"}, machine="Linux x86_64, 2 CPUs")


def _episode(rng, scenario, index, length=18):
    keys = rng.choice(_PRESSES[scenario.rpartition("_")[2]], size=length - 1)
    actions = np.stack([KEYS["space"], *(KEYS[key] for key in keys)]).astype(np.float32)
    frames = rng.integers(0, 40, (length, 9, 16, 3)).astype(np.uint8)
    frames[:, 0, 0, :] = 100 + 50 * np.sign(actions).astype(int)  # what a policy that looks can read
    return EpisodeFrames(
        sha256=f"{index:064x}", name=f"episode_{index}", robot="robot-1", session="s", scenario=scenario,
        instruction=instruction_for(scenario), frames=frames, actions=actions,
    )  # fmt: skip


def looks_and_listens(episodes):
    """Reads the keys off the picture, and goes to the side that it is told."""
    did = []
    for item in episodes:
        seen = np.rint((item.frames[:, 0, 0, :].astype(float) - 100) / 50).clip(-1, 1) * 1.15
        side = 1 if "left" in item.instruction else -1
        seen[:, 1] = np.abs(seen[:, 1]) * side
        did.append(seen.astype(np.float32))
    return did


def blind(episodes):
    """W, whatever it sees and hears."""
    return [np.tile(KEYS["W"], (len(item.frames), 1)) for item in episodes]


@dataclass
class World:
    """Everything that a report is made of, from one seed."""

    episodes: list
    training: list
    axes: tuple = ("linear_x", "linear_y")
    keys: bool = True
    seed: int = 0
    drivers: dict = field(default_factory=lambda: {"ensemble": looks_and_listens, "mlp": blind})

    @property
    def truth(self):
        return Truth(
            tuple(item.actions for item in self.episodes),
            tuple(item.scenario for item in self.episodes),
            self.axes,
            self.keys,
        )

    @property
    def whole(self):
        return FrameSample(dataset=SHA, simulated=False, axes=self.axes)

    def inputs(self, **changes):
        fields = {"members": (MEMBER,), "ensemble": ENSEMBLE, "trials": None, "seed": 0}
        return EvaluationInputs(**(fields | changes))

    def report(self, **changes):
        truth, whole = self.truth, self.whole
        did = {name: drive(self.episodes) for name, drive in self.drivers.items()}
        did |= predict_baselines(fit_medians(self.training), self.episodes)
        outcomes = changes.pop("outcomes", ())
        driven = self.closed_loop(outcomes)
        fields = {
            "subject": "ensemble",
            "subject_digest": ENSEMBLE.digest(),
            "dataset": SHA,
            "frames": len(truth.owner),
            "episodes": len(self.episodes),
            "axes": self.axes,
            "constant_axes": tuple(axis for axis in AXES if axis not in self.axes),
            "metrics": (*measure(truth, whole, did, seed=0), *driven["metrics"]),
            "comparisons": tuple(
                compare(truth, whole, ("ensemble", did["ensemble"]), (name, item), seed=0)
                for name, item in did.items()
                if name != "ensemble"
            ),
            "leaks": LeakCheck(test_episodes=len(self.episodes), other_episodes=len(self.training), leaks=()),
            "ablations": ablate(truth, whole, self.episodes, did["ensemble"], self.drivers["ensemble"], seed=0),
            "paired_trials": driven["paired_trials"],
            "trials": REF if outcomes else None,
            "inputs": self.inputs(trials=TrialPlan(margin=0.49, shift_rooms=0) if outcomes else None),
            "lineage": LINEAGE,
        }
        return EvaluationReport(**(fields | changes))

    @staticmethod
    def closed_loop(outcomes):
        names = list(dict.fromkeys(item.policy for item in outcomes))
        by_driver = {name: [item for item in outcomes if item.policy == name] for name in names}
        if not names:
            return {"metrics": (), "paired_trials": ()}
        return {
            "metrics": room_metrics(by_driver, seed=0),
            "paired_trials": tuple(
                pair(by_driver["ensemble"], by_driver[name], stop_early=False) for name in names if name != "ensemble"
            ),
        }

    def page(self, report, outcomes=()):
        predicted = self.drivers["ensemble"](self.episodes)
        return render(report, Material(self.truth, self.episodes, predicted, outcomes)).decode()


CURVE = tuple(
    EpochMetrics(epoch=epoch, training_loss=1 / (epoch + 1), validation_loss=1.1 / (epoch + 1),
                 validation_mae=0.4 / (epoch + 1), learning_rate=1e-3, frames_per_s=900)
    for epoch in range(5)
)  # fmt: skip
MEMBER = TrainedPolicy(
    name="mlp", spec=PolicySpec(recipe="compact_mlp", axes=("linear_x", "linear_y")), vocabulary=("left", "right"),
    weights=REF, dataset=SHA, curve=CURVE, best_epoch=4, lineage=LINEAGE,
)  # fmt: skip


ENSEMBLE = Ensemble(members=(MEMBER,), weights=(1.0,), dataset=SHA, validation_loss=0.2, validation_loss_held_out=0.25)


def trials(policies=("ensemble", BLIND, "straight-ahead", "expert"), rooms=8):
    """Outcomes in which the expert always succeeds, the ensemble every second time, the others never."""
    scenarios = ("1box_vert_left", "1box_vert_right", "2box_hori_left", "2box_hori_right")
    return tuple(
        TrialOutcome(
            policy=policy, scenario=scenarios[room % 4], seed=10**9 + room, success=good, reached=True, right_side=good,
            collided=not good, spl=0.8 if good else 0.0, steps=12, duration_s=3.6, distance_m=2.8,
            path=tuple((0.23 * step, 0.1 * step * (policy != "straight-ahead"), 0.0) for step in range(1, 13)),
        )
        for policy in policies
        for room in range(rooms)
        for good in [policy == "expert" or (policy == "ensemble" and room % 2 == 0)]
    )  # fmt: skip


@pytest.fixture
def world():
    """Factory: `world(n)` gives a world of n test episodes."""

    def make(n=12, **settings):
        rng = np.random.default_rng(5)
        scenarios = ("1box_vert_left", "1box_vert_right", "2box_hori_left")
        training = [_episode(rng, scenarios[index % 3], 1000 + index) for index in range(24)]
        episodes = [_episode(rng, scenarios[index % 3], index) for index in range(n)]
        return World(episodes, training, **settings)

    return make


@pytest.fixture
def policies():
    """The two policies of the world, and how trials are made."""
    return {"looks": looks_and_listens, "blind": blind, "trials": trials}
