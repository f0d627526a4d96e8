"""The page over all batches, and the heat map of the collection. Nothing is fetched, nothing runs."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from components.contracts import printable_value

from ._coverage import CellCount, Coverage
from ._drawing import KINDS, drift_line, outcome_bars, spark
from ._trend import LAST, BatchFigures, condensed

_POINTS = 48
_LATEST = 30
_NEXT = 12
_DRIFTS = (
    ("brightness", "Brightness, 0 to 255"),
    ("sharpness", "Sharpness, 0 to 1"),
    ("seconds", "Duration of an episode, s"),
)
_HERE = Path(__file__).parent
TEMPLATES = Environment(
    loader=FileSystemLoader(_HERE),
    autoescape=True,
    finalize=printable_value,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
STYLE = Markup((_HERE / "page.css").read_text(encoding="utf-8"))  # noqa: S704 - a file of ours


def trend_page(batches: Sequence[BatchFigures]) -> bytes:
    """Rates of every rule, outcomes and drift, as one self-contained page."""
    points = condensed(batches, _POINTS)
    total = condensed(batches, 1)[0] if batches else None
    drifts = [(title, figure) for name, title in _DRIFTS if (figure := drift_line(points, name))]
    return (
        TEMPLATES.get_template("trend.html.j2")
        .render(
            style=STYLE,
            batches=batches,
            points=points,
            total=total,
            last=LAST,
            unreadable=sum(total.refused.values()) if total else 0,
            kinds=KINDS,
            outcomes=outcome_bars(points),
            rules=_rules(points, total) if total else [],
            drifts=drifts,
            robots=sorted(total.by_robot.items()) if total else [],
            latest=list(reversed(batches))[:_LATEST],
        )
        .encode()
    )


def _rules(points: Sequence[BatchFigures], total: BatchFigures) -> list[dict[str, object]]:
    def share(item: BatchFigures, rule: str) -> float:
        uploads = item.episodes + sum(item.refused.values())
        return (item.by_rule.get(rule, 0) + item.refused.get(rule, 0)) / max(uploads, 1)

    counts = {
        rule: total.by_rule.get(rule, 0) + total.refused.get(rule, 0) for rule in {*total.by_rule, *total.refused}
    }
    top = max((share(item, rule) for item in points for rule in counts), default=1.0)
    return [
        {
            "name": rule,
            "top": top,
            "count": count,
            "share": share(total, rule),
            "latest": share(points[-1], rule),
            "spark": spark([share(item, rule) for item in points], top),
        }
        for rule, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    ]


def coverage_page(found: Coverage) -> bytes:
    """A heat map of scenario by distance and position, one for each pattern, and what to record next."""
    return (
        TEMPLATES.get_template("coverage.html.j2")
        .render(style=STYLE, found=found, next=found.next(_NEXT), heats=_heats(found))
        .encode()
    )


def _heats(found: Coverage) -> list[dict[str, object]]:
    axes = found.plan.axes
    counts = {item.cell: item for item in found.cells}
    positions: tuple[str | None, ...] = axes.positions or (None,)
    distances: tuple[str | None, ...] = axes.distances or (None,)
    heats: list[dict[str, object]] = []
    for pattern in axes.patterns or (None,):
        rows = [
            {
                "name": scenario or "all",
                "fields": [
                    _field(counts[scenario, pattern, distance, position], first=number > 0 and place == 0)
                    for number, distance in enumerate(distances)
                    for place, position in enumerate(positions)
                ],
            }
            for scenario in axes.scenarios or (None,)
        ]
        columns = [position or "" for position in positions]
        heats.append({"title": pattern, "groups": list(axes.distances), "columns": columns, "rows": rows})
    return heats


def _field(item: CellCount, *, first: bool) -> dict[str, object]:
    """Red over yellow to green, light enough for dark words."""
    colour = f"hsl({120 * item.filled:.0f} 60% 78%)" if item.wanted else "#e6e9ed"
    return {"found": item.found, "wanted": item.wanted, "colour": colour, "first": first}
