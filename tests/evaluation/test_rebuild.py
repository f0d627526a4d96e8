"""Rebuild: the same again is equal to the last figure, and whatever was improved by hand is found."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from components.cli import app
from components.contracts import DatasetSpec, Ensemble, Estimate, EvaluationReport, Settings, TrainingSpec, TrialPlan
from components.contracts.errors import EvidenceError, IntegrityError, InvalidDocumentError
from components.datasets import build_dataset, load_split, open_dataset
from components.evaluation import evaluate, open_evidence, open_report, rebuild
from components.evaluation._differences import differences, figures
from components.policies import predict, recipes
from components.storage import FolderStore, OverlayStore
from tests.evaluation.test_evaluate import _record, _untrained

pytestmark = pytest.mark.long

SHORT = TrialPlan(margin=0.49, shift_rooms=0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with episodes, a dataset, two untrained members and a report on their ensemble."""
    folder = tmp_path_factory.mktemp("made")
    store = FolderStore(folder / "store")
    dataset = build_dataset(store, DatasetSpec(), _record(store, folder, 40, "simulated"), workers=1)
    members = [_untrained(store, dataset, name, seed) for seed, name in enumerate(("one", "other"))]
    ensemble = Ensemble(
        members=tuple(members), weights=(0.6, 0.4), dataset=dataset.version, validation_loss=1.0,
        validation_loss_held_out=1.0,
    )  # fmt: skip
    report = evaluate(store, dataset, members, ensemble, trials=None, incumbent=members[0], seed=3)
    return store, report


def copy_of(store, folder):
    copy = FolderStore(folder)
    for bucket in ("episodes", "datasets", "models", "reports"):
        for info in store.list(bucket):
            copy.put(bucket, info.key, store.get(bucket, info.key))
    return copy


@pytest.fixture
def copied(made, tmp_path):
    """The same in a store of its own, to be damaged."""
    return copy_of(made[0], tmp_path / "copy"), made[1]


@pytest.fixture(scope="module")
def driven(made, tmp_path_factory):
    """The same with closed loop, in a store of its own."""
    store = copy_of(made[0], tmp_path_factory.mktemp("driven"))
    asked, dataset = made[1].inputs, open_dataset(store, made[1].dataset)
    return store, evaluate(store, dataset, asked.members, asked.ensemble, trials=SHORT, workers=1)


def everything(store):
    return {(info.bucket, info.key, info.modified_at) for bucket in ("episodes", "datasets", "models", "reports")
            for info in store.list(bucket)}  # fmt: skip


def doctored(report, change, path):
    """The report as a file in which somebody changed something by hand."""
    document = json.loads(report.canonical_json())
    change(document)
    path.write_text(json.dumps(document))
    return path


def improved(document):
    """The ensemble's macro-F1 over all frames, a little better."""
    for metric in document["metrics"]:
        if metric["name"] == "macro-f1":
            figure = metric["figures"]["ensemble"]
            for end in ("low", "value", "high"):
                figure[end] += 0.01
            return


def test_rebuild_of_an_honest_report_is_equal_and_writes_nothing(driven):
    store, report = driven
    before = everything(store)
    found = rebuild(store, open_evidence(store, report.digest()[:8]), workers=1)
    assert found.equal
    assert (found.lineage, found.made, found.figures) == ((), (), ())
    estimates = [item for item in figures(report).values() if isinstance(item, Estimate)]
    assert len(estimates) == sum(len(item.figures) for item in report.metrics) + sum(
        2 * len(part) for part in (report.comparisons, report.ablations)
    ) + len(report.paired_trials) + _estimates_of_certainty(report)
    assert found.compared > len(estimates)
    assert everything(store) == before


def _estimates_of_certainty(report):
    apart = report.disagreement
    return sum(len(item.bins) for item in report.reliability) + (
        len(apart.risk) + len(apart.novelty) + (apart.error_auroc is not None) if apart else 0
    )


def test_rebuild_that_is_kept_is_the_latest_report(copied):
    store, report = copied
    store.remove("reports", f"evaluations/{report.digest()}/report.json")
    found = rebuild(store, report, keep=True, workers=1)
    assert open_report(store) == found.again
    assert store.stat("reports", found.again.page_key)


def test_figure_improved_by_hand_is_found_and_named(made, tmp_path):
    store, report = made
    found = rebuild(store, open_evidence(store, str(doctored(report, improved, tmp_path / "report.json"))), workers=1)
    assert not found.equal
    (difference,) = found.figures
    assert difference.path == f"macro-f1 (all-frames, {'+'.join(report.axes)})/ensemble"
    assert difference.before.value == pytest.approx(difference.after.value + 0.01)


def test_trial_improved_by_hand_is_found_in_its_room(driven):
    store, report = driven
    lines = store.get(report.trials.bucket, report.trials.key).splitlines()
    first = json.loads(lines[0])
    lines[0] = json.dumps(first | {"distance_m": first["distance_m"] + 1}).encode()
    ref = store.put("reports", "evaluations/trials/doctored.jsonl", b"\n".join(lines))
    told = report.model_copy(update={"trials": ref})
    (difference,) = rebuild(store, told, workers=1).figures
    assert difference.path.startswith(f"trials/{first['policy']} in {first['scenario']} {first['seed']}")


def test_figure_that_contradicts_the_others_is_not_even_read(made, tmp_path):
    store, report = made

    def contradict(document):
        document["metrics"][0]["figures"]["ensemble"]["value"] = 0.0
        document["metrics"][0]["figures"]["ensemble"]["low"] = 0.0

    assert report.metrics[0].name == "mae"
    with pytest.raises(InvalidDocumentError, match="mae is"):
        open_evidence(store, str(doctored(report, contradict, tmp_path / "report.json")))


