"""The simulated body: an omnidirectional base that moves by key presses, with contacts by MuJoCo."""

import math
from dataclasses import dataclass
from itertools import pairwise

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.contracts import ACTION_LIMIT

from ._scenario import ROOM, Scenario
from ._scene import WALL_HEIGHT, solids_of

ROBOT_RADIUS = 0.18
REACH = 0.85
"""Metres from the robot's centre to the cup's at which the cup counts as reached, if it is in view."""
REACH_BEARING = 0.6
"""Radians off the robot's nose within which the cup counts as in view."""

_TIMESTEP = 0.01
_BRAKE_STEPS = 8  # then the base stands still: frames are taken at rest
_DRIFT = 0.15  # of the slip, in rad a metre-and-press: wheels never pull quite straight


@dataclass(frozen=True)
class Motion:
    """What one key press does.

    At face value 1.15 m/s for 0.3 s are 0.345 m; a base that starts and stops within the press goes less far, and 17
    presses have to fit a room.
    """

    seconds_per_press: float = 0.3
    metres_per_press: float = 0.24
    radians_per_press: float = 0.25
    slip: float = 0.05
    """Standard deviation of the distance covered, as a share of it."""

    def after(self, pose: tuple[float, float, float], action: ArrayLike) -> tuple[float, float, float]:
        """Where a press leads from x, y (m), yaw (rad), if nothing slips and nothing is in the way."""
        share = np.clip(np.asarray(action, dtype=np.float64), -ACTION_LIMIT, ACTION_LIMIT) / ACTION_LIMIT
        ahead, aside, turn = (share * (self.metres_per_press, self.metres_per_press, self.radians_per_press)).tolist()
        x, y, yaw = pose
        cosine, sine = math.cos(yaw), math.sin(yaw)
        return x + cosine * ahead - sine * aside, y + sine * ahead + cosine * aside, yaw + turn


@dataclass(frozen=True)
class Outcome:
    """What came of a drive. It is judged after every press, so a cup reached once stays reached."""

    reached: bool
    right_side: bool
    """Passed every box on the side that the scenario names."""
    collided: bool
    steps: int
    length_m: float

    @property
    def success(self) -> bool:
        return self.reached and self.right_side and not self.collided


class Body:
    """One robot in one room.

    Args:
        scenario: the room.
        motion: what a press does.
        seed: of the wheels' slip; None takes the scenario's.
    """

    def __init__(self, scenario: Scenario, *, motion: Motion | None = None, seed: int | None = None) -> None:
        self.scenario, self.motion = scenario, motion or Motion()
        self._model = mujoco.MjModel.from_xml_string(_model_xml(scenario))
        self._data = mujoco.MjData(self._model)
        self._data.qpos[:3] = scenario.start
        mujoco.mj_forward(self._model, self._data)
        self._base = self._model.geom("base").id
        self._rng = np.random.default_rng([scenario.seed if seed is None else seed, 101])
        self._sides: dict[int, float] = {}
        self._reached = False
        self.touched: str | None = None
        """Name of the first thing that the robot ran into."""
        self.path: list[tuple[float, float]] = [scenario.start[:2]]
        """(x, y) at the start and after each press, metres."""

    @property
    def pose(self) -> tuple[float, float, float]:
        """x, y in metres, yaw in radians."""
        x, y, yaw = self._data.qpos[:3].tolist()
        return x, y, yaw

    @property
    def outcome(self) -> Outcome:
        boxes = range(len(self.scenario.boxes))
        return Outcome(
            reached=self._reached,
            right_side=all(self._sides.get(index) == self.scenario.side for index in boxes),
            collided=self.touched is not None,
            steps=len(self.path) - 1,
            length_m=float(sum(math.dist(a, b) for a, b in pairwise(self.path))),
        )

    def press(self, action: ArrayLike) -> None:
        """Drive for one press and stop.

        Args:
            action: (3,) m/s, m/s, rad/s in the robot's frame; clamped to the limit, as the robot does.
        """
        motion = self.motion
        steps = round(motion.seconds_per_press / _TIMESTEP)
        driven_s = (steps - _BRAKE_STEPS) * _TIMESTEP
        share = np.clip(np.asarray(action, dtype=np.float64), -ACTION_LIMIT, ACTION_LIMIT) / ACTION_LIMIT
        share = share * (1 + motion.slip * self._rng.normal(size=3))
        drift = motion.slip * _DRIFT * self._rng.normal() * float(np.abs(share[:2]).sum())
        velocity = np.array(
            [
                share[0] * motion.metres_per_press,
                share[1] * motion.metres_per_press,
                share[2] * motion.radians_per_press + drift,
            ]
        )
        velocity /= driven_s
        for step in range(steps):
            self._data.ctrl[:] = self._into_world(velocity if step < steps - _BRAKE_STEPS else np.zeros(3))
            mujoco.mj_step(self._model, self._data)
            self._notice()
        self._data.qvel[:] = 0.0
        self.path.append(self.pose[:2])
        distance, bearing = bearing_of(self.scenario.cup, self.pose)
        self._reached |= distance < REACH and abs(bearing) < REACH_BEARING

    def _into_world(self, velocity: NDArray[np.float64]) -> tuple[float, float, float]:
        yaw = self._data.qpos[2]
        cosine, sine = math.cos(yaw), math.sin(yaw)
        vx, vy, wz = velocity.tolist()
        return cosine * vx - sine * vy, sine * vx + cosine * vy, wz

    def _notice(self) -> None:
        """Contacts, and boxes passed."""
        for pair in self._data.contact.geom[: self._data.ncon]:
            if self._base in pair and self.touched is None:
                other = int(pair[1] if pair[0] == self._base else pair[0])
                self.touched = self._model.geom(other).name
        x, y, _ = self.pose
        for index, box in enumerate(self.scenario.boxes):
            if x > box.x:
                self._sides.setdefault(index, 1.0 if y > box.y else -1.0)


