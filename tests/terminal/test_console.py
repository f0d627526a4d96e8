"""The console: a string is text wherever it stands, and styles are stated in code."""

import io
import re

import pytest
from rich.color import ColorSystem
from rich.padding import Padding
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from components.contracts import printable
from components.terminal import Console, PlainColumn, link, styled
from tests.terminal.hostile import HOSTILE, SHOWN, assert_plain


def printed(*items: object, width: int = 2000) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width)
    for item in items:
        console.print(item)
    return out.getvalue()


def test_messages_cells_headers_and_titles_are_text() -> None:
    table = Table(HOSTILE, title=HOSTILE, caption=HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(styled((HOSTILE, "red"), HOSTILE))
    output = printed(HOSTILE, table, Padding(HOSTILE, 1), link(HOSTILE), styled(HOSTILE, style="bold"))
    assert_plain(output)
    assert output.count(SHOWN) == 10


def test_a_text_made_elsewhere_is_shown_without_control_characters() -> None:
    output = printed(Text(HOSTILE), Text.assemble((HOSTILE, "red")))
    assert all(printable(line) == line for line in output.split("\n"))


def test_a_long_message_stays_one_line_on_a_narrow_console() -> None:
    message = "said " + " " * 40 + "error: all is well"
    assert printed(message, width=20) == f"{message}\n"


def test_width_is_that_of_the_moment_of_printing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    console = Console(file=io.StringIO())
    assert console.width == 200
    monkeypatch.setenv("COLUMNS", "90")
    assert console.width == 90


def test_progress_shows_what_is_done_as_text() -> None:
    out = io.StringIO()
    columns = (PlainColumn("{task.description}"), PlainColumn("{task.fields[note]}"))
    with Progress(*columns, console=Console(file=out, width=2000)) as bars:
        bars.add_task(HOSTILE, note=HOSTILE)
    assert out.getvalue().count(SHOWN) == 2
    assert_plain(out.getvalue())


def test_on_a_terminal_the_only_sequences_are_the_consoles_own() -> None:
    out = io.StringIO()
    console = Console(file=out, width=2000)
    console._color_system = ColorSystem.TRUECOLOR
    console.print(styled((HOSTILE, "bold red"), HOSTILE))
    styles = re.compile(r"\x1b\[[0-9;]*m")
    assert styles.search(out.getvalue())
    assert_plain(styles.sub("", out.getvalue()))
    assert out.getvalue().count(SHOWN) == 2
