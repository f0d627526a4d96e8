"""Plots of how sure a policy is, what its members' disagreement is worth, and what it does without a sense."""

from collections.abc import Sequence

from components.contracts import Ablation, Disagreement, Reliability

from ._plots import COLOURS, FAINT, INK, band, data_uri, drawing, whisker, written

_WRONG = "#d55e00"


def reliability(item: Reliability, *, simulated: bool) -> str:
    """Share of right keys by stated probability. A policy that knows what it knows lies on the line."""
    with drawing(3.3, width=3.8) as (figure, panel):
        panel.plot([0, 1], [0, 1], "--", color=FAINT)
        for part in item.bins:
            panel.plot([part.confidence] * 2, [part.accuracy.low, part.accuracy.high], color=COLOURS["subject"])
            panel.plot([part.confidence], [part.accuracy.value], "o", color=COLOURS["subject"], markersize=5)
            panel.annotate(
                str(part.frames), (part.confidence, part.accuracy.high), textcoords="offset points", xytext=(0, 3),
                ha="center", fontsize=7, annotation_clip=False,
            )  # fmt: skip
        panel.set_xlim(0, 1.02)
        panel.set_ylim(0, 1.08)
        panel.grid(visible=True)
        panel.set_xlabel("stated probability of the likeliest key")
        panel.set_ylabel("share that was pressed")
        return data_uri(figure, simulated=simulated)


def risk_coverage(item: Disagreement, *, simulated: bool) -> str | None:
    """Key accuracy on the frames on which members agree most, by their share of all frames."""
    if not item.risk:
        return None
    points = sorted(item.risk, key=lambda point: point.coverage)
    with drawing(3.3, width=3.8) as (figure, panel):
        band(
            panel, [point.coverage for point in points], [point.key_accuracy for point in points],
            colour=COLOURS["subject"],
        )  # fmt: skip
        panel.set_xlim(0, 1.02)
        panel.grid(visible=True)
        panel.set_xlabel("share of frames, those with most agreement first")
        panel.set_ylabel("key accuracy on them")
        return data_uri(figure, simulated=simulated)


def novelty(item: Disagreement) -> str | None:
    """By shift, how well disagreement tells its frames from unshifted ones. Always simulated."""
    if not item.novelty:
        return None
    with drawing(0.27 * len(item.novelty) + 0.75) as (figure, panel):
        rows = range(len(item.novelty))[::-1]
        panel.axvline(0.5, linestyle="--", color=INK, linewidth=0.8)
        for shift, y in zip(item.novelty, rows, strict=True):
            whisker(panel, shift.auroc, y, COLOURS["subject"])
        panel.set_yticks(list(rows), [written(shift.shift) for shift in item.novelty])
        panel.set_xlim(min(0.3, *(shift.auroc.low for shift in item.novelty)), 1.02)
        panel.grid(visible=True, axis="x")
        panel.set_xlabel("AUROC of disagreement; 0.5 is chance")
        return data_uri(figure, simulated=True)


def ablations(items: Sequence[Ablation], *, simulated: bool) -> str | None:
    """By how much the MAE rises without a sense; grey where it was expected to stay."""
    if not items:
        return None
    with drawing(0.3 * len(items) + 0.75) as (figure, panel):
        rows = range(len(items))[::-1]
        panel.axvline(0, color=INK, linewidth=0.8)
        for item, y in zip(items, rows, strict=True):
            if item.expects == "stays":
                panel.plot([-item.margin, item.margin], [y, y], color=FAINT, linewidth=11, solid_capstyle="butt")
            whisker(panel, item.mae_loss, y, COLOURS["subject"] if item.held else _WRONG, "o" if item.held else "X")
        panel.set_yticks(list(rows), [written(item.name) for item in items])
        panel.grid(visible=True, axis="x")
        panel.locator_params(axis="x", nbins=5)
        panel.set_xlabel("rise of the mean absolute error")
        return data_uri(figure, simulated=simulated)
