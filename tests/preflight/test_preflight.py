"""What would stop a run is found before it begins: by the catalogue here, by the types in tests/contracts."""

from pathlib import Path
from typing import Any

import pytest

from components.contracts import (
    DatasetSpec,
    FrameSpec,
    PolicySpec,
    Settings,
    TrainingPlan,
    TrainingRequest,
    TrialPlan,
)
from components.contracts.errors import ConfigurationError
from components.ingest import register_robot
from components.preflight import preflight, require
from components.storage import FolderStore
from tests.datasets.records import admit, made
from tests.keys import public_key

REQUEST = TrainingRequest()
IN_ORDER = DatasetSpec(split_by="contiguous")
AXES = ("linear_x", "linear_y")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """One robot that a release could go to, and no episode."""
    store = FolderStore(tmp_path / "store")
    register_robot(store, "robot-1", public_key(1), hardware="simulated")
    return store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def member(**changes: Any) -> PolicySpec:
    return PolicySpec(**({"recipe": "compact_mlp", "axes": AXES} | changes))


def test_a_run_over_enough_episodes_has_nothing_against_it(store: FolderStore, settings: Settings) -> None:
    admit(store, [made(number) for number in range(64)])
    found = preflight(store, settings, REQUEST)
    assert found.problems == ()
    assert found.warnings == ()


def test_without_episodes_the_message_says_what_to_do(store: FolderStore, settings: Settings) -> None:
    with pytest.raises(
        ConfigurationError, match=r"1 problem found before its first stage.*upload and ingest some first"
    ):
        require(store, settings, REQUEST)


def test_one_test_episode_is_too_few_and_told_before_anything_is_trained(
    store: FolderStore, settings: Settings
) -> None:
    admit(store, [made(number, session=f"s{number}") for number in range(10)])
    (problem,) = preflight(store, settings, TrainingRequest(dataset=IN_ORDER)).problems
    assert "expected at least 2 test episodes" in problem
    assert "gives 1 (7 train, 2 validation, 1 test)" in problem
    assert "dataset.ratios" in problem


def test_one_session_is_told_before_the_split(store: FolderStore, settings: Settings) -> None:
    admit(store, [made(number, session="s", robot="robot-1") for number in range(30)])
    (problem,) = preflight(store, settings, REQUEST).problems
    assert "got 1 from 30 episodes of 1 sessions" in problem
    assert "split_by='contiguous'" in problem


def test_all_problems_are_told_at_once(store: FolderStore, settings: Settings) -> None:
    still = {"action_min": (0.0, 0.0, 0.0), "action_max": (0.0, 0.0, 0.0), "key_counts": {"space": 17}}
    admit(store, [made(number, session=f"s{number}", **still) for number in range(10)])
    stack = settings.model_copy(update={"ray_address": "127.0.0.1:1"})
    plan = TrainingPlan(workers=1000, rollout_robots=("robot-9",))
    with pytest.raises(ConfigurationError) as refused:
        require(store, stack, TrainingRequest(dataset=IN_ORDER, plan=plan))
    for told in ("4 problems", "at least 2 test episodes", "actions that vary", "plan.workers=1000", "robot-9"):
        assert told in str(refused.value)


def test_a_collection_that_is_not_there_is_a_problem(store: FolderStore, settings: Settings) -> None:
    admit(store, [made(number) for number in range(64)])
    found = preflight(store, settings, TrainingRequest(dataset=DatasetSpec(collection="work")))
    assert any("work" in problem for problem in found.problems)


def test_a_member_on_an_axis_that_never_moves_is_a_problem(store: FolderStore, settings: Settings) -> None:
    admit(store, [made(number) for number in range(64)])
    plan = TrainingPlan(members={"turns": member(axes=("angular_z",))}, distributed={})
    (problem,) = preflight(store, settings, TrainingRequest(plan=plan)).problems
    assert "turns" in problem
    assert "angular_z" in problem


def test_a_member_of_another_kind_than_the_default_ones_is_a_problem(store: FolderStore, settings: Settings) -> None:
    admit(store, [made(number) for number in range(64)])
    plan = TrainingPlan(members={"smooth": member(action_space="continuous")})
    (problem,) = preflight(store, settings, TrainingRequest(plan=plan)).problems
    assert "expected action_space 'keys'" in problem
    alone = TrainingPlan(members={"smooth": member(action_space="continuous")}, distributed={})
    assert preflight(store, settings, TrainingRequest(plan=alone)).problems == ()


