"""Splits: no group on both sides, no split empty, every scenario in its share."""

import hashlib
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.contracts import SPLITS, DatasetSpec, EpisodeRecord, EpisodeSummary, ObjectRef
from components.contracts.errors import DatasetError
from components.datasets._split import assign, group
from components.episodes import SCENARIOS, perceptual_hash


def record(
    number: int,
    *,
    robot: str = "r1",
    session: str = "s1",
    scenario: str | None = SCENARIOS[0],
    content: str | None = None,
    seen: str | None = None,
) -> EpisodeRecord:
    sha256 = hashlib.sha256(f"file {number}".encode()).hexdigest()
    summary = EpisodeSummary(
        sha256=sha256,
        content_sha256=content or hashlib.sha256(f"content {number}".encode()).hexdigest(),
        name=f"episode_{number:05d}",
        robot=robot,
        session=session,
        scenario=scenario,
        pattern=None,
        distance=None,
        instruction="go",
        source="simulated",
        collected_at=datetime(2025, 8, 15, tzinfo=UTC) + timedelta(minutes=number),
        frames=18,
        width=16,
        height=9,
        stated_frames=18,
        stated_duration_s=18.0,
        frame_zero_is_start=True,
        non_finite_actions=0,
        action_min=(0, 0, 0),
        action_max=(1, 0, 0),
        unknown_key_fraction=0,
        brightness_mean=100,
        blank_frames=0,
        frozen_frames=0,
        perceptual_hash=seen or hashlib.sha256(f"frames {number}".encode()).hexdigest()[:48],
    )
    return EpisodeRecord(file=ObjectRef(uri=f"s3://episodes/{sha256}.h5", sha256=sha256, size=1), summary=summary)


def fleet(sessions: int = 24, a_session: int = 4) -> list[EpisodeRecord]:
    """Robots' sessions of a few episodes, each over half of the scenarios."""
    return [
        record(
            number,
            robot=f"r{number // a_session % 4}",
            session=f"s{number // a_session}",
            scenario=SCENARIOS[number % 8],
        )
        for number in range(sessions * a_session)
    ]


def test_ratios_and_scenarios_come_near_what_is_asked() -> None:
    records = fleet()
    splits = assign(records, DatasetSpec())
    sizes = Counter(splits.values())
    assert abs(sizes["train"] - 67.2) <= 4
    assert abs(sizes["validation"] - 19.2) <= 4
    assert abs(sizes["test"] - 9.6) <= 4
    for split in SPLITS:
        found = {item.summary.scenario for item in records if splits[item.file.sha256] == split}
        assert found == set(SCENARIOS)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 7), st.integers(0, 30), st.integers(0, 30)),
        min_size=1,
        max_size=40,
    ),
    st.integers(0, 3),
)
def test_no_group_straddles_a_split(rows: list[tuple[int, int, int, int, int]], seed: int) -> None:
    records = [
        record(
            number,
            robot=f"r{robot}",
            session=f"s{session}",
            scenario=SCENARIOS[scenario],
            content=hashlib.sha256(f"{content}".encode()).hexdigest(),
            seen=hashlib.sha256(f"{frames}".encode()).hexdigest()[:48],
        )
        for number, (robot, session, scenario, content, frames) in enumerate(rows)
    ]
    spec = DatasetSpec(seed=seed)
    if len(group(records)) < 3:
        with pytest.raises(DatasetError, match="record more sessions"):
            assign(records, spec)
        return
    splits = assign(records, spec)
    assert set(splits.values()) == set(SPLITS)
    assert splits == assign(records[::-1], spec)
    for key in (
        lambda item: (item.summary.robot, item.summary.session),
        lambda item: item.summary.content_sha256,
        lambda item: item.summary.perceptual_hash,
    ):
        sides: dict[object, set[str]] = {}
        for item in records:
            sides.setdefault(key(item), set()).add(splits[item.file.sha256])
        assert all(len(side) == 1 for side in sides.values())


def test_near_duplicates_and_mirror_images_stay_together() -> None:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (3, 8, 9, 3), dtype=np.uint8).repeat(9, 1).repeat(8, 2)
    seen = perceptual_hash(frames)
    near = f"{int(seen, 16) ^ 0b1011:048x}"
    mirrored = perceptual_hash(np.ascontiguousarray(frames[:, :, ::-1]))
    records = [record(n, session=f"s{n}", seen=hash_) for n, hash_ in enumerate([seen, near, mirrored, "ab" * 24])]
    sizes = sorted(len(members) for members in group(records))
    assert sizes == [1, 3]


def test_another_seed_gives_another_split_of_equal_balance() -> None:
    records = fleet()
    one, other = (assign(records, DatasetSpec(seed=seed)) for seed in (0, 1))
    assert one != other
    assert Counter(one.values()) == Counter(other.values())


def test_contiguous_parts_follow_the_recording() -> None:
    records = [record(number, session="one") for number in range(20)]
    splits = assign(records[::-1], DatasetSpec(split_by="contiguous"))
    assert [splits[item.file.sha256] for item in records] == ["train"] * 14 + ["validation"] * 4 + ["test"] * 2


def test_three_contiguous_episodes_fill_every_split() -> None:
    records = [record(number) for number in range(3)]
    assert sorted(assign(records, DatasetSpec(split_by="contiguous")).values()) == sorted(SPLITS)


def test_one_session_cannot_be_split_and_the_message_says_what_to_do() -> None:
    with pytest.raises(DatasetError, match=r"got 1 from 5 episodes of 1 sessions \(r1/s1\); record more sessions"):
        assign([record(number) for number in range(5)], DatasetSpec())


def test_two_contiguous_episodes_are_refused() -> None:
    with pytest.raises(DatasetError, match="at least 3 episodes"):
        assign([record(0), record(1)], DatasetSpec(split_by="contiguous"))


@pytest.mark.parametrize("ratios", [(0.7, 0.3, 0.0), (0.7, 0.7, 0.1)])
def test_ratios_that_make_no_sense_are_refused(ratios: tuple[float, float, float]) -> None:
    with pytest.raises(ValidationError, match="sum to 1"):
        DatasetSpec(ratios=ratios)


def test_hundreds_of_sessions_are_split_quickly_enough_to_test() -> None:
    splits = assign(fleet(sessions=300), DatasetSpec())
    sizes = Counter(splits.values())
    assert abs(sizes["test"] - 120) <= 4
