"""The scripted operator, who sees the map and drives by the robots' keys, and the shortest way there is."""

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from components.episodes import KEYS

from ._body import REACH, REACH_BEARING, ROBOT_RADIUS, Motion, bearing_of
from ._scenario import Scenario

_CLEARANCE = 0.22  # m between robot and box when it passes: one press too few does not touch yet
_STOP = REACH - 0.25  # m from the cup: one press earlier would do as well
_STOP_BEARING = REACH_BEARING - 0.1


class Expert:
    """Turns to look ahead, goes aside until the boxes are clear, passes them, lines up with the cup, stops before it.

    A press depends on the pose alone, so that a policy which sees the same picture can learn it. Presses are keys of
    the robots' vocabulary (facts: W A S D Q E Z C R T and space), never a mixture of driving and turning.
    """

    def __init__(self, scenario: Scenario, *, motion: Motion | None = None) -> None:
        self._cup, self._side = scenario.cup, scenario.side
        self._step = (motion or Motion()).metres_per_press
        self._turn = 0.6 * (motion or Motion()).radians_per_press
        boxes = [(box.x, box.y, *box.extent) for box in scenario.boxes]
        self._front = min(x - half_x for x, _, half_x, _ in boxes) - ROBOT_RADIUS - 0.06
        self._back = max(x + half_x for x, _, half_x, _ in boxes) + ROBOT_RADIUS + 0.04
        edge = max(self._side * y + half_y for _, y, _, half_y in boxes)
        self._passing = edge + ROBOT_RADIUS + _CLEARANCE

    def key(self, pose: tuple[float, float, float]) -> str:
        """The key to press at x, y (m), yaw (rad)."""
        x, y, yaw = pose
        distance, bearing = bearing_of(self._cup, pose)
        if x > self._back and distance < _STOP and abs(bearing) < _STOP_BEARING:
            return "space"
        if abs(yaw) > self._turn:
            return "T" if yaw > 0 else "R"
        if x <= self._back:
            missing = self._passing - self._side * y
            if missing < 0.3 * self._step:
                return "W"
            return self._aside(left=self._side > 0, room_ahead=self._front - x)
        aside = distance * math.sin(bearing)
        if abs(aside) < 0.55 * self._step:
            return "W"
        return self._aside(left=aside > 0, room_ahead=distance * math.cos(bearing) - 0.45)

    def press(self, pose: tuple[float, float, float]) -> NDArray[np.float32]:
        """The same as an action: (3,) m/s, m/s, rad/s."""
        return KEYS[self.key(pose)].copy()

    def _aside(self, *, left: bool, room_ahead: float) -> str:
        """Forward as well, while there is room for it."""
        if room_ahead >= self._step:
            return "Q" if left else "E"
        return "A" if left else "D"


def shortest_path(scenario: Scenario) -> float:
    """Metres from the start to where the cup is reached, passing every box on the named side.

    The way is a string pulled taut: the convex chain over the boxes' corners, each moved aside by the robot's radius.
    Rounding a corner is left out, so it is never longer than the true shortest way.
    """
    side = scenario.side
    corners = [
        (box.x + sign * extent[0], side * box.y + extent[1] + ROBOT_RADIUS)
        for box in scenario.boxes
        for extent in [box.extent]
        for sign in (-1, 1)
    ]
    start, cup = (scenario.start[0], side * scenario.start[1]), (scenario.cup[0], side * scenario.cup[1])
    chain: list[tuple[float, float]] = []
    for point in [start, *sorted(corners), cup]:
        while len(chain) > 1 and _turns_left(chain[-2], chain[-1], point):
            chain.pop()
        chain.append(point)
    return max(0.0, sum(math.dist(a, b) for a, b in pairwise(chain)) - REACH)


def _turns_left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) >= 0