def test_other_code_and_libraries_are_told_first_and_alone_are_no_difference(made):
    store, report = made
    older = report.lineage.model_copy(
        update={"code_revision": "0ld", "packages": report.lineage.packages | {"numpy": "1.0"}}
    )
    found = rebuild(store, report.model_copy(update={"lineage": older}), workers=1)
    assert [item.path for item in found.lineage] == ["evaluation/code_revision", "evaluation/packages/numpy"]
    assert found.equal


@pytest.mark.parametrize(
    ("bucket", "prefix", "says"),
    [("models", "", "weights of "), ("datasets", "shards/", "shard 0 of"), ("datasets", "versions/", "no dataset")],
)  # fmt: skip
def test_report_whose_inputs_are_gone_says_which(copied, bucket, prefix, says):
    store, report = copied
    for info in list(store.list(bucket, prefix)):
        store.remove(bucket, info.key)
    with pytest.raises(EvidenceError, match=f"(?s)cannot be rebuilt.*{says}"):
        rebuild(store, report, workers=1)


def test_report_whose_episode_is_gone_says_which_one(copied):
    store, report = copied
    gone = next(info.key for info in store.list("episodes") if info.key.endswith(".h5"))
    store.remove("episodes", gone)
    with pytest.raises(EvidenceError, match=f"(?s)gone from the store: episode episode_.*{gone}"):
        rebuild(store, report, level="episodes", workers=1)


def test_exchanged_weights_are_refused(copied):
    store, report = copied
    one, other = (member.weights for member in report.inputs.members)
    store.put(one.bucket, one.key, store.get(other.bucket, other.key))
    with pytest.raises(IntegrityError):
        rebuild(store, report, workers=1)


def test_policies_answer_with_the_same_bits_on_any_number_of_threads(made):
    store, report = made
    episodes = load_split(store, open_dataset(store, report.dataset), "train")
    threads, answers = torch.get_num_threads(), []
    for count in (1, 2):
        torch.set_num_threads(count)
        answers.append(np.concatenate([item.scores for item in predict(store, report.inputs.members[0], episodes)]))
    torch.set_num_threads(threads)
    assert np.array_equal(*answers)


def test_new_value_inside_and_outside_the_old_interval_is_told_apart():
    def estimate(value):
        return Estimate(value=value, low=value - 0.1, high=value + 0.1, n=9, method="wilson")

    near, far, gone, same = differences(
        {"near": estimate(0.5), "far": estimate(0.5), "gone": 1.0, "word": "a", "rounding": 0.30000003},
        {"near": estimate(0.55), "far": estimate(0.7), "word": "b", "rounding": 0.3},
    )
    assert [(item.path, item.inside) for item in (near, far)] == [("near", True), ("far", False)]
    assert (gone.path, gone.after, gone.inside) == ("gone", None, None)
    assert same.path == "word"


def test_overlay_shows_the_store_below_and_never_writes_to_it(tmp_path):
    below = FolderStore(tmp_path / "below")
    below.put("models", "old", b"old")
    below.put("models", "memory/x", b"x")
    layer = OverlayStore(below, tmp_path / "own", hidden=("models/memory/",))
    layer.put("models", "old", b"new")
    layer.put("models", "own", b"own")
    assert (layer.get("models", "old"), below.get("models", "old")) == (b"new", b"old")
    assert [info.key for info in layer.list("models")] == ["old", "own"]
    assert layer.stat("models", "memory/x") is None
    assert [info.key for info in layer.written()] == ["old", "own"]
    assert [info.key for info in below.list("models")] == ["memory/x", "old"]


@pytest.fixture
def command(made, monkeypatch):
    store, _ = made
    monkeypatch.setattr("components.storage.connect", lambda settings: store)
    return lambda *arguments: CliRunner().invoke(app, ["rebuild", *arguments], terminal_width=200)


def test_command_ends_with_0_where_equal_and_3_where_not(made, command, tmp_path):
    _, report = made
    equal = command("latest")
    assert (equal.exit_code, "equal" in equal.output) == (0, True)
    out = tmp_path / "found.json"
    differs = command(str(doctored(report, improved, tmp_path / "report.json")), "--out", str(out))
    assert differs.exit_code == 3
    assert "macro-f1" in differs.output
    assert "1 of" in differs.output
    assert EvaluationReport.model_validate(json.loads(out.read_text())["again"]) == report


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_members_and_dataset_made_again_from_seeds_and_episodes_give_the_same_figures(copied, tmp_path):
    from components.training import fit_ensemble, train, train_members
    from components.training._cluster import cluster

    store, untrained = copied
    dataset = open_dataset(store, untrained.dataset)
    spec = recipes.compact_lstm(dataset.axes, features=12, hidden=12, training=TrainingSpec(epochs=2))
    with cluster(Settings(home=tmp_path), cpus=2):
        alone = train_members(store, dataset, {"alone": spec}, checkpoint_dir=tmp_path / "a")
        together = train(store, dataset, spec, name="together", workers=2, checkpoint_dir=tmp_path / "b")
        members = (*alone, together)
        report = evaluate(store, dataset, members, fit_ensemble(store, dataset, members), trials=None)
        found = rebuild(store, report, level="episodes", workers=1)
        claimed = rebuild(store, untrained, level="members", workers=1)
    assert [member.workers for member in report.inputs.members] == [1, 2]
    assert found.again.inputs.members[0].curve[0].frames_per_s != members[0].curve[0].frames_per_s, "not trained again"
    assert (found.made, found.figures) == ((), ())
    assert "one/weights/sha256" in [item.path for item in claimed.made], "those weights never came from their seeds"
    assert not claimed.equal
