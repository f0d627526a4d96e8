"""Plots of errors: by policy, axis, scenario and frame; what was driven against what was predicted; learning curves."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from components.contracts import Axis, EpochMetrics, OpenLoopScore

from ._plots import COLOURS, CYCLE, DASHES, FAINT, MARKS, band, data_uri, drawing, from_zero, whisker, written

UNITS: dict[Axis, str] = {"linear_x": "m/s", "linear_y": "m/s", "angular_z": "rad/s"}
_OVER = "mean absolute error over the varying axes"


def errors(scores: Sequence[OpenLoopScore], *, simulated: bool) -> str:
    """MAE of every policy and baseline, a row each, in their order."""
    with drawing(0.27 * len(scores) + 0.75) as (figure, panel):
        rows = range(len(scores))[::-1]
        for score, y in zip(scores, rows, strict=True):
            whisker(panel, score.mae, y, COLOURS[score.role], MARKS[score.role])
        panel.set_yticks(list(rows), [written(score.name) for score in scores])
        from_zero(panel)
        panel.set_xlabel(_OVER)
        return data_uri(figure, simulated=simulated)


def errors_by_axis(scores: Sequence[OpenLoopScore], axes: Sequence[Axis], *, simulated: bool) -> str | None:
    """The same axis by axis; None where there is one axis alone."""
    if len(axes) < 2:
        return None
    with drawing(0.36 * len(scores) + 0.95) as (figure, panel):
        rows = np.arange(len(scores))[::-1].astype(float)
        for index, axis in enumerate(axes):
            mark = "osD"[index]
            for score, y in zip(scores, rows, strict=True):
                shift = 0.22 * (index - (len(axes) - 1) / 2)
                whisker(panel, score.mae_by_axis[axis], y - shift, CYCLE[index], mark)
            panel.plot([], [], f"{mark}-", color=CYCLE[index], label=f"{axis}, {UNITS[axis]}")
        panel.set_yticks(rows, [written(score.name) for score in scores])
        from_zero(panel)
        panel.set_xlabel("mean absolute error of one axis")
        figure.legend(loc="outside upper right", ncols=len(axes))
        return data_uri(figure, simulated=simulated)


def errors_by_scenario(scores: Sequence[OpenLoopScore], *, simulated: bool) -> str | None:
    """MAE by scenario of a few scores; hollow marks have one episode behind them and no interval."""
    scenarios = sorted(scores[0].mae_by_scenario)
    if not scenarios:
        return None
    with drawing(0.15 * len(scenarios) * (len(scores) + 1) + 1.0) as (figure, panel):
        rows = np.arange(len(scenarios))[::-1].astype(float)
        for index, score in enumerate(scores):
            shift = 0.25 * (index - (len(scores) - 1) / 2)
            for name, y in zip(scenarios, rows, strict=True):
                whisker(panel, score.mae_by_scenario[name], y - shift, COLOURS[score.role], MARKS[score.role])
            panel.plot([], [], f"{MARKS[score.role]}-", color=COLOURS[score.role], label=written(score.name))
        counts = [scores[0].mae_by_scenario[name].n for name in scenarios]
        panel.set_yticks(rows, [written(f"{name} (n={n})") for name, n in zip(scenarios, counts, strict=True)])
        from_zero(panel)
        panel.set_xlabel(_OVER)
        figure.legend(loc="outside upper right", ncols=2)
        return data_uri(figure, simulated=simulated)


def errors_by_frame(scores: Sequence[OpenLoopScore], *, simulated: bool) -> str | None:
    """MAE by frame index of a few scores, intervals as bands."""
    steps = sorted(scores[0].mae_by_frame)
    if len(steps) < 2:
        return None
    with drawing(3.0) as (figure, panel):
        for score in scores:
            band(
                panel, steps, [score.mae_by_frame[step] for step in steps],
                colour=COLOURS[score.role], mark=MARKS[score.role], label=written(score.name),
            )  # fmt: skip
        panel.set_ylim(bottom=0)
        panel.locator_params(axis="x", integer=True)
        panel.grid(visible=True)
        panel.set_xlabel("frame of the episode; frame 0 counts nowhere")
        panel.set_ylabel("mean absolute error")
        figure.legend(loc="outside upper right", ncols=2)
        return data_uri(figure, simulated=simulated)


def true_against_predicted(
    truth: NDArray[np.float64], predicted: NDArray[np.float64], axis: Axis, *, simulated: bool
) -> str:
    """(N,) each: what takes the confusion table's place where actions are continuous."""
    with drawing(3.4, width=3.6) as (figure, panel):
        low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
        panel.plot([low, high], [low, high], color=FAINT)
        panel.plot(truth, predicted, ".", color=COLOURS["subject"], markersize=3, alpha=0.5)
        panel.set_xlabel(f"{axis} driven, {UNITS[axis]}")
        panel.set_ylabel("predicted")
        return data_uri(figure, simulated=simulated)


def learning_curves(curves: Mapping[str, Sequence[EpochMetrics]], *, simulated: bool) -> list[str]:
    """Loss, then validation MAE, by epoch; nothing where no member brought a curve."""
    shown = {name: curve for name, curve in sorted(curves.items()) if curve}
    if not shown:
        return []
    drawn = []
    for title, fields in (("loss", ("training_loss", "validation_loss")), ("validation MAE", ("validation_mae",))):
        with drawing(2.6) as (figure, panel):
            for index, (name, curve) in enumerate(shown.items()):
                colour, dash = CYCLE[index % len(CYCLE)], DASHES[index // len(CYCLE) % len(DASHES)]
                epochs = [item.epoch for item in curve]
                panel.plot(
                    epochs, [getattr(item, fields[-1]) for item in curve], dash, color=colour, label=written(name)
                )
                if len(fields) > 1:
                    panel.plot(epochs, [getattr(item, fields[0]) for item in curve], dash, color=colour, alpha=0.4)
            panel.set_ylim(bottom=0)
            panel.grid(visible=True)
            panel.locator_params(axis="x", integer=True)
            panel.set_xlabel("epoch")
            panel.set_ylabel(title)
            figure.legend(loc="outside upper right", ncols=3)
            drawn.append(data_uri(figure, simulated=simulated))
    return drawn
