"""Text of unknown origin: what is replaced, what stays, and that a log's lines are its own."""

import json
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts import printable, printable_json, printable_lines
from tests.terminal.hostile import HOSTILE

_PROCESS = """
import logging, sys, threading
from components.contracts import plain_logs
plain_logs()
logging.basicConfig(format="LOG %(levelname)s %(message)s", level=logging.INFO)
hostile = sys.argv[1]
logging.getLogger("a").warning("%s", hostile)
try:
    raise ValueError(hostile)
except ValueError:
    logging.getLogger("a").exception("caught %s", hostile)
def fail():
    raise KeyError(hostile)
thread = threading.Thread(target=fail)
thread.start()
thread.join()
raise RuntimeError(hostile)
"""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("\u202e\u2066\u200e", "\\u202e\\u2066\\u200e"),
        ("\u200b\u200d\ufeff\u00ad", "\\u200b\\u200d\\ufeff\\xad"),
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),
        ("\U000e0041\ue000\ud800", "\\U000e0041\\ue000\\ud800"),
        ("\u3164\u2800", "\\u3164\\u2800"),
        ("Fahr links, bitte 左へ 🤖 \u00a0 C:\\x [red]", "Fahr links, bitte 左へ 🤖 \u00a0 C:\\x [red]"),
    ],
)
def test_characters_that_are_not_seen_are_shown_as_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_any_text_is_one_line_without_control_and_format_characters(text: str) -> None:
    shown = printable(text)
    assert {unicodedata.category(char) for char in shown}.isdisjoint({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
    assert printable(shown) == shown
    assert len(shown.splitlines()) <= 1


@given(st.text(st.characters()))
def test_json_for_programs_is_plain_and_holds_the_same_value(text: str) -> None:
    document = printable_json(json.dumps({text: [text]}, ensure_ascii=False, indent=1))
    assert json.loads(document) == {text: [text]}
    assert all(printable(line) == line for line in document.split("\n"))


def test_lines_after_the_first_are_indented() -> None:
    assert printable_lines("a\nb\r\nc") == "a\n    b\\r\n    c"


def test_log_lines_and_traces_cannot_be_forged_by_what_they_quote() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROCESS, HOSTILE.replace("\x00", "")], capture_output=True, check=False, timeout=120
    )
    lines = done.stderr.decode().split("\n")
    assert all(printable(line) == line for line in lines)
    begun = [line for line in lines if line and not line.startswith("    ")]
    assert [line.split(" ")[:2] for line in begun] == [["LOG", "WARNING"], ["LOG", "ERROR"]]
    text = "\n".join(lines)
    assert all(f"{kind}: " in text for kind in ("ValueError", "KeyError", "RuntimeError"))
