"""Plots of a report, as self-contained SVG. Deterministic: equal figures give equal bytes."""

import base64
import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from components.contracts import Axis, EpochMetrics, Estimate, OpenLoopScore

INK, FAINT = "#1d2733", "#c9d1da"
COLOURS = {
    "ensemble": "#1f5fa8", "member": "#6fa3d8", "incumbent": "#8e5bb5", "baseline": "#8b95a1",
    "subject": "#1f5fa8", "expert": "#2f8f5b", "straight-ahead": "#c9742b",
}  # fmt: skip
UNITS: dict[Axis, str] = {"linear_x": "m/s", "linear_y": "m/s", "angular_z": "rad/s"}
RC = {
    "svg.hashsalt": "drover", "svg.fonttype": "path", "font.size": 9, "font.family": "DejaVu Sans",
    "axes.edgecolor": FAINT, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 9, "legend.frameon": False,
    "legend.fontsize": 8, "text.parse_math": False,
}  # fmt: skip


def data_uri(figure: Figure) -> str:
    """`data:image/svg+xml;base64,...`: as an image, nothing in it can run."""
    buffer = io.BytesIO()
    with mpl.rc_context(RC):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _whiskers(axes: Axes, estimates: Sequence[Estimate], at: NDArray[np.float64], colours: Sequence[str]) -> None:
    for estimate, y, colour in zip(estimates, at, colours, strict=True):
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot([estimate.value], [y], "o", color=colour, markersize=5)


def errors(scores: Sequence[OpenLoopScore], axes_shown: Sequence[Axis]) -> str:
    """MAE of every policy and baseline with its interval: over the varying axes, then axis by axis."""
    with mpl.rc_context(RC):
        panels = 1 + len(axes_shown)
        figure = Figure(figsize=(2.6 * panels + 1.6, 0.32 * len(scores) + 0.9), layout="constrained")
        grid = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
        at = np.arange(len(scores))[::-1].astype(float)
        colours = [COLOURS[score.role] for score in scores]
        _whiskers(grid[0], [score.mae for score in scores], at, colours)
        grid[0].set_title("all varying axes")
        grid[0].set_yticks(at, [score.name for score in scores])
        for panel, axis in zip(grid[1:], axes_shown, strict=True):
            _whiskers(panel, [score.mae_by_axis[axis] for score in scores], at, colours)
            panel.set_title(f"{axis} ({UNITS[axis]})")
        for panel in grid:
            _grid_from_zero(panel)
            panel.set_xlabel("MAE")
        return data_uri(figure)


def errors_by_scenario(scores: Sequence[OpenLoopScore]) -> str | None:
    """MAE by scenario of a few scores, with intervals of those scenarios that have two episodes or more."""
    scenarios = sorted(scores[0].mae_by_scenario)
    if not scenarios:
        return None
    with mpl.rc_context(RC):
        figure = Figure(figsize=(7.2, 0.16 * len(scenarios) * (len(scores) + 1) + 1.0), layout="constrained")
        panel = figure.subplots()
        rows = np.arange(len(scenarios))[::-1].astype(float)
        for index, score in enumerate(scores):
            at = rows + 0.16 - 0.32 * index / max(len(scores) - 1, 1)
            colour = COLOURS[score.role] if index == 0 else ("#c9742b", "#8b95a1", "#c4b13a")[(index - 1) % 3]
            estimates = [score.mae_by_scenario[name] for name in scenarios]
            several = [item.n > 1 for item in estimates]
            known = [item for item, many in zip(estimates, several, strict=True) if many]
            _whiskers(panel, known, at[several], [colour] * len(known))
            lonely = [item.value for item, many in zip(estimates, several, strict=True) if not many]
            panel.plot(lonely, at[[not many for many in several]], "o", color=colour, markersize=5, fillstyle="none")
            panel.plot([], [], "o-", color=colour, label=score.name)
        episodes = [scores[0].mae_by_scenario[name].n for name in scenarios]
        panel.set_yticks(rows, [f"{name} (n={n})" for name, n in zip(scenarios, episodes, strict=True)])
        _grid_from_zero(panel)
        panel.set_xlabel("MAE over the varying axes; hollow: one episode, no interval")
        panel.legend(loc="upper center", bbox_to_anchor=(0.4, 1 + 0.45 / figure.get_figheight()), ncols=3)
        return data_uri(figure)


def _grid_from_zero(panel: Axes) -> None:
    panel.set_xlim(left=-0.02 * panel.get_xlim()[1])  # room for the dot of a perfect score
    panel.grid(visible=True, axis="x", color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(length=0)


def confusion(labels: Sequence[str], counts: NDArray[np.int64], name: str) -> str:
    """(K, K) counts, a row a pressed key, a column a predicted one; shaded by share of the row."""
    with mpl.rc_context(RC):
        side = 0.42 * len(labels) + 1.4
        figure = Figure(figsize=(side, side), layout="constrained")
        panel = figure.subplots()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else INK
            panel.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8, color=colour)
        panel.set_xticks(range(len(labels)), labels)
        panel.set_yticks(range(len(labels)), labels)
        panel.tick_params(length=0)
        panel.set_xlabel(f"predicted by {name}")
        panel.set_ylabel("pressed by the operator")
        return data_uri(figure)


def true_against_predicted(
    truth: NDArray[np.float64], predicted: NDArray[np.float64], axes_shown: Sequence[Axis]
) -> str:
    """(N, A) each: what takes the confusion matrix's place where actions are continuous."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(3.0 * len(axes_shown), 3.0), layout="constrained")
        for panel, axis, y, p in zip(
            figure.subplots(1, len(axes_shown), squeeze=False)[0], axes_shown, truth.T, predicted.T, strict=True
        ):
            low, high = float(min(y.min(), p.min())), float(max(y.max(), p.max()))
            panel.plot([low, high], [low, high], color=FAINT)
            panel.plot(y, p, ".", color=COLOURS["subject"], markersize=3, alpha=0.5)
            panel.set_title(axis)
            panel.set_xlabel("driven")
            panel.set_ylabel("predicted")
        return data_uri(figure)


def learning_curves(curves: Mapping[str, Sequence[EpochMetrics]]) -> str | None:
    """Loss and validation MAE by epoch, a colour a member."""
    shown = {name: curve for name, curve in sorted(curves.items()) if curve}
    if not shown:
        return None
    with mpl.rc_context(RC):
        figure = Figure(figsize=(8.4, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for index, (name, curve) in enumerate(shown.items()):
            colour = mpl.colormaps["tab10"](index % 10)
            epochs = [item.epoch for item in curve]
            left.plot(epochs, [item.training_loss for item in curve], color=colour, linestyle=":")
            left.plot(epochs, [item.validation_loss for item in curve], color=colour, label=name)
            right.plot(epochs, [item.validation_mae for item in curve], color=colour, label=name)
        left.set_title("loss: dotted training, solid validation")
        right.set_title("MAE on validation")
        right.set_ylim(bottom=0)
        for panel in (left, right):
            panel.set_xlabel("epoch")
            panel.grid(visible=True, color=FAINT, linewidth=0.6)
        left.legend()
        return data_uri(figure)
