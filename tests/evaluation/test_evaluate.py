"""The door, on recorded files and untrained policies: everything runs for real, in small."""

import hashlib
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch

from components.contracts import (
    BASELINES,
    BLIND,
    UNSHIFTED,
    DatasetSpec,
    Ensemble,
    EpisodeRecord,
    Lineage,
    TrainedPolicy,
    TrialOutcome,
    TrialPlan,
)
from components.contracts.errors import EvidenceError, InvalidDocumentError
from components.datasets import build_dataset, load_split
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
from components.evaluation import evaluate, fit_medians, open_report
from components.evaluation._closed_loop import drive
from components.policies import build_module, recipes, save_weights
from components.simulation import SHIFTS
from components.storage import FolderStore, fetch

pytestmark = pytest.mark.long

FRAMES = 6
LINEAGE = Lineage(code_revision="c0ffee", python="3.11.9", packages={}, machine="Linux x86_64, 2 CPUs")


def _record(store, folder, count, source):
    rng = np.random.default_rng(0)
    records = []
    for index in range(count):
        scenario = SCENARIOS[index % len(SCENARIOS)]
        name = make_name(datetime(2025, 8, 15, 10, tzinfo=UTC) + timedelta(hours=index), scenario)
        attributes = EpisodeAttributes(
            name=name, session=f"session-{index}", instruction=instruction_for(scenario), source=source
        )
        path = folder / f"{name}.h5"
        with EpisodeWriter(path, attributes, 45, 80, sync=False) as writer:
            for step in range(FRAMES):
                key = rng.choice(["W", "Q", "E", "R"]) if step else "space"
                image = rng.integers(0, 255, (45, 80, 3)).astype(np.uint8)
                writer.append(image, KEYS[key], "start_action" if step else "episode_start")
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        file = store.put_file("episodes", f"{sha256}.h5", path)
        summary = measure(read_episode(path), sha256=sha256, robot=f"robot-{index % 4}")
        records.append(EpisodeRecord(file=file, summary=summary))
        store.put("episodes", f"{sha256}.json", records[-1].canonical_json())
    return records


