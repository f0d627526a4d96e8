"""Edits: nothing is overwritten, the later wins, deletion removes no byte, and a dataset sees every one."""

import threading
from pathlib import Path

import pytest

from components.contracts import EpisodeRecord
from components.contracts.errors import DatasetError
from components.datasets import (
    EpisodeFilter,
    catalogue,
    choose,
    curate,
    edit_episode,
    edit_history,
    figures,
    find_episode,
)
from components.storage import FolderStore
from tests.datasets.records import BEGAN, made

WHY = {"reason": "the operator said so", "by": "kim"}
RIGHT = "Navigate around the single box obstacle by going right to reach the cup"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def records() -> list[EpisodeRecord]:
    return [made(number) for number in range(16)]


def test_the_later_edit_wins_field_by_field_and_the_history_keeps_all(
    store: FolderStore, records: list[EpisodeRecord]
) -> None:
    first = records[0]  # 1box_vert_left
    edit_episode(store, first, scenario="1box_hori_left", **WHY)
    edit_episode(store, first, instruction="Go left", **WHY)
    edit_episode(store, first, instruction="Go left of the box", **WHY)

    curated = curate(store, records)

    assert curated[0].summary.scenario == "1box_hori_left"
    assert curated[0].summary.instruction == "Go left of the box"
    assert curated[0].file == first.file
    assert curated[1:] == records[1:]
    history = edit_history(store, first.file.sha256)
    assert [edit.number for edit in history] == [1, 2, 3]
    assert [edit.instruction for edit in history] == [None, "Go left", "Go left of the box"]
    assert {edit.by for edit in history} == {"kim"}


def test_a_history_of_more_than_nine_edits_stays_in_order(store: FolderStore, records: list[EpisodeRecord]) -> None:
    for number in range(12):
        edit_episode(store, records[0], instruction=f"Go left, try {number}", **WHY)

    assert curate(store, records)[0].summary.instruction == "Go left, try 11"


def test_a_deleted_episode_leaves_datasets_and_comes_back(store: FolderStore, records: list[EpisodeRecord]) -> None:
    edit_episode(store, records[3], excluded=True, **WHY)
    assert curate(store, records) == records[:3] + records[4:]

    edit_episode(store, records[3], excluded=False, **WHY)
    assert curate(store, records) == records
    assert [edit.excluded for edit in edit_history(store, records[3].file.sha256)] == [True, False]


def test_an_edit_that_changes_nothing_is_not_written(store: FolderStore, records: list[EpisodeRecord]) -> None:
    assert edit_episode(store, records[0], scenario=records[0].summary.scenario, **WHY) is None
    assert edit_episode(store, records[0], excluded=False, **WHY) is None
    assert list(store.list("datasets")) == []


def test_a_change_that_is_taken_back_gives_the_records_of_before(
    store: FolderStore, records: list[EpisodeRecord]
) -> None:
    before = records[0].summary.instruction
    edit_episode(store, records[0], instruction="Go left", **WHY)
    edit_episode(store, records[0], instruction=before, **WHY)

    assert curate(store, records) == records


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"instruction": "  "}, "instruction: expected one line"),
        ({"instruction": "über"}, None),
        ({"instruction": "ёж"}, "words of a-z"),
        ({"instruction": "go left\nand on"}, "instruction: expected one line"),
        ({"instruction": "left " * 200}, "at most 512"),
        ({"scenario": "3box_vert_left"}, "scenario: expected one of 1box_vert_left"),
        ({"instruction": RIGHT}, "expected an instruction that says left"),
        ({"scenario": "1box_vert_right"}, f"--instruction '{RIGHT}'"),
        ({"scenario": "1box_vert_right", "instruction": RIGHT}, None),
        ({"excluded": True, "reason": " "}, "reason: String should have at least 1 character"),
        ({"excluded": True, "by": "x" * 65}, "by: "),
    ],
)
def test_a_bad_edit_is_refused_and_not_written(
    store: FolderStore, records: list[EpisodeRecord], fields: dict[str, str], message: str | None
) -> None:
    if message is None:
        assert edit_episode(store, records[0], **(WHY | fields))
        return
    with pytest.raises(DatasetError) as caught:
        edit_episode(store, records[0], **(WHY | fields))
    assert message in str(caught.value)
    assert list(store.list("datasets")) == []


