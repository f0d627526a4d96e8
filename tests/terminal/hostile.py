"""Text as robots, files and servers may send it, and the ways in which it must not come out."""

from components.contracts import printable

HOSTILE = (
    "[red]x[/red] [/] [link=https://evil.example]l[/link] :warning: <b>b</b> "
    "\x1b[2J\x1b]0;t\x07 \x9b31m \x7f\x00\r \u202eevil\u2066 \u200b\ufeff\u2028\x85 \U000e0041\n"
    "error: forged\tline"
)
SHOWN = printable(HOSTILE)


def assert_plain(output: str) -> None:
    """Nothing in it but lines of characters that are seen as themselves."""
    for line in output.split("\n"):
        assert printable(line) == line
        assert not line.startswith("error: forged")
