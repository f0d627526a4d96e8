"""Prefect's UI reads Markdown in descriptions and in cells: what robots and gates say is none."""

from html import unescape

import pytest
from markdown_it import MarkdownIt

from components.contracts import printable
from flows._artifacts import _plain, _plain_row
from tests.terminal.hostile import HOSTILE


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "[x](javascript:alert(1)) ![x](https://evil.example/i.png) [a]: https://evil.example",
        "<img src=x onerror=alert(1)> <https://evil.example> &lt;b&gt;",
        "https://evil.example www.evil.example me@evil.example",
        "# title", "- item", "+ item", "* item", "1. item", "1) item", "> quote", "    code", "---", "===", "~~~",
        "```", "a|b|c", "`code` **bold** _slanted_ __bold__ ~~gone~~", "\\[x](y) \\<b>",
        "1box_vert_left at robot-1, 0.5",
        "line\n\n# title",
    ],
)  # fmt: skip
def test_text_of_unknown_origin_is_one_paragraph_of_itself(text: str) -> None:
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    shown = markdown.render(_plain(text)).removesuffix("\n")
    assert shown.startswith("<p>")
    assert shown.endswith("</p>")
    assert "<" not in shown[3:-4]
    assert unescape(shown[3:-4]) == printable(text).strip()


def test_addresses_do_not_become_links_by_themselves() -> None:
    shown = _plain("https://evil.example www.evil.example me@evil.example")
    assert not any(part in shown for part in ("https://", "www.", "e@"))


def test_cells_that_are_no_text_stay() -> None:
    assert _plain_row({"a": True, "b": 1.5, "c": "<b>"}) == {"a": True, "b": 1.5, "c": "\\<b\\>"}
