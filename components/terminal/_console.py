"""Rich's console, with `printable` between every string and the terminal."""

import sys
from collections.abc import Iterable
from typing import IO, Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.progress import ProgressColumn, Task
from rich.segment import Segment
from rich.style import Style
from rich.table import Column, Table
from rich.text import Text

from components.contracts import printable, printable_json

from ._tables import fit_columns


class Console(rich.console.Console):
    """A console on which strings are text: in messages, cells, titles and headers alike.

    Messages are not wrapped: one stays one line, which the terminal folds, so that no part of it stands where a message
    begins. Tables wrap between words within their columns, and not at all in a pipe or a file: an address, a path or a
    digest is of use as a whole alone.
    """

    def __init__(
        self,
        *,
        stderr: bool = False,
        file: IO[str] | None = None,
        width: int | None = None,
        force_terminal: bool | None = None,
    ) -> None:
        super().__init__(
            stderr=stderr,
            file=file,
            width=width,
            force_terminal=force_terminal,
            markup=False,
            emoji=False,
            highlight=False,
        )
        self._width = width  # asked for at each print: Rich keeps the COLUMNS of the moment in which a console is made

    def render_str(self, text: str, **options: Any) -> Text:
        """Rich turns every string into a `Text` here."""
        return super().render_str(
            printable(text), **options | {"markup": False, "emoji": False, "highlight": False, "highlighter": None}
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """A `Text` that was made elsewhere comes past `render_str`, but not past this."""
        for segment in super().render(renderable, options):
            text = segment.text
            if segment.control or text.isprintable() or printable(text.replace("\n", "")) == text.replace("\n", ""):
                yield segment
            else:
                yield Segment("\n".join(map(printable, text.split("\n"))), segment.style)

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """Print; text alone is not wrapped, a table is as wide as its longest words ask for."""
        if soft_wrap is None and objects:
            soft_wrap = all(isinstance(item, str | Text) for item in objects)
        asked, widest = self._width, self.width
        for item in objects:
            if isinstance(item, Table):
                widest = max(widest, fit_columns(item, self, self._table_width()))
        try:
            self.width = widest
            super().print(*objects, soft_wrap=soft_wrap, **options)
        finally:
            self._width = asked

    def _table_width(self) -> int | None:
        """The width that tables keep to; None where nobody sees an edge."""
        return self.width if self.is_terminal or self._width is not None else None


class PlainColumn(ProgressColumn):
    """A column of a progress display: a format of `task`, whose values are text."""

    def __init__(self, text_format: str) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._format = text_format

    def render(self, task: Task) -> Text:
        return Text(printable(self._format.format(task=task)))


def styled(*parts: str | tuple[str, str] | Text, style: str = "") -> Text:
    """Text of several parts, each a string, a string with its style, or a styled text."""
    shown = [
        part if isinstance(part, Text) else printable(part) if isinstance(part, str) else (printable(part[0]), part[1])
        for part in parts
    ]
    return Text.assemble(*shown, style=style)


def link(url: str) -> Text:
    """An address that a terminal opens."""
    shown = printable(url)
    return Text(shown, style=Style(link=shown))


def echo(text: str) -> None:
    """One line on standard output, for programs: no style, no wrapping."""
    sys.stdout.write(f"{printable(text)}\n")


def echo_json(document: str) -> None:
    """A JSON document on standard output, for programs."""
    sys.stdout.write(f"{printable_json(document)}\n")
