"""What all plots of a report share: size, colours, marks. Self-contained SVG; equal figures give equal bytes."""

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.contracts import Estimate, printable

INK, FAINT, SIMULATED = "#1d2733", "#c9d1da", "#8a5a00"
WIDTH = 4.6
"""Inches: fills a phone, and stands beside another on a desk."""
COLOURS = {
    "ensemble": "#0072b2", "subject": "#0072b2", "member": "#56b4e9", "incumbent": "#cc79a7", "baseline": "#6b7580",
    "expert": "#009e73", "straight-ahead": "#d55e00",
}  # fmt: skip
"""By role; of Okabe and Ito's palette, which colour-blind people tell apart. `MARKS` says the same by shape."""
MARKS = {
    "ensemble": "o", "subject": "o", "member": "v", "incumbent": "D", "baseline": "s", "expert": "^",
    "straight-ahead": "X",
}  # fmt: skip
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#6b7580")
_LONGEST = 48
DASHES = ("-", "--", "-.", ":")
RC = {
    "svg.hashsalt": "drover", "svg.fonttype": "path", "font.size": 9, "font.family": "DejaVu Sans",
    "axes.edgecolor": FAINT, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 9, "legend.frameon": False,
    "legend.fontsize": 8, "text.parse_math": False, "axes.axisbelow": True, "grid.color": FAINT, "grid.linewidth": 0.6,
}  # fmt: skip


@contextmanager
def drawing(height: float, *, width: float = WIDTH) -> Iterator[tuple[Figure, Axes]]:
    """A figure of one panel, `height` inches high, in the page's style."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        panel = figure.subplots()
        panel.tick_params(length=0)
        yield figure, panel


def data_uri(figure: Figure, *, simulated: bool) -> str:
    """`data:image/svg+xml;base64,...`: as an image, nothing in it can run. A simulated figure says so in the picture
    too, which may be copied out of its page."""
    buffer = io.BytesIO()
    with mpl.rc_context(RC):
        if simulated:
            low = 0.13 / float(figure.get_figheight())  # the mark stands below everything
            figure.set_layout_engine("constrained", rect=(0, low, 1, 1 - low))
            figure.text(0.998, 0.004, "simulated", ha="right", va="bottom", fontsize=6.5, color=SIMULATED)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def whisker(panel: Axes, estimate: Estimate, y: float, colour: str, mark: str = "o") -> None:
    """Value and interval, lying; hollow and without an interval where one unit is behind it."""
    alone = estimate.n < 2
    if not alone:
        panel.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=2, solid_capstyle="round")
    panel.plot(
        [estimate.value], [y], mark, color=colour, markersize=5, fillstyle="none" if alone else "full", clip_on=False
    )


def band(
    panel: Axes, xs: Sequence[float], estimates: Sequence[Estimate], *, colour: str, mark: str = "o", label: str = ""
) -> None:
    """A line of values with its intervals as a band."""
    panel.fill_between(
        xs, [item.low for item in estimates], [item.high for item in estimates], color=colour, alpha=0.18, linewidth=0
    )
    panel.plot(xs, [item.value for item in estimates], f"{mark}-", color=colour, markersize=3.5, label=label)


def from_zero(panel: Axes) -> None:
    """The x axis begins just left of 0, with room for the mark of a perfect figure."""
    panel.set_xlim(left=-0.02 * panel.get_xlim()[1])
    panel.locator_params(axis="x", nbins=6)
    panel.grid(visible=True, axis="x")


def written(name: str) -> str:
    """A name as a label: printable, and short enough to leave the panel its room."""
    shown = printable(name)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
