"""Two reports: a difference is stated where it is paired, and nowhere else; rankings never mix test data."""

import hashlib

import pytest

from components.contracts import ObjectRef, TrialPlan
from components.contracts.errors import EvidenceError, IntegrityError
from components.evaluation import stand_beside, standings
from components.storage import FolderStore
from tests.evaluation.sample_report import ensemble, full_outcomes, full_report


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path)


def keep_trials(store, report, outcomes):
    """The report with its trials in the store."""
    data = b"".join(item.canonical_json() + b"\n" for item in outcomes)
    key = f"evaluations/trials/{report.subject_digest}.jsonl"
    store.put("reports", key, data)
    ref = ObjectRef(uri=f"s3://reports/{key}", sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    return report.model_copy(update={"trials": ref})


def driven(store, seed, outcomes=None):
    """A report on another policy, with trials in the rooms that everybody met."""
    outcomes = full_outcomes() if outcomes is None else outcomes
    return keep_trials(store, full_report(seed=seed, outcomes=outcomes), outcomes)


def test_reports_that_scored_each_others_subject_are_paired_on_frames(store):
    old = driven(store, 1)
    new = keep_trials(store, full_report(incumbent=ensemble(1)), full_outcomes())
    found = stand_beside(store, new, old)
    assert found.frames is not None
    gain = next(item for item in new.comparisons if item.reference == "incumbent").mae_gain
    assert found.frames.mae_gain == gain
    assert found.frames.report == new.digest()
    assert not found.frames.trained_elsewhere

    turned = stand_beside(store, old, new)
    assert turned.frames is not None
    assert (turned.frames.mae_gain.low, turned.frames.mae_gain.high) == (-gain.high, -gain.low)


def test_reports_that_never_met_are_not_paired_on_frames(store):
    found = stand_beside(store, driven(store, 1), driven(store, 2))
    assert found.frames is None
    assert any(why.startswith("frames: neither report scored") for why in found.unpaired)


def test_policy_trained_on_other_data_is_told(store):
    other = ensemble(1).model_copy(update={"dataset": "e" * 64})
    new = full_report(incumbent=other, drives=False)
    old = full_report(
        drives=False, subject_digest=other.digest(),
        inputs=new.inputs.model_copy(update={"ensemble": other, "members": other.members, "incumbent": None}),
    )  # fmt: skip
    found = stand_beside(store, new, old)
    assert found.frames is not None
    assert found.frames.trained_elsewhere


def test_subjects_in_the_same_rooms_are_paired_room_by_room(store):
    outcomes = full_outcomes()
    worse = tuple(
        item.model_copy(update={"success": False, "spl": 0.0}) if item.policy == "ensemble" and item.seed % 2 else item
        for item in outcomes
    )
    found = stand_beside(store, driven(store, 1, outcomes), driven(store, 2, worse))
    assert found.trials is not None
    assert found.trials.rooms == 24
    assert found.trials.reference_only == 0
    lost = sum(
        item.success and item.seed % 2 for item in outcomes if item.policy == "ensemble" and item.shift == "none"
    )
    assert found.trials.subject_only == lost


def test_run_that_may_have_stopped_early_gives_no_p_value(store):
    first, second = driven(store, 1), driven(store, 2)
    plan = second.inputs.model_copy(update={"trials": TrialPlan(stop_early=True)})
    found = stand_beside(store, first, second.model_copy(update={"inputs": plan}))
    assert found.trials is not None
    assert found.trials.p_value is None
    assert found.trials.difference.method == "anytime-paired"


def test_other_rooms_are_not_paired(store):
    elsewhere = tuple(
        metric.model_copy(update={"sample": metric.sample.model_copy(update={"seed": 7})})
        if metric.sample.kind == "rooms"
        else metric
        for metric in driven(store, 2).metrics
    )
    found = stand_beside(store, driven(store, 1), driven(store, 2).model_copy(update={"metrics": elsewhere}))
    assert found.trials is None
    assert any("other rooms: seed 0" in why for why in found.unpaired)


def test_altered_trials_are_refused(store):
    first, second = driven(store, 1), driven(store, 2)
    store.put("reports", second.trials.key, b"x" * second.trials.size)
    with pytest.raises(IntegrityError):
        stand_beside(store, first, second)


def test_ranking_is_by_error_and_marks_whose_intervals_touch():
    reports = [full_report(seed=index, error=error, drives=False) for index, error in enumerate((0.2, 0.1, 0.11))]
    (board,) = standings(reports)
    assert [row.mae.value for row in board.standings] == [0.1, 0.11, 0.2]
    assert [row.tied for row in board.standings] == [(2,), (1,), ()]
    assert board.baseline == "median-per-step-and-scenario"


def test_different_test_data_is_never_in_one_ranking():
    boards = standings([full_report(drives=False), full_report(dataset="e" * 64, drives=False)])
    assert [board.dataset[0] for board in boards] == ["d", "e"]
    assert [len(board.standings) for board in boards] == [1, 1]
    assert [board.dataset[0] for board in standings([full_report(drives=False)], "dd")] == ["d"]
    with pytest.raises(EvidenceError, match="begins with 'f'"):
        standings([full_report(drives=False)], "f")


def test_subject_is_ranked_once_by_its_newest_report():
    newest, older = full_report(error=0.1, drives=False), full_report(error=0.2, drives=False)
    (board,) = standings([newest, older])
    assert [row.report for row in board.standings] == [newest]
    assert board.older == 1