def _untrained(store, dataset, name, seed):
    spec = recipes.compact_mlp(dataset.axes, features=16, hidden=16)
    torch.manual_seed(seed)
    module = build_module(spec, dataset.vocabulary)
    return TrainedPolicy(
        name=name, spec=spec, vocabulary=dataset.vocabulary, weights=save_weights(store, module.state_dict()),
        dataset=dataset.version, curve=(), best_epoch=0, lineage=LINEAGE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store, a dataset, two members and their ensemble."""
    folder = tmp_path_factory.mktemp("made")
    store = FolderStore(folder / "store")
    dataset = build_dataset(store, DatasetSpec(), _record(store, folder, 40, "simulated"), workers=1)
    members = [_untrained(store, dataset, name, seed) for seed, name in enumerate(("one", "other"))]
    ensemble = Ensemble(
        members=tuple(members), weights=(0.6, 0.4), dataset=dataset.version, validation_loss=1.0,
        validation_loss_held_out=1.0,
    )  # fmt: skip
    return store, dataset, members, ensemble


SHORT = TrialPlan(margin=0.49, shift_rooms=2)
SIX = {
    "blank-images", "shuffled-images", "frozen-images",
    "swapped-instruction", "blank-instruction", "paraphrased-instruction",
}  # fmt: skip


def test_evaluation_of_simulated_data_measures_everything_and_keeps_report_and_page(made):
    store, dataset, members, ensemble = made
    told = []
    report = evaluate(
        store, dataset, members, ensemble, trials=SHORT, incumbent=members[0], workers=1,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert {score.name for score in report.scores} == {"one", "other", "ensemble", "incumbent", *BASELINES}
    assert report.episodes == len(load_split(store, dataset, "test"))
    assert report.frames == report.episodes * (FRAMES - 1)
    assert (report.axes, report.constant_axes) == (dataset.axes, ())
    both_sides = len({"left" in item.instruction for item in dataset.of("test")}) == 2
    assert {item.name for item in report.ablations} == (SIX if both_sides else SIX - {"blank-instruction"})
    assert [(item.name, item.role) for item in report.closed_loop] == [
        ("ensemble", "subject"), ("incumbent", "incumbent"), (BLIND, "baseline"),
        ("straight-ahead", "straight-ahead"), ("expert", "expert"),
    ]  # fmt: skip
    assert {item.success.n for item in report.closed_loop} == {SHORT.rooms}
    assert report.sources == ("simulated",)
    assert told[-1][0] == told[-1][1]
    assert {item.shift for item in report.shifts} == {shift.name for shift in SHIFTS}
    assert report.leaks.test_episodes == report.episodes
    assert {item.policy for item in report.reliability} >= {"one", "other", "ensemble"}
    assert report.find("brier") is not None
    assert report.disagreement is not None
    outcomes = [TrialOutcome.parse(line, source="trials") for line in fetch(store, report.trials).splitlines()]
    assert len({item.room for item in outcomes if item.shift == UNSHIFTED}) == SHORT.rooms
    assert open_report(store, report.digest()[:12]) == open_report(store) == report
    assert "ensemble" in store.get("reports", report.page_key).decode()


def test_evaluation_twice_gives_one_report(made):
    store, dataset, members, ensemble = made
    once, again = (evaluate(store, dataset, members, ensemble, trials=None, seed=3) for _ in range(2))
    assert once == again
    assert once.closed_loop == ()
    assert once.trials is None


def test_trials_in_other_processes_give_the_same_trials(made):
    store, dataset, _, ensemble = made
    medians = fit_medians(load_split(store, dataset, "train"))
    plan = TrialPlan(margin=0.49, shift_rooms=0)
    here, there = (
        drive(
            store, {"ensemble": ensemble}, medians, subject="ensemble", plan=plan, seed=0, workers=workers,
            progress=None,
        )
        for workers in (1, 2)
    )  # fmt: skip
    assert here == there


def test_member_as_subject_is_compared_with_the_ensemble(made):
    store, dataset, members, ensemble = made
    report = evaluate(store, dataset, members, ensemble, subject="other", trials=None)
    assert report.subject_digest == members[1].digest()
    assert {item.reference for item in report.comparisons} == {"one", "ensemble", *BASELINES}
    assert open_report(store, "latest") == report  # others were kept within the same second


def test_data_of_unknown_origin_is_not_driven_in_simulation(made, tmp_path):
    store, dataset, members, ensemble = made
    bare = FolderStore(tmp_path)
    for bucket in ("datasets", "models"):
        for info in store.list(bucket):
            bare.put(bucket, info.key, store.get(bucket, info.key))
    report = evaluate(bare, dataset, members, ensemble, trials=SHORT)
    assert report.sources == ()
    assert report.closed_loop == ()


def test_altered_report_is_refused(made):
    store, dataset, members, ensemble = made
    report = evaluate(store, dataset, members, ensemble, trials=None, seed=4)
    key = report.page_key.replace(".html", ".json")
    better = report.canonical_json().replace(b'"seed":4', b'"seed":5', 1)
    store.put("reports", key, better)
    with pytest.raises(InvalidDocumentError, match="it was altered"):
        open_report(store, report.digest())
    store.remove("reports", key)


@pytest.mark.parametrize(("wanted", "says"), [("../x", "first digits"), ("ffff", "no report"), ("", "first digits")])
def test_report_that_is_not_there_is_refused(made, wanted, says):
    with pytest.raises(EvidenceError, match=says):
        open_report(made[0], wanted)


def test_store_without_reports_says_what_makes_one(tmp_path):
    with pytest.raises(EvidenceError, match="train-and-promote"):
        open_report(FolderStore(tmp_path))


def test_subject_that_is_no_policy_is_refused(made):
    store, dataset, members, ensemble = made
    with pytest.raises(EvidenceError, match="one, other, ensemble"):
        evaluate(store, dataset, members, ensemble, subject="another")


@pytest.mark.parametrize("name", ["constant", "incumbent", "expert", "ensemble"])
def test_member_named_like_something_else_is_refused(made, name):
    store, dataset, members, ensemble = made
    with pytest.raises(EvidenceError, match="rename a policy"):
        evaluate(store, dataset, [members[0].model_copy(update={"name": name})], ensemble)
