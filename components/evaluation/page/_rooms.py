"""Rooms seen from above, with every driver's way through them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from components.contracts import UNSHIFTED, ClosedLoopScore, TrialOutcome
from components.simulation import Scenario, sample_scenario

from ._plots import COLOURS, FAINT, INK, MARKS, data_uri, drawing

SHOWN = (-0.6, 5.2, -2.2, 2.2)
"""x from, x to, y from, y to: metres. What a drive that is worth a look covers; strays leave the picture."""
_WIDTH = 2.7


@dataclass(frozen=True)
class RoomPicture:
    """One room of the page."""

    image: str
    caption: str
    alt: str


def told(outcome: TrialOutcome) -> str:
    """How a trial ended, in words."""
    if outcome.success:
        return "reached the cup, right side, touched nothing"
    if outcome.collided:
        return "touched something"
    if outcome.reached:
        return "reached the cup, but passed on the wrong side"
    return "did not reach the cup"


def draw_rooms(scores: Sequence[ClosedLoopScore], outcomes: Sequence[TrialOutcome]) -> list[RoomPicture]:
    """One room a scenario, the first that was driven; the ways of all of `scores`."""
    roles = {score.name: score.role for score in scores}
    plain = [item for item in outcomes if item.shift == UNSHIFTED]
    rooms: dict[str, int] = {}
    for item in plain:
        rooms.setdefault(item.scenario, item.seed)
    pictures = []
    for room in sorted(rooms.items()):
        here = sorted((item for item in plain if item.room == room), key=lambda item: list(roles).index(item.policy))
        pictures.append(
            RoomPicture(
                image=_draw(sample_scenario(*room), here, roles),
                caption=f"{room[0]}, seed {room[1]}",
                alt="From above: " + "; ".join(f"{item.policy} {told(item)}" for item in here),
            )
        )
    return pictures


def _draw(scenario: Scenario, outcomes: Sequence[TrialOutcome], roles: Mapping[str, str]) -> str:
    left, right, bottom, top = SHOWN
    with drawing(_WIDTH * (top - bottom) / (right - left), width=_WIDTH) as (figure, panel):
        panel.set_axis_off()
        for box in scenario.boxes:
            panel.add_patch(
                Rectangle(
                    (box.x - box.half_x, box.y - box.half_y), 2 * box.half_x, 2 * box.half_y,
                    angle=math.degrees(box.yaw), rotation_point="center", facecolor="#e3cba6", edgecolor="#9c7a48",
                )
            )  # fmt: skip
        panel.add_patch(Circle(scenario.cup, 0.085, facecolor=INK, edgecolor="none"))
        for item in reversed(outcomes):  # the subject on top
            _way(panel, scenario, item, roles[item.policy])
        panel.plot(*scenario.start[:2], "o", color=INK, markersize=4)
        panel.add_patch(Rectangle((left, bottom), right - left, top - bottom, fill=False, edgecolor=FAINT))
        panel.set_aspect("equal")
        panel.set_xlim(left, right)
        panel.set_ylim(bottom, top)
        return data_uri(figure, simulated=True)


def _way(panel: Axes, scenario: Scenario, outcome: TrialOutcome, role: str) -> None:
    places = [scenario.start[:2], *((x, y) for x, y, _ in outcome.path)]
    xs, ys = zip(*places, strict=True)
    panel.plot(xs, ys, "-" if role == "subject" else "--", color=COLOURS[role], linewidth=1.3)
    panel.plot(
        xs[-1:], ys[-1:], MARKS[role], color=COLOURS[role], markersize=5,
        fillstyle="full" if outcome.success else "none",
    )  # fmt: skip
