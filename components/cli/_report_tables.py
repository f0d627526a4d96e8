"""Reports as tables of the terminal: every figure with its interval, simulated ones marked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from components.terminal import styled

if TYPE_CHECKING:
    from components.contracts import Estimate, EvaluationReport
    from components.evaluation import Board, Versus

_NONE = "-"
_ON_FRAMES = (("MAE", "mae", 3), ("key accuracy", "key-accuracy", 2), ("macro-F1", "macro-f1", 2),
              ("within 0.15", "within-0.15", 2), ("Brier", "brier", 3), ("ECE", "ece", 3))  # fmt: skip
_IN_ROOMS = (("success", "success", 2), ("right side", "right-side", 2), ("collisions", "collisions", 2),
             ("SPL", "spl", 2), ("steps", "steps", 1))  # fmt: skip


def _table(title: str, columns: Sequence[str], *, simulated: bool) -> Table:
    """The first column is words, the others are figures. Names come from elsewhere: they are text, never markup."""
    heading = styled((title, "bold"), (" simulated", "yellow") if simulated else "")
    table = Table(title=heading, title_justify="left", box=None, header_style="dim", title_style="")
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    return table


def _figure(estimate: "Estimate | None", digits: int, *, sign: bool = False) -> Text:
    from components.evaluation import words

    return styled(_NONE if estimate is None else words(estimate, digits, sign=sign))


def scores(report: "EvaluationReport") -> Table:
    """Everybody on the test frames, lowest error first."""
    found = [(title, report.find(name), digits) for title, name, digits in _ON_FRAMES]
    shown = [(title, metric, digits) for title, metric, digits in found if metric]
    title = f"Leaderboard, n={report.episodes} episodes"
    table = _table(title, ["policy", *(title for title, _, _ in shown)], simulated=report.simulated)
    for score in sorted(report.scores, key=lambda score: score.mae.value):
        figures = [_figure(metric.figures.get(score.name), digits) for _, metric, digits in shown]
        table.add_row(score.name, *figures, style="bold" if score.name == report.subject else "")
    return table


def closed_loop(report: "EvaluationReport") -> Table | None:
    """Everybody in the unshifted rooms."""
    found = [(title, report.find(name), digits) for title, name, digits in _IN_ROOMS]
    shown = [(title, metric, digits) for title, metric, digits in found if metric]
    if not shown:
        return None
    rooms = report.closed_loop[0].success.n
    table = _table(f"Closed loop, n={rooms} rooms", ["driver", *(title for title, _, _ in shown)], simulated=True)
    for score in report.closed_loop:
        figures = [_figure(metric.figures.get(score.name), digits) for _, metric, digits in shown]
        table.add_row(score.name, *figures, style="bold" if score.role == "subject" else "")
    return table


def paired_trials(report: "EvaluationReport") -> Table | None:
    """The subject against everybody else, room by room."""
    if not report.paired_trials:
        return None
    columns = ("against", "difference", "it alone", "other alone", "McNemar p", "e better", "e worse", "decided")
    table = _table(f"{report.subject} room by room", columns, simulated=True)
    for pair in report.paired_trials:
        decided = pair.decided if pair.decided_after is None else f"{pair.decided} after {pair.decided_after}"
        table.add_row(
            pair.reference, _figure(pair.difference, 2, sign=True), str(pair.subject_only),
            str(pair.reference_only), _NONE if pair.p_value is None else f"{pair.p_value:.2g}",
            f"{pair.e_better:.3g}", f"{pair.e_worse:.3g}", decided,
        )  # fmt: skip
    return table


def shifts(report: "EvaluationReport") -> Table | None:
    """What each change of room or robot does to the subject."""
    if not report.shifts:
        return None
    table = _table("When room or robot change", ("change", "success", "loss", "n", "what"), simulated=True)
    table.columns[-1].justify = "left"
    for item in report.shifts:
        rate = report.find("success", shift=item.shift)
        surely = item.loss.surely_positive
        table.add_row(
            item.shift, _figure(rate.figures.get(report.subject) if rate else None, 2),
            styled(_figure(item.loss, 2, sign=True), style="red" if surely else ""), str(item.loss.n), item.what,
        )  # fmt: skip
    return table


def side_by_side(found: "Versus") -> Table:
    """Two reports' subjects. Figures on frames and in rooms as each report has them."""
    table = Table(box=None, header_style="dim")
    for name in ("", "A", "B"):
        table.add_column(name, justify="left" if not name else "right")
    both = (found.first, found.second)
    table.add_row("report", *(report.digest()[:12] for report in both))
    table.add_row("subject", *(report.subject for report in both))
    table.add_row("dataset", *(report.dataset[:12] for report in both))
    for rows, simulated in ((_ON_FRAMES, any(report.simulated for report in both)), (_IN_ROOMS, True)):
        for title, name, digits in rows:
            metrics = [report.find(name) for report in both]
            figures = [
                metric.figures.get(report.subject) if metric else None
                for metric, report in zip(metrics, both, strict=True)
            ]
            if any(figures):
                label = styled(title, (" simulated", "yellow") if simulated else "")
                table.add_row(label, *(_counted(figure, digits) for figure in figures))
    return table


def _counted(figure: "Estimate | None", digits: int) -> Text:
    return _figure(figure, digits).append(f" n={figure.n}", "dim") if figure else styled(_NONE)


def board(item: "Board") -> Table:
    """One dataset's ranking."""
    columns = ("rank", "subject", "report", "MAE", "n", "not told apart from", "success (simulated)")
    table = _table(f"Dataset {item.dataset[:12]}", columns, simulated=item.simulated)
    table.columns[1].justify = "left"
    for row in item.standings:
        report = row.report
        driven = report.find("success")
        table.add_row(
            str(row.rank), report.subject, report.digest()[:12], _figure(row.mae, 3), str(row.mae.n),
            ", ".join(map(str, row.tied)) or _NONE, _figure(driven.figures.get(report.subject) if driven else None, 2),
        )  # fmt: skip
    table.add_row(
        "",
        item.baseline,
        "baseline",
        _figure(item.baseline_mae, 3),
        str(item.baseline_mae.n),
        "",
        "",
        style="dim",
    )
    return table