def bearing_of(target: tuple[float, float], pose: tuple[float, float, float]) -> tuple[float, float]:
    """Distance (m) and bearing (rad, left is positive) of a point as the robot sees it."""
    ahead, aside = target[0] - pose[0], target[1] - pose[1]
    bearing = math.atan2(aside, ahead) - pose[2]
    return math.hypot(ahead, aside), (bearing + math.pi) % (2 * math.pi) - math.pi


def _model_xml(scenario: Scenario) -> str:
    """Physics only: the camera draws the same solids by itself."""
    solids = "".join(
        f'<geom name="{s.name}" type="{s.kind}" pos="{s.x} {s.y} {s.z}" euler="0 0 {s.yaw}" '
        + (f'size="{s.half_x} {s.half_y} {s.half_z}"/>' if s.kind == "box" else f'size="{s.half_x} {s.half_z}"/>')
        for s in solids_of(scenario)
    )
    x0, x1, y0, y1 = ROOM
    half_x, half_y, half_z = (x1 - x0) / 2, (y1 - y0) / 2, WALL_HEIGHT / 2
    centre = (x0 + x1) / 2, (y0 + y1) / 2
    walls = "".join(
        f'<geom name="wall-{name}" type="box" pos="{x} {y} {half_z}" size="{sx} {sy} {half_z}"/>'
        for name, x, y, sx, sy in (
            ("front", x1 + 0.05, centre[1], 0.05, half_y),
            ("back", x0 - 0.05, centre[1], 0.05, half_y),
            ("left", centre[0], y1 + 0.05, half_x, 0.05),
            ("right", centre[0], y0 - 0.05, half_x, 0.05),
        )
    )
    return f"""<mujoco model="room">
<compiler angle="radian"/><option timestep="{_TIMESTEP}" integrator="implicitfast" gravity="0 0 0"/>
<worldbody>{walls}{solids}
<body name="robot"><joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>
<joint name="yaw" type="hinge" axis="0 0 1"/>
<geom name="base" type="cylinder" size="{ROBOT_RADIUS} .09" pos="0 0 .12" mass="8" friction=".2"/></body></worldbody>
<actuator><velocity joint="x" kv="800"/><velocity joint="y" kv="800"/><velocity joint="yaw" kv="16"/></actuator>
</mujoco>"""
