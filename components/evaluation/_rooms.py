"""Trajectories seen from above."""

import math
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from components.contracts import ClosedLoopScore, TrialOutcome
from components.simulation import Scenario, sample_scenario

from ._plots import COLOURS, FAINT, INK, RC, data_uri

_COLUMNS = 4
_SHOWN = (-0.6, 5.2, -2.2, 2.2)
"""x from, x to, y from, y to: metres. What a drive that is worth a look covers; strays leave the picture."""


def draw_rooms(scores: Sequence[ClosedLoopScore], outcomes: Sequence[TrialOutcome]) -> str:
    """One room a scenario, the first that was driven; every driver's way through it."""
    rooms: dict[str, int] = {}
    for item in outcomes:
        rooms.setdefault(item.scenario, item.seed)
    colours = {score.name: COLOURS[score.role] for score in scores}
    with mpl.rc_context(RC):
        lines = math.ceil(len(rooms) / _COLUMNS)
        figure = Figure(figsize=(11, 2.3 * lines + 0.6), layout="constrained")
        panels = figure.subplots(lines, min(_COLUMNS, len(rooms)), squeeze=False, sharex=True, sharey=True).ravel()
        for panel in panels:
            panel.set_axis_off()
        for panel, (name, seed) in zip(panels, sorted(rooms.items()), strict=False):
            scenario = sample_scenario(name, seed)
            here = [item for item in outcomes if (item.scenario, item.seed) == (name, seed)]
            _room(panel, scenario, here, colours)
            panel.set_title(f"{name}, seed {seed}", fontsize=8, color=INK)
        for name, colour in colours.items():
            panels[0].plot([], [], "-", color=colour, label=name)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
        return data_uri(figure)


def _room(panel: Axes, scenario: Scenario, outcomes: Sequence[TrialOutcome], colours: dict[str, str]) -> None:
    for box in scenario.boxes:
        corner = (box.x - box.half_x, box.y - box.half_y)
        turned = Rectangle(
            corner, 2 * box.half_x, 2 * box.half_y, angle=math.degrees(box.yaw), rotation_point="center",
            facecolor="#e3cba6", edgecolor="#9c7a48",
        )  # fmt: skip
        panel.add_patch(turned)
    panel.add_patch(Circle(scenario.cup, 0.085, facecolor="#cc2f2f", edgecolor="none"))
    start = (scenario.start[0], scenario.start[1])
    panel.plot(*start, "o", color=INK, markersize=4)
    for item in outcomes:
        xs, ys = zip(start, *item.path, strict=True)
        panel.plot(xs, ys, "-", color=colours[item.policy], linewidth=1.4, marker=".", markersize=2.5, alpha=0.9)
        panel.plot(xs[-1], ys[-1], "o" if item.success else "x", color=colours[item.policy], markersize=4)
    panel.set_aspect("equal")
    left, right, bottom, top = _SHOWN
    panel.set_xlim(left, right)
    panel.set_ylim(bottom, top)
    panel.add_patch(Rectangle((left, bottom), right - left, top - bottom, fill=False, edgecolor=FAINT))
