"""What to record and to take into training next: real files, a real dataset, untrained policies that disagree."""

import hashlib
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch

from components.contracts import DatasetSpec, Ensemble, EpisodeRecord, Lineage, TrainedPolicy
from components.contracts.errors import EvidenceError
from components.datasets import build_dataset, catalogue, edit_episode, load_episodes, load_split
from components.episodes import (
    KEYS,
    SCENARIOS,
    EpisodeAttributes,
    EpisodeWriter,
    instruction_for,
    make_name,
    measure,
    read_episode,
)
from components.evaluation import suggest
from components.evaluation._doubt import ENTROPY, Doubter, take_turns
from components.policies import build_module, recipes, save_weights
from components.storage import FolderStore

LINEAGE = Lineage(code_revision="c0ffee", python="3.11.9", packages={}, machine="Linux x86_64, 2 CPUs")
FRAMES = 5


def record(store, folder, index, *, session=None, robot=None, source="simulated", scenario=None, bright=255):
    """One admitted episode of noise; brighter noise is further from what the policies' weights are used to."""
    rng = np.random.default_rng(index)
    scenario = scenario or SCENARIOS[index % len(SCENARIOS)]
    name = make_name(datetime(2025, 8, 15, 10, tzinfo=UTC) + timedelta(hours=index), scenario)
    session = session or f"session-{index}"
    told = EpisodeAttributes(name=name, session=session, instruction=instruction_for(scenario), source=source)
    path = folder / f"{name}.h5"
    with EpisodeWriter(path, told, 45, 80, sync=False) as writer:
        for step in range(FRAMES):
            key = rng.choice(["W", "Q", "E", "R"]) if step else "space"
            image = rng.integers(0, bright, (45, 80, 3)).astype(np.uint8)
            writer.append(image, KEYS[key], "start_action" if step else "episode_start")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    file = store.put_file("episodes", f"{sha256}.h5", path)
    summary = measure(read_episode(path), sha256=sha256, robot=robot or f"robot-{index % 4}")
    made = EpisodeRecord(file=file, summary=summary)
    store.put("episodes", f"{sha256}.json", made.canonical_json())
    return made


def untrained(store, dataset, name, seed, **changes):
    spec = recipes.compact_mlp(dataset.axes, features=16, hidden=16, **changes)
    torch.manual_seed(seed)
    module = build_module(spec, dataset.vocabulary)
    return TrainedPolicy(
        name=name, spec=spec, vocabulary=dataset.vocabulary, weights=save_weights(store, module.state_dict()),
        dataset=dataset.version, curve=(), best_epoch=0, lineage=LINEAGE,
    )  # fmt: skip