def test_test_episodes_in_words_that_training_never_hears_are_a_problem(store: FolderStore, settings: Settings) -> None:
    episodes = [
        made(number, session=f"s{number}", instruction="go left or right" if number < 80 else "brumm")
        for number in range(100)
    ]  # fmt: skip
    admit(store, episodes)
    found = preflight(store, settings, TrainingRequest(dataset=IN_ORDER))
    assert any("drover episodes stats" in problem for problem in found.problems)


def test_what_the_gate_is_certain_to_refuse_is_a_warning_and_the_run_goes_on(
    store: FolderStore, settings: Settings
) -> None:
    admit(store, [made(number, instruction="go there") for number in range(64)])
    told = require(store, settings, TrainingRequest(plan=TrainingPlan(trials=None)))
    assert any("plan.trials is null" in warning for warning in told)
    assert any("name no side" in warning for warning in told)


def test_without_a_robot_a_release_could_go_nowhere(tmp_path: Path, settings: Settings) -> None:
    store = FolderStore(tmp_path / "empty")
    admit(store, [made(number) for number in range(64)])
    (problem,) = preflight(store, settings, REQUEST).problems
    assert "expected at least one enrolled robot" in problem
    refused_anyhow = preflight(store, settings, TrainingRequest(plan=TrainingPlan(trials=None)))
    assert refused_anyhow.problems == ()


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"dataset": {"ratios": [70, 20, 10]}}, "sum to 1, such as 0.7, 0.2, 0.1, got 70, 20, 10"),
        ({"dataset": {"ratios": [0.9, 0.1, 0.0]}}, "shares above 0"),
        ({"dataset": {"seed": -1}}, "dataset.seed"),
        ({"plan": {"workers": 0}}, "plan.workers"),
        ({"plan": {"epochs": 0}}, "plan.epochs"),
        ({"plan": {"soak_trials": -1}}, "plan.soak_trials"),
        ({"plan": {"rollout_robots": ["Robot 1"]}}, "plan.rollout_robots"),
        ({"plan": {"rollout_robots": ["robot-1", "robot-1"]}}, "each robot of the rollout once"),
        ({"plan": {"members": {"a/b": {"recipe": "x", "axes": ["linear_x"]}}}}, "plan.members"),
        (
            {"plan": {"members": {"constant": {"recipe": "x", "axes": ["linear_x"]}}}},
            "something else constant",
        ),
        ({"plan": {"members": {"m": {"recipe": "x", "axes": ["linear_y", "linear_x"]}}}}, "in that order"),
        ({"plan": {"distributed": {n: {"recipe": "x", "axes": ["linear_x"]} for n in "ab"}}}, "plan.distributed"),
        (
            {"plan": {"members": {"m": {"recipe": "x", "axes": ["linear_x"], "frame": {"width": 16, "height": 9}}}}},
            "member m: expected the dataset's frames of 80x45, got 16x9",
        ),
        ({"datasets": {}}, "datasets"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parameters_that_do_not_fit_are_refused_by_their_type(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=r"of the parameters do not fit") as refused:
        TrainingRequest.of(parameters)
    assert told in str(refused.value)


def test_every_parameter_that_does_not_fit_is_named() -> None:
    with pytest.raises(ConfigurationError, match="2 of the parameters do not fit") as refused:
        TrainingRequest.of({"dataset": {"ratios": [70, 20, 10]}, "plan": {"epoch": 1}})
    assert "dataset.ratios" in str(refused.value)
    assert "plan.epoch" in str(refused.value)


def test_defaults_and_a_plan_without_rooms_are_read() -> None:
    found = TrainingRequest.of({"dataset": {"frame": {"width": 80, "height": 60}}, "plan": {"trials": None}})
    assert found.dataset == DatasetSpec(frame=FrameSpec(width=80, height=60))
    assert found.plan == TrainingPlan(trials=None)
    assert TrainingRequest.of({}).plan is None
    assert TrainingPlan().trials == TrialPlan()
