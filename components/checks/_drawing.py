"""Small pictures as SVG inside a page: no script, no library, the same bytes for the same figures."""

from collections.abc import Sequence

from markupsafe import Markup

from ._trend import BatchFigures, Range

KINDS = (("clean", "#2f8f5b"), ("with a warning", "#dfae35"), ("quarantined", "#c2392f"), ("unreadable", "#5d6877"))
_WIDE, _NARROW, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 400, 190, 46, 20, 10
_INK, _FAINT, _BLUE = "#1d2733", "#dfe5eb", "#1f5fa8"


def outcome_bars(points: Sequence[BatchFigures]) -> Markup:
    """Episodes of each point, stacked by what became of them."""
    stacks = [
        (
            item.episodes - item.with_errors - item.with_warnings,
            item.with_warnings,
            item.with_errors,
            sum(item.refused.values()),
        )
        for item in points
    ]
    most = max((sum(stack) for stack in stacks), default=1) or 1
    parts = _axis(0.0, float(most), points, _WIDE)
    for index, stack in enumerate(stacks):
        below = 0
        for (kind, colour), count in zip(KINDS, stack, strict=True):
            if count:
                top, foot = _y(below + count, 0, most), _y(below, 0, most)
                x, width = _slot(index, len(stacks), _WIDE)
                parts.append(
                    f"<rect x='{x:.1f}' y='{top:.1f}' width='{width:.1f}' height='{foot - top:.1f}' fill='{colour}'>"
                    f"<title>{count} {kind}</title></rect>"
                )
            below += count
    return _svg(parts, "episodes by outcome, batch by batch", _WIDE)


def drift_line(points: Sequence[BatchFigures], name: str) -> Markup | None:
    """Mean of each point, with least to most as a band; None where no batch has it."""
    found = [(index, item.drift[name]) for index, item in enumerate(points) if name in item.drift]
    if not found:
        return None
    low, high = min(item.least for _, item in found), max(item.most for _, item in found)
    if low == high:
        low, high = low - 0.5, high + 0.5
    parts = _axis(low, high, points, _NARROW)

    def at(index: int) -> float:
        x, width = _slot(index, len(points), _NARROW)
        return x + width / 2

    def dots(values: Sequence[tuple[int, float]]) -> str:
        return " ".join(f"{at(index):.1f},{_y(value, low, high):.1f}" for index, value in values)

    most = dots([(index, item.most) for index, item in found])
    least = dots([(index, item.least) for index, item in reversed(found)])
    parts.append(f"<polygon points='{most} {least}' fill='{_BLUE}' fill-opacity='.15'/>")
    parts.append(
        f"<polyline points='{dots([(index, item.mean) for index, item in found])}' fill='none' stroke='{_BLUE}' "
        "stroke-width='2' stroke-linejoin='round'/>"
    )
    parts += [_dot(at(index), _y(item.mean, low, high), item) for index, item in found]
    return _svg(parts, f"{name}: mean, and least to most", _NARROW)


def spark(rates: Sequence[float], top: float) -> Markup:
    """Shares as a row of bars; the full height is `top`."""
    width = 180 / max(len(rates), 1)
    bars = "".join(
        f"<rect x='{index * width:.1f}' y='{22 - max(1.5, 22 * rate / top):.1f}' width='{max(1.0, width - 1):.1f}' "
        f"height='{max(1.5, 22 * rate / top):.1f}'><title>{rate:.0%}</title></rect>"
        for index, rate in enumerate(rates)
        if rate > 0
    )
    base = f"<line x1='0' x2='180' y1='22' y2='22' stroke='{_FAINT}'/>"
    return Markup(  # noqa: S704 - figures of ours alone
        f"<svg viewBox='0 0 180 23' width='180' height='23' fill='{_BLUE}' role='img'>{base}{bars}</svg>"
    )


def _slot(index: int, count: int, wide: int) -> tuple[float, float]:
    whole = (wide - _LEFT - 8) / max(count, 1)
    width = min(whole * 0.8, 48)
    return _LEFT + whole * index + (whole - width) / 2, width


def _y(value: float, low: float, high: float) -> float:
    return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _BOTTOM - _TOP)


def _axis(low: float, high: float, points: Sequence[BatchFigures], wide: int) -> list[str]:
    parts = []
    for value in (low, (low + high) / 2, high):
        y = _y(value, low, high)
        parts.append(f"<line x1='{_LEFT}' x2='{wide}' y1='{y:.1f}' y2='{y:.1f}' stroke='{_FAINT}'/>")
        parts.append(f"<text x='{_LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{value:.3g}</text>")
    for index in sorted({0, len(points) - 1}) if points else ():
        x, width = _slot(index, len(points), wide)
        anchor = "start" if index == 0 else "end"
        moment = f"{points[index].judged_at:%Y-%m-%d %H:%M}"
        edge = x if index == 0 else x + width
        parts.append(f"<text x='{edge:.1f}' y='{_HEIGHT - 4}' text-anchor='{anchor}'>{moment}</text>")
    return parts


def _dot(x: float, y: float, figure: Range) -> str:
    said = f"{figure.mean:.3g}, {figure.least:.3g} to {figure.most:.3g}, n={figure.count}"
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{_BLUE}'><title>{said}</title></circle>"


def _svg(parts: Sequence[str], label: str, wide: int) -> Markup:
    return Markup(  # noqa: S704 - figures and names of ours alone
        f"<svg viewBox='0 0 {wide} {_HEIGHT}' role='img' aria-label='{label}' font-size='12' fill='{_INK}'>"
        f"{''.join(parts)}</svg>"
    )
