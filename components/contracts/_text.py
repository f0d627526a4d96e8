"""Text of unknown origin as text that is only read: by people on terminals, in logs and on pages.

Robots, files and servers choose instructions, sessions, names, reasons and error messages. A terminal obeys escape
sequences in them, a viewer of logs takes a line break for the next entry, and a bidirectional override shows words in
another order than they are stored. `printable` is the one helper against all of it; `components.terminal` applies it
to whatever a console prints, `plain_logs` to whatever a process logs, and the pages' templates to whatever they show.

What is not covered: letters that look alike, and right-to-left letters themselves. They are shown as what they are.
"""

import json
import logging
import sys
import threading
import traceback
import unicodedata
from types import TracebackType
from typing import Any

_CONTINUED = "    "
_SEEN_AS_NOTHING = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Letters and marks by category, yet drawn as nothing or as a blank (Unicode's Default_Ignorable_Code_Point)."""


def printable(text: str) -> str:
    """The text with each character that is not seen as itself replaced by its Python escape, e.g. `\\x1b`, `\\n`.

    Replaced are the categories of control (C0, DEL, C1), format (zero-width, bidirectional), surrogate, private use and
    unassigned code points, line and paragraph separators, and letters that are drawn as nothing. Spaces of all widths
    and a backslash stay: the result is for people, and cannot be read back.
    """
    if text.isprintable() and _SEEN_AS_NOTHING.isdisjoint(text):
        return text
    return "".join(char if _is_seen(char) else char.encode("unicode_escape").decode("ascii") for char in text)


def printable_value(value: Any) -> Any:
    """Render a value for a page's template: a string is printable, markup of ours and figures stay."""
    return printable(value) if type(value) is str else value  # markup is a subclass of str


def printable_lines(text: str) -> str:
    """The same for text of several lines: they stay lines, and each but the first is indented, so that none of them can
    be taken for the beginning of another message."""
    return f"\n{_CONTINUED}".join(map(printable, text.split("\n")))


def printable_json(document: str) -> str:
    """A JSON document with the same characters replaced by JSON's own escapes: a program reads the same values."""
    return "".join(char if char == "\n" or _is_seen(char) else json.dumps(char)[1:-1] for char in document)


def _is_seen(char: str) -> bool:
    return (char.isprintable() or unicodedata.category(char) == "Zs") and char not in _SEEN_AS_NOTHING


class _PlainRecord(logging.LogRecord):
    """A record whose message and exception are printable, whatever handlers and formatters of other packages do."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if isinstance(self.exc_info, tuple) and self.exc_info[0] is not None:
            self.exc_text = _trace(self.exc_info[1])  # formatters use it instead of making their own

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        return printable_lines(super().getMessage())


def plain_logs() -> None:
    """Make every log record of this process, and the traces of what nobody catches, printable.

    Each process calls it first. Lines after a message's first one, and all of a trace, are indented.
    """
    logging.setLogRecordFactory(_PlainRecord)
    sys.excepthook = _uncaught
    threading.excepthook = lambda thread: _uncaught(thread.exc_type, thread.exc_value, thread.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, _: TracebackType | None) -> None:
    if error is not None and not issubclass(kind, SystemExit):
        sys.stderr.write(_trace(error) + "\n")


def _trace(error: BaseException | None) -> str:
    lines = "".join(traceback.format_exception(error)).rstrip("\n")
    return _CONTINUED + printable_lines(lines)
