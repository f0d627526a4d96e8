from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts.errors import EpisodeError
from components.episodes import (
    DISTANCES,
    KEYS,
    MAX_TOKENS,
    PATTERNS,
    SCENARIOS,
    WORDINGS,
    instruction_for,
    key_of,
    make_name,
    mirror_actions,
    mirror_instruction,
    mirror_scenario,
    paraphrase,
    parse_name,
    tokenize,
    words,
)


def test_a_published_name_gives_all_its_parts() -> None:
    parts = parse_name("episode_20250815_103000_1box_vert_left_core_medium.h5")
    assert parts.recorded_at == datetime(2025, 8, 15, 10, 30, tzinfo=UTC)
    assert (parts.scenario, parts.pattern, parts.distance) == ("1box_vert_left", "core", "medium")


@given(
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2099, 1, 1)),  # noqa: DTZ001
    st.sampled_from(SCENARIOS),
    st.sampled_from(PATTERNS),
    st.sampled_from(DISTANCES),
    st.sampled_from(["", "r1", "0004"]),
)
def test_a_made_name_is_read_back(moment: datetime, scenario: str, pattern: str, distance: str, suffix: str) -> None:
    moment = moment.replace(tzinfo=UTC, microsecond=0)
    parts = parse_name(make_name(moment, scenario, pattern, distance, suffix))
    assert (parts.recorded_at, parts.scenario, parts.pattern, parts.distance) == (moment, scenario, pattern, distance)


def test_a_name_without_pattern_keeps_its_scenario() -> None:
    parts = parse_name("episode_20250815_103000_2box_hori_right")
    assert (parts.scenario, parts.pattern, parts.distance) == ("2box_hori_right", None, None)


@given(st.text(max_size=80))
def test_any_text_as_a_name_raises_nothing(name: str) -> None:
    parse_name(name)
    parse_name("episode_" + name)


def test_an_impossible_date_is_no_date() -> None:
    assert parse_name("episode_20251399_996000_1box_vert_left").recorded_at is None


def test_every_key_is_found_by_its_action() -> None:
    assert {key: key_of(action) for key, action in KEYS.items()} == {key: key for key in KEYS}
    assert len(KEYS) == 11


@pytest.mark.parametrize("action", [[0.5, 0, 0], [1.15, 0, 1.15], [np.nan, 0, 0], [2.3, 0, 0], [np.inf, 0, 0], [1, 2]])
def test_an_action_of_no_key_is_none(action: list[float]) -> None:
    assert key_of(action) is None


def test_the_mirror_swaps_sides_and_twice_is_nothing() -> None:
    assert key_of(mirror_actions(KEYS["Q"])) == "E"
    assert key_of(mirror_actions(KEYS["R"])) == "T"
    assert mirror_scenario("2box_hori_left") == "2box_hori_right"
    for scenario in SCENARIOS:
        assert mirror_instruction(instruction_for(scenario)) == instruction_for(mirror_scenario(scenario))
        assert mirror_scenario(mirror_scenario(scenario)) == scenario
    assert mirror_instruction("Left, then RIGHT; leftover stays") == "Right, then LEFT; leftover stays"


def test_the_published_instruction_is_made() -> None:
    expected = "Navigate around the single box obstacle by going left to reach the cup"
    assert instruction_for("1box_vert_left") == expected
    with pytest.raises(EpisodeError, match="expected one of"):
        instruction_for("3box_vert_left")


def test_tokens_pad_mark_unknown_words_and_count_from_two() -> None:
    vocabulary = sorted(set(words("Follow the track")))
    tokens = tokenize("FOLLOW the unseen track!", vocabulary)
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [2, 3, 1, 4] + [0] * 12


@given(st.text(max_size=400))
def test_any_text_gives_sixteen_tokens(text: str) -> None:
    assert tokenize(text, ["left", "right"]).shape == (MAX_TOKENS,)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_paraphrase_keeps_side_number_and_goal_in_words_that_training_lacks(scenario: str) -> None:
    told = instruction_for(scenario)
    boxes, _, side = scenario.split("_")
    said = [paraphrase(told, wording=wording) for wording in range(WORDINGS)]
    assert len(set(said)) == WORDINGS
    known = {word for other in SCENARIOS for word in words(instruction_for(other))}
    for text in said:
        assert text is not None
        mine = words(text)
        assert {"left", "right"} & set(mine) == {side}
        assert {"cup", "mug"} & set(mine)
        assert ({"two", "both", "pair"} & set(mine) != set()) == (boxes == "2box")
        assert set(mine) - known
        assert len(mine) <= MAX_TOKENS


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_paraphrase_of_the_mirrored_instruction_is_the_mirrored_paraphrase(scenario: str) -> None:
    told = instruction_for(scenario)
    for wording in range(WORDINGS):
        mirrored = mirror_instruction(paraphrase(told, wording=wording) or "")
        assert paraphrase(mirror_instruction(told), wording=wording) == mirrored


def test_a_paraphrase_reads_through_case_and_punctuation_and_begins_again() -> None:
    told = instruction_for("1box_vert_left")
    assert paraphrase(told.upper() + "!", wording=1) == paraphrase(told, wording=1 + WORDINGS)


@pytest.mark.parametrize("text", ["", "follow the track", "Do not go left", "Go left of the one box"])
def test_what_is_not_understood_has_no_paraphrase(text: str) -> None:
    assert paraphrase(text, wording=0) is None
