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


ADDRESS = "http://127.0.0.1:21052/a-report-with-a-name-that-nobody-would-call-short.html"
DIGEST = "0123456789abcdef" * 4
PATH = "/home/somebody/with-a-long-name/.drover/logs/supervisor.log"


def addresses() -> Table:
    table = Table("part", "where", "digest", "", box=None)
    table.add_row("serving", ADDRESS, DIGEST, f"it does not answer; what it said last is in {PATH}")
    return table


@pytest.mark.parametrize("width", [20, 80, 110, 200])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_table_never_cuts_an_address_a_digest_or_a_path(width: int, is_terminal: bool) -> None:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=is_terminal).print(addresses())
    assert all(word in out.getvalue() for word in (ADDRESS, DIGEST, PATH))


def test_a_table_keeps_to_the_terminal_where_its_words_have_room() -> None:
    table = Table("rule", "expected", box=None)
    table.add_row("side", "an instruction that names the side that the scenario names " * 3)
    assert max(map(len, printed(table, width=80).split("\n"))) <= 80


def test_a_table_in_a_pipe_has_one_line_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    out = io.StringIO()
    Console(file=out).print(addresses())
    assert len(out.getvalue().rstrip("\n").split("\n")) == 2


def test_a_word_without_an_end_does_not_make_a_table_without_one() -> None:
    table = Table("name", box=None)
    table.add_row("x" * 5000)
    assert max(map(len, printed(table, width=80).split("\n"))) < 300
