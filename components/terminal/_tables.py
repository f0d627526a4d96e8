"""Widths of a table's columns: text wraps between words, and a word (an address, a path, a digest) is never cut."""

from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table

_ENDLESS = 100_000
_LONGEST_WORD = 256
"""More in one word is no address of ours; it is cut into lines of its column."""


def fit_columns(table: Table, console: Console, width: int | None) -> int:
    """Set the widths of the table's columns, and return the table's.

    The widest columns give way first, each down to its longest word (a column that does not wrap: not at all). Where
    all of them have given what they can, the table is wider than asked for: a terminal folds its lines then.

    Args:
        table: Is changed.
        console: Measures.
        width: To keep to; None: as wide as it is.
    """
    options = console.options.update(width=_ENDLESS)
    measured = [_measure(table, index, console, options) for index in range(len(table.columns))]
    widths = [item.maximum for item in measured]
    least = [
        min(item.maximum if column.no_wrap else item.minimum, _LONGEST_WORD)
        for item, column in zip(measured, table.columns, strict=True)
    ]
    around = Measurement.get(console, options, table).maximum - sum(widths)
    while width is not None and sum(widths) + around > width:
        room = [now if now > low else 0 for now, low in zip(widths, least, strict=True)]
        if not any(room):
            break
        widths[room.index(max(room))] -= 1
    for column, given in zip(table.columns, widths, strict=True):
        column.width = max(given, 1)
    return sum(max(given, 1) for given in widths) + around


def _measure(table: Table, index: int, console: Console, options: ConsoleOptions) -> Measurement:
    """The longest word and the longest line of a column's cells."""
    column = table.columns[index]
    cells = [column.header, *column.cells] if table.show_header else list(column.cells)
    found = [Measurement.get(console, options, cell) for cell in cells]
    return Measurement(
        max((item.minimum for item in found), default=0), max((item.maximum for item in found), default=0)
    )
