"""The parts' log files: `<home>/logs/<part>.log`, and `<part>.log.1` before it."""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_BLOCK = 64 * 1024
_LONGEST_LINE = 1024 * 1024
"""Bytes; a longer line is given out in pieces."""


def log_files(home: Path) -> dict[str, Path]:
    """Part -> its log, by name."""
    return {path.stem: path for path in sorted((home / "logs").glob("*.log")) if path.is_file()}


def last_lines(path: Path, count: int) -> list[str]:
    """The newest lines, the newest last; those of the file before it where this one has too few."""
    before = path.with_name(f"{path.name}.1")
    found: deque[str] = deque(maxlen=count)
    for file in (before, path):
        if file.exists():
            with file.open("rb") as opened:
                _skip_to_last(opened, count)
                found.extend(_decoded(opened))
    return list(found)


class Tail:
    """What is written to a log from now on, through the change to a new file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._file.seek(0, os.SEEK_END)
        self._rest = b""

    def __enter__(self) -> "Tail":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def new_lines(self) -> Iterator[str]:
        """Whole lines that came since the last call."""
        yield from self._read()
        if self._is_another():
            self._file.close()
            self._file = self._path.open("rb")
            yield from self._read()

    def _read(self) -> Iterator[str]:
        while block := self._file.read(_BLOCK):
            *lines, self._rest = (self._rest + block).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
            if len(self._rest) > _LONGEST_LINE:
                yield self._rest.decode(errors="replace")
                self._rest = b""

    def _is_another(self) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:  # renamed, and not there again yet
            return False
        opened = os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino)


def _skip_to_last(file: IO[bytes], count: int) -> None:
    """Go to where the last `count` lines begin."""
    position = file.seek(0, os.SEEK_END)
    ends = 0
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        for offset in range(size - 1, -1, -1):
            if block[offset : offset + 1] == b"\n":
                ends += 1
                if ends > count:
                    file.seek(position + offset + 1)
                    return
    file.seek(0)


def _decoded(file: IO[bytes]) -> Iterator[str]:
    while line := file.readline(_LONGEST_LINE):
        yield line.rstrip(b"\n").decode(errors="replace")