def test_of_writers_at_once_one_wins_each_number_and_the_others_are_told(
    store: FolderStore, records: list[EpisodeRecord]
) -> None:
    together, won, told = threading.Barrier(8), [], []

    def write(number: int) -> None:
        together.wait()
        try:
            won.append(edit_episode(store, records[0], instruction=f"Go left, writer {number}", **WHY))
        except DatasetError as error:
            told.append(str(error))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) + len(told) == 8
    assert won
    assert all("somebody else edited it in the same moment" in text for text in told)
    written = sorted(edit_history(store, records[0].file.sha256), key=lambda edit: edit.number)
    assert [edit.number for edit in written] == list(range(1, len(won) + 1))
    assert {edit.instruction for edit in written} == {edit.instruction for edit in won if edit}


def test_an_episode_is_found_by_prefix_name_and_robot_with_name(
    store: FolderStore, records: list[EpisodeRecord]
) -> None:
    entries = catalogue(store, records)
    wanted = records[5]
    for said in (
        wanted.file.sha256[:10], wanted.file.sha256.upper(), wanted.summary.name, f"{wanted.summary.name}.h5",
        f"{wanted.summary.robot}/{wanted.summary.name}",
    ):  # fmt: skip
        assert find_episode(entries, said).record == wanted


def test_an_ambiguous_or_unknown_episode_lists_candidates(store: FolderStore) -> None:
    same = made(1).summary.name
    entries = catalogue(store, [made(number, name=same, robot=f"r{number}") for number in range(12)])

    with pytest.raises(DatasetError, match="means 12 episodes") as caught:
        find_episode(entries, same)
    assert "and 4 more" in str(caught.value)
    for unknown in ("nobody", "ffff0000ffff", "ab", ""):
        with pytest.raises(DatasetError, match="there is no episode"):
            find_episode(entries, unknown)


def test_filters_let_through_what_they_say(store: FolderStore) -> None:
    records = [made(number, warnings=("blur: expected 1, found 2",) if number == 2 else ()) for number in range(16)]
    records.append(made(99, collected_at=None, source="donkey", scenario=None, instruction=""))
    edit_episode(store, records[0], instruction="Keep to the LEFT hand", **WHY)
    edit_episode(store, records[1], excluded=True, **WHY)
    entries = catalogue(store, records)

    def kept(**fields: object) -> set[int]:
        chosen = choose(store, entries, EpisodeFilter.model_validate(fields))
        return {records.index(entry.record) for entry in chosen}

    everything = set(range(17))
    assert kept() == everything - {1}
    assert kept(excluded="only") == {1}
    assert kept(excluded="any") == everything
    assert kept(robots=["robot-2"]) == {4, 5, 6, 7}
    assert kept(robots=["robot-?"], sessions=["s0", "s1"]) == {0, 2, 3, 4, 5, 6, 7}
    assert kept(scenarios=["2box_*_left"]) == {4, 6, 12, 14}
    assert kept(patterns=["variant"]) == {2, 5, 8, 11, 14}
    assert kept(sources=["donkey"]) == {16}
    assert kept(text="left hand") == {0}
    assert kept(warnings=["blur"]) == kept(warnings=["any"]) == {2}
    assert kept(warnings=["frozen"]) == set()
    assert kept(edited=True) == {0}
    assert kept(since=BEGAN.replace(minute=14)) == {14, 15}
    assert kept(until=BEGAN.replace(minute=2)) == {0}
    with pytest.raises(DatasetError, match="expected the dataset whose split"):
        kept(split="train")
    with pytest.raises(DatasetError, match="no dataset"):
        kept(dataset="abcd")


def test_figures_count_what_the_records_say(store: FolderStore) -> None:
    records = [made(number) for number in range(6)]
    records.append(made(6, key_counts=None, stated_duration_s=None, warnings=("blur: a", "blur: b", "dark: c")))
    edit_episode(store, records[0], instruction="Go left", **WHY)
    edit_episode(store, records[1], excluded=True, **WHY)

    told = figures(catalogue(store, records))

    assert (told.episodes, told.excluded, told.frames, told.bytes) == (7, 1, 7 * 18, 7000)
    assert told.hours == pytest.approx(6 * 36 / 3600)
    assert (told.without_duration, told.without_keys) == (1, 1)
    assert told.keys == {"W": 60, "E": 42}
    assert told.warned == {"blur": 1, "dark": 1}
    assert told.sessions == {"robot-1/s0": 4, "robot-2/s1": 3}
    assert told.patterns == {"core": 5, "variant": 2}
    assert told.actions["linear_y"] == (-1.15, 0.0)
    assert told.vocabulary["cup"] == 6
    assert told.vocabulary["left"] == 4
    assert figures([]).actions == {}
