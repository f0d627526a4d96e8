"""Flows log through Prefect's handlers: what they quote is text there too."""

import io
import logging

from prefect.logging.handlers import PrefectConsoleHandler

from components.contracts import plain_logs, printable
from tests.terminal.hostile import HOSTILE


def _fail(text: str) -> None:
    raise ValueError(text)


def test_prefects_console_shows_hostile_words_as_text_and_indents_traces() -> None:
    hostile = HOSTILE.replace(":warning: ", "")  # a name of an emoji becomes one, which is all that is left of markup
    stream = io.StringIO()
    handler = PrefectConsoleHandler(stream=stream, styles={})
    handler.setFormatter(logging.Formatter("LOG %(message)s"))
    logger = logging.getLogger("a flow's")
    logger.propagate = False
    logger.addHandler(handler)
    factory = logging.getLogRecordFactory()
    try:
        plain_logs()
        logger.error("%s", "[red]x[/red] \x1b[2J")
        try:
            _fail(hostile)
        except ValueError:
            logger.exception("it failed")
    finally:
        logging.setLogRecordFactory(factory)
        logger.removeHandler(handler)
    lines = stream.getvalue().rstrip("\n").split("\n")
    assert lines[0] == "LOG [red]x[/red] \\x1b[2J"
    assert [line for line in lines if not line.startswith("    ")] == [lines[0], "LOG it failed"]
    assert printable(hostile).partition("\\n")[0] in stream.getvalue()
    assert all(printable(line) == line for line in lines)
