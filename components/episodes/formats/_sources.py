"""Files and text as other people's programs leave them: side files of macOS, byte-order marks, lines of JSON."""

from collections.abc import Iterator
from pathlib import Path, PurePath


def is_side_file(path: PurePath) -> bool:
    """True for what macOS puts beside the data: `._name` next to each file of a stick, `__MACOSX` in a zip."""
    return path.name.startswith("._") or "__MACOSX" in path.parts


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """The files directly in `folder` whose names end with one of the suffixes, by name; side files are left out."""
    return sorted(
        path for path in folder.iterdir() if path.name.endswith(suffixes) and path.is_file() and not is_side_file(path)
    )


def json_text(data: bytes) -> str:
    """A JSON document's text, with or without a byte-order mark (RFC 8259, 8.1).

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    return data.decode("utf-8-sig")


def json_lines(text: str) -> Iterator[tuple[int, str]]:
    """(line number, line) of lines that hold something. A line feed alone ends one: `str.splitlines` would also part
    U+2028, U+0085 and others, which JSON has unescaped in its strings."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line