def together(dataset, members, weights=(0.6, 0.4)):
    return Ensemble(
        members=tuple(members), weights=weights, dataset=dataset.version, validation_loss=1.0,
        validation_loss_held_out=1.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store, a dataset of 24 episodes, 14 younger ones, and an ensemble."""
    folder = tmp_path_factory.mktemp("made")
    store = FolderStore(folder / "store")
    old = [record(store, folder, index) for index in range(24)]
    dataset = build_dataset(store, DatasetSpec(source="simulated"), old, workers=1)
    young = [record(store, folder, 100 + index) for index in range(6)]
    young += [
        record(store, folder, 200 + index, session="same", robot="robot-1", scenario="1box_vert_left")
        for index in range(4)
    ]
    held = dataset.of("test")[0]
    kin = record(store, folder, 300, session=held.session, robot=held.robot)
    foreign = [record(store, folder, 400 + index, source="robot") for index in range(3)]
    ensemble = together(dataset, [untrained(store, dataset, name, seed) for seed, name in enumerate(("one", "two"))])
    return store, dataset, ensemble, [*old, *young, kin, *foreign], kin


def test_only_episodes_outside_every_split_and_akin_to_none_that_judges_are_suggested(made):
    store, dataset, ensemble, records, kin = made

    found = suggest(store, dataset, ensemble, catalogue(store, records), workers=1)

    inside = {item.sha256 for item in dataset.episodes}
    assert len(found.episodes) == 10
    assert not {item.sha256 for item in found.episodes} & inside
    assert kin.file.sha256 not in {item.sha256 for item in found.episodes}
    assert sum(found.left_out.values()) == 24 + 1 + 3
    assert next(count for why, count in found.left_out.items() if "nearly equal" in why) == 1
    assert next(count for why, count in found.left_out.items() if "source" in why) == 3


def test_episodes_are_ranked_by_the_members_disagreement_as_it_is_measured_on_their_files(made):
    store, dataset, ensemble, records, _ = made

    found = suggest(store, dataset, ensemble, catalogue(store, records), workers=1)

    by_sha = {item.file.sha256: item for item in records}
    frames = list(load_episodes(store, [by_sha[item.sha256] for item in found.episodes], dataset.spec.frame, workers=1))
    modules = []
    for seed, member in enumerate(ensemble.members):
        torch.manual_seed(seed)
        modules.append((member.name, build_module(member.spec, member.vocabulary)))
    again = Doubter(modules, ensemble.weights, dataset.axes).ask(frames)
    assert [item.doubt for item in found.episodes] == pytest.approx([item.mean for item in again])
    first_turn = [item.doubt for item in found.episodes[:7]]
    assert first_turn == sorted(first_turn, reverse=True)
    assert "times the validation split's; most at frame" in found.episodes[0].reason
    assert "one " in found.episodes[0].reason  # what each member says there


def test_one_session_and_scenario_does_not_fill_the_top(made):
    store, dataset, ensemble, records, _ = made

    found = suggest(store, dataset, ensemble, catalogue(store, records), workers=1)

    sessions = [item.session for item in found.episodes]
    assert sessions[:7].count("same") == 1
    assert sessions[7:] == ["same"] * 3


def test_scenarios_are_ranked_with_intervals_and_never_look_at_the_test_split(made):
    store, dataset, ensemble, records, _ = made

    found = suggest(store, dataset, ensemble, catalogue(store, records), workers=1)

    values = [item.doubt.value for item in found.scenarios]
    assert values == sorted(values, reverse=True)
    seen = len(load_split(store, dataset, "validation")) + 10
    assert sum(item.doubt.n for item in found.scenarios) == seen
    assert sum(item.training for item in found.scenarios) <= len(dataset.of("train"))
    assert all(item.doubt.low <= item.doubt.value <= item.doubt.high for item in found.scenarios)


def test_a_deleted_episode_is_a_candidate_that_says_so(made):
    store, dataset, ensemble, records, _ = made
    young = records[25]
    edit_episode(store, young, excluded=True, reason="blurred", by="me")
    try:
        found = suggest(store, dataset, ensemble, catalogue(store, records), workers=1)
    finally:
        edit_episode(store, young, excluded=False, reason="back", by="me")

    assert [item.sha256 for item in found.episodes if item.excluded] == [young.file.sha256]


def test_the_youngest_are_decoded_where_there_are_too_many(made):
    store, dataset, ensemble, records, _ = made

    found = suggest(store, dataset, ensemble, catalogue(store, records), workers=1, most=4, episodes=2)

    assert len(found.episodes) == 2
    assert {item.session for item in found.episodes} == {"same"}  # recorded last
    assert found.left_out["older than the 4 youngest candidates"] == 6


def test_without_candidates_there_are_scenarios_alone(made):
    store, dataset, ensemble, records, _ = made

    found = suggest(store, dataset, ensemble, catalogue(store, records[:24]), workers=1)

    assert found.episodes == ()
    assert found.scenarios


def test_one_policy_is_ranked_by_its_entropy(made):
    store, dataset, ensemble, records, _ = made

    found = suggest(store, dataset, ensemble.members[0], catalogue(store, records), workers=1)

    assert found.measure == ENTROPY
    assert all(item.doubt == pytest.approx(item.entropy) for item in found.episodes)


def test_one_continuous_policy_knows_no_doubt_and_two_have_a_spread(made):
    store, dataset, _, records, _ = made
    members = [untrained(store, dataset, name, 5 + seed, action_space="continuous") for seed, name in enumerate("ab")]

    with pytest.raises(EvidenceError, match="an ensemble of two members"):
        suggest(store, dataset, members[0], catalogue(store, records), workers=1)
    found = suggest(store, dataset, together(dataset, members), catalogue(store, records), workers=1)
    assert found.measure.startswith("standard deviation")
    assert {item.entropy for item in found.episodes} == {None}


def test_a_subject_of_another_dataset_is_refused(made):
    store, dataset, ensemble, records, _ = made
    other = ensemble.model_copy(update={"dataset": "b" * 64})

    with pytest.raises(EvidenceError, match="was trained on dataset bbbbbbbbbbbb"):
        suggest(store, dataset, other, catalogue(store, records), workers=1)


def test_turns_are_taken_by_doubt_and_kin() -> None:
    assert take_turns([0.1, 0.9, 0.8, 0.2], ["b", "a", "a", "c"]) == [1, 3, 0, 2]
    assert take_turns([0.5, 0.5], ["a", "b"]) == [0, 1]
    assert take_turns([], []) == []
