"""Counts of an import that add up, or an error."""

import pytest

from components.contracts.errors import EpisodeError
from components.episodes.formats._accounting import ImportCounts


def test_what_was_read_is_used_or_dropped_with_a_reason() -> None:
    counts = ImportCounts()
    messages = counts.of("messages")
    messages.declared, messages.read, messages.used = 10, 10, 7
    messages.drop("on other topics", 3)
    messages.drop("damaged", 0)
    assert counts.settle(allow_partial=False) == (messages,)
    assert str(messages) == "messages: 10 declared, 10 read, 7 used, 3 dropped (3 on other topics)"


def test_a_reader_that_loses_sight_of_something_is_found() -> None:
    counts = ImportCounts()
    counts.of("frames").read = 5
    counts.of("frames").used = 4
    with pytest.raises(EpisodeError, match="a fault of this importer") as caught:
        counts.settle(allow_partial=True)
    assert caught.value.rule == "counts"


def test_declared_and_not_read_is_an_error_unless_it_is_allowed() -> None:
    counts = ImportCounts()
    frames = counts.of("frames")
    frames.declared, frames.undeclared, frames.read, frames.used = 9, 2, 8, 8
    with pytest.raises(
        EpisodeError, match=r"declares 11 frames, of which 8 could be read; .*--allow-partial"
    ) as caught:
        counts.settle(allow_partial=False)
    assert caught.value.rule == "partial"
    assert str(counts.settle(allow_partial=True)[0]) == "frames: 11 declared, 8 read, 8 used, 0 dropped, 3 not read"


def test_more_than_declared_and_nothing_declared_are_no_error() -> None:
    counts = ImportCounts()
    counts.of("frames").read = counts.of("frames").used = counts.of("frames").undeclared = 4
    assert str(counts.settle(allow_partial=False)[0]) == "frames: no number declared, 4 read, 4 used, 0 dropped"
    counts.of("frames").declared = 1
    counts.of("frames").undeclared = 0
    assert counts.settle(allow_partial=False)[0].unread == -3
