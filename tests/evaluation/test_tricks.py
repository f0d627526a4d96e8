"""Ways to look better than one is. Each is tried for real and has to be caught: by the types, which refuse the report,
or by the gate, which names the rule. Beside each stands the same without the trick, which passes."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from pydantic import ValidationError

from components.contracts import (
    AXES,
    BASELINES,
    DatasetSpec,
    Ensemble,
    EpisodeRecord,
    EvaluationReport,
    FrameSample,
    Latency,
    Metric,
    PolicyPackage,
)
from components.datasets import build_dataset, load_split
from components.episodes import KEYS, EpisodeAttributes, EpisodeWriter, make_name, measure, read_episode
from components.evaluation import evaluate
from components.evaluation._leaks import check_leaks
from components.promotion import decide
from components.storage import FolderStore
from tests.evaluation.test_evaluate import _record, _untrained

SEES = {"sees-blank-images", "sees-shuffled-images", "sees-frozen-images"}
LISTENS = {"listens-swapped-instruction", "listens-blank-instruction"}
OTHER = "b" * 64


def broken(report):
    """The rules that refuse a package which is faultless but for this report."""
    package = PolicyPackage(
        manifest={"uri": "s3://models/x", "sha256": OTHER, "size": 9}, files={}, parity_max=0.0,
        latency=Latency(p50_ms=1, p95_ms=1, p99_ms=1, n=9, hardware="test", provider="test"),
        evaluation=report.digest(), subject=report.subject,
    )  # fmt: skip
    return {rule.rule for rule in decide(report, package, incumbent=None).rules if not rule.passed}


def parts(report):
    """The report's fields, to be built anew with something changed."""
    return {name: getattr(report, name) for name in EvaluationReport.model_fields}


def rebuilt(report, **changes):
    return EvaluationReport(**(parts(report) | changes))


@pytest.fixture
def honest(world):
    """24 test episodes that a robot recorded, and a policy that looks and listens."""
    return lambda **changes: world(24, **changes)


def test_policy_that_looks_and_listens_is_promoted(honest):
    assert broken(honest().report(sources=("robot",))) == set()


# What the policy does with its senses.


def without_images(episodes):
    """Knows the answers by heart, and only asks for the side."""
    side = {True: 1, False: -1}
    return [
        np.stack([[x, abs(y) * side["left" in item.instruction], z] for x, y, z in item.actions]).astype(np.float32)
        for item in episodes
    ]


def without_language(episodes):
    """Reads the keys off the picture, side and all; what it is told is nothing to it."""
    seen = [np.rint((item.frames[:, 0, 0, :].astype(float) - 100) / 50).clip(-1, 1) * 1.15 for item in episodes]
    return [item.astype(np.float32) for item in seen]


@pytest.mark.parametrize(("policy", "rules"), [(without_images, SEES), (without_language, LISTENS)])
def test_policy_that_ignores_a_sense_is_refused_however_small_its_error(honest, policy, rules):
    report = honest(drivers={"ensemble": policy}).report(sources=("robot",), inputs=honest().inputs(members=()))
    (score,) = [score for score in report.scores if score.name == "ensemble"]
    assert score.mae.value == pytest.approx(0, abs=1e-6)
    assert broken(report) == rules


# Leaks.


def test_test_episode_copied_into_training_under_another_name_is_refused(honest):
    clean = honest()
    days = [replace(item, session=f"day-{index}") for index, item in enumerate(clean.episodes)]
    training = [replace(item, session=f"another-{index}") for index, item in enumerate(clean.training)]
    copy = replace(days[3], sha256=OTHER, name="another", robot="robot-9", session="elsewhere")
    found = {"clean": check_leaks(training, [], days), "planted": check_leaks([*training, copy], [], days)}
    reports = {name: clean.report(sources=("robot",), leaks=leaks) for name, leaks in found.items()}
    assert broken(reports["clean"]) == set()
    assert broken(reports["planted"]) == {"no-leak"}


def copied(store, folder, episode):
    """The same recording in a file of another name, robot and day, long before."""
    source = folder / "source.h5"
    store.get_file("episodes", f"{episode.sha256}.h5", source)
    recorded = read_episode(source)
    name = make_name(datetime(2025, 1, 1, tzinfo=UTC), episode.scenario)
    attributes = EpisodeAttributes(name=name, session="copies", instruction=episode.instruction, source="robot")
    path = folder / f"{name}.h5"
    with EpisodeWriter(path, attributes, 45, 80, sync=False) as writer:
        for step, (image, action) in enumerate(zip(recorded.images, recorded.actions, strict=True)):
            writer.append(image, action, "start_action" if step else "episode_start")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    file = store.put_file("episodes", f"{sha256}.h5", path)
    record = EpisodeRecord(file=file, summary=measure(read_episode(path), sha256=sha256, robot="copier"))
    store.put("episodes", f"{sha256}.json", record.canonical_json())
    return record


def test_copy_that_reaches_training_through_the_store_is_refused_by_evaluate_and_gate(tmp_path):
    """A split by groups keeps equal content together whatever it is called; a contiguous one takes the files' word."""
    store = FolderStore(tmp_path / "store")
    records = _record(store, tmp_path, 40, "robot")
    contiguous = DatasetSpec(split_by="contiguous")
    clean = build_dataset(store, contiguous, records, workers=1)
    assert "no-leak" not in broken(evaluated(store, clean))

    original = clean.of("test")[-1]
    copy = copied(store, tmp_path, original)
    both = {original.sha256, copy.file.sha256}
    by_group = build_dataset(store, DatasetSpec(), [*records, copy], workers=1)
    assert len({item.split for item in by_group.episodes if item.sha256 in both}) == 1
    planted = build_dataset(store, contiguous, [*records, copy], workers=1)
    assert {item.split for item in planted.episodes if item.sha256 in both} == {"train", "test"}

    report = evaluated(store, planted)
    assert (original.sha256, copy.file.sha256) in {(leak.test, leak.train) for leak in report.leaks.leaks}
    assert "no-leak" in broken(report)


def evaluated(store, dataset):
    assert len(load_split(store, dataset, "test")) > 1
    members = (_untrained(store, dataset, "one", 0),)
    ensemble = Ensemble(
        members=members, weights=(1.0,), dataset=dataset.version, validation_loss=1.0, validation_loss_held_out=1.0
    )
    return evaluate(store, dataset, members, ensemble, trials=None)


# The mean made smaller by an axis that never moves.


def test_constant_axis_listed_as_varying_halves_nothing_unseen(honest):
    """angular_z is never pressed: three axes give two thirds of the error of two, for everybody."""
    drivers = {"ensemble": lambda episodes: [item.actions * [0.9, 0.9, 1] for item in episodes]}
    two, three = (
        honest(axes=axes, drivers=drivers).report(sources=("robot",), inputs=honest().inputs(members=()))
        for axes in (AXES[:2], AXES)
    )
    errors = {name: report.find("mae").figures["ensemble"].value for name, report in (("two", two), ("three", three))}
    assert errors["three"] == pytest.approx(errors["two"] * 2 / 3)
    assert "only-varying-axes" not in broken(two)
    assert "only-varying-axes" in broken(three)


def zero_on(metric, axes):
    """A row of angular_z, on which everybody is right."""
    free = {name: item.model_copy(update={"value": 0.0, "low": 0.0, "high": 0.0})
            for name, item in metric.figures.items()}  # fmt: skip
    return Metric(name="mae", sample=metric.sample.model_copy(update={"axes": axes}), figures=free)


def test_constant_axis_in_an_extra_row_is_refused_by_the_type(honest):
    report = honest().report()
    whole = report.find("mae")
    for axes in (AXES, ("angular_z",), ("linear_x", "angular_z")):
        with pytest.raises(ValidationError, match="constant axes enter no mean"):
            rebuilt(report, metrics=(*report.metrics, zero_on(whole, axes)))


def test_constant_axis_relabelled_as_one_that_varies_is_refused(honest):
    report = honest().report(sources=("robot",))
    whole = report.find("mae")
    renamed = zero_on(whole, ("linear_y",))
    own = report.find("mae", axes=("linear_y",))
    others = tuple(item for item in report.metrics if item is not own)
    with pytest.raises(ValidationError, match="the mean over its axes"):
        rebuilt(report, metrics=(*others, renamed))
    again = report.find("key-accuracy").model_copy(update={"figures": whole.figures})
    with pytest.raises(ValidationError, match="several of key-accuracy"):  # whichever the reader takes
        rebuilt(report, metrics=(*report.metrics, again))


def test_diluted_mean_that_adds_up_contradicts_the_comparisons_and_the_gate_sees_the_axis(honest):
    """The whole and its parts forged alike; then the comparisons too. What cannot be forged away is that the constant
    is right for free."""
    report = honest().report(sources=("robot",))
    forged = diluted(report)
    with pytest.raises(ValidationError, match="the scores say"):
        rebuilt(report, metrics=forged)
    maes = next(item for item in forged if item.name == "mae" and item.sample == report.find("mae").sample).figures
    compared = tuple(
        item.model_copy(update={"mae_gain": item.mae_gain.model_copy(update={
            "value": (gain := maes[item.reference].value - maes[item.subject].value),
            "low": gain - 0.01, "high": gain + 0.01,
        })})
        for item in report.comparisons
    )  # fmt: skip
    assert broken(rebuilt(report, metrics=forged, comparisons=compared)) == {"only-varying-axes"}


def diluted(report):
    """linear_y stands for angular_z now: half the error of linear_x is the mean, frame by frame too."""
    x, y, whole = report.find("mae", axes=("linear_x",)), report.find("mae", axes=("linear_y",)), report.find("mae")
    ratio = {name: x.figures[name].value / 2 / max(item.value, 1e-12) for name, item in whole.figures.items()}

    def forged(item):
        if item is y:
            return zero_on(item, ("linear_y",))
        if item.name != "mae" or item.sample.axes != report.axes:
            return item
        return item.model_copy(update={"figures": {name: scaled(figure, ratio[name])
                                                   for name, figure in item.figures.items()}})  # fmt: skip

    return tuple(forged(item) for item in report.metrics)


def scaled(estimate, factor):
    values = {name: getattr(estimate, name) * factor for name in ("value", "low", "high")}
    return estimate.model_copy(update=values)


@pytest.mark.parametrize("axes", [("linear_x", "linear_x"), ("linear_y", "linear_x"), ()])
def test_axes_named_twice_or_in_another_order_are_refused_by_the_type(axes):
    with pytest.raises(ValidationError):
        FrameSample(dataset=OTHER, simulated=False, axes=axes)


def test_axis_that_is_neither_scored_nor_constant_is_refused_by_the_type(honest):
    report = honest().report()
    with pytest.raises(ValidationError, match="either scored or constant"):
        rebuilt(report, constant_axes=())
    with pytest.raises(ValidationError, match="either scored or constant"):
        rebuilt(report, axes=AXES)


# Figures of other data.


def test_figures_of_another_dataset_are_refused_by_the_type(honest):
    report = honest().report()
    elsewhere = report.metrics[0].sample.model_copy(update={"dataset": OTHER})
    moved = report.metrics[0].model_copy(update={"sample": elsewhere})
    with pytest.raises(ValidationError, match="a figure of dataset bbbbbbbbbbbb"):
        rebuilt(report, metrics=(moved, *report.metrics[1:]))
    compared = report.comparisons[0].model_copy(update={"sample": elsewhere})
    with pytest.raises(ValidationError, match="a figure of dataset bbbbbbbbbbbb"):
        rebuilt(report, comparisons=(compared, *report.comparisons[1:]))


def test_policy_trained_on_another_dataset_is_refused(honest):
    """Its own test episodes may be this one's training, and no leak was looked for there."""
    report = honest().report(sources=("robot",))
    member = report.inputs.members[0].model_copy(update={"dataset": OTHER})
    ensemble = report.inputs.ensemble.model_copy(update={"members": (member,)})
    inputs = report.inputs.model_copy(update={"members": (member,), "ensemble": ensemble})
    assert broken(rebuilt(report, inputs=inputs, subject_digest=ensemble.digest())) == {"trained-on-this-dataset"}


def test_report_of_another_evaluation_does_not_carry_the_package(honest):
    good, other = (honest(seed=0).report(sources=("robot",)), honest().report(sources=("robot",), lineage=LATER))
    package = PolicyPackage(
        manifest={"uri": "s3://models/x", "sha256": OTHER, "size": 9}, files={}, parity_max=0.0,
        latency=Latency(p50_ms=1, p95_ms=1, p99_ms=1, n=9, hardware="test", provider="test"),
        evaluation=good.digest(), subject="ensemble",
    )  # fmt: skip
    decision = decide(other, package, incumbent=None)
    assert [rule.rule for rule in decision.rules if not rule.passed] == ["evidence-is-its-own"]


LATER = {"code_revision": "later", "python": "3.11", "packages": {}, "machine": "another"}


# Frame 0, whose action is always zero.


def test_frame_zero_has_no_figure_of_its_own():
    with pytest.raises(ValidationError, match="always zero"):
        FrameSample(dataset=OTHER, simulated=False, axes=("linear_x",), frame=0)


def first_frames(report):
    """By metric: what the report says of frame 0 alone, warning and all."""
    return {
        item.name: item for item in report.metrics if getattr(item.sample, "protocol", None) == "first-frame"
    }  # fmt: skip


def test_first_frame_figures_alone_make_no_report(honest):
    report = honest().report()
    with pytest.raises(ValidationError, match="every policy is scored on all frames"):
        rebuilt(report, metrics=tuple(first_frames(report).values()))


def test_first_frame_figures_cannot_stand_for_those_of_all_frames(honest):
    report = honest().report()
    first = first_frames(report)["mae"].figures
    assert first["repeat-previous"].value == 0
    for only_whole, why in ((False, "the mean over its axes"), (True, "the mean over its frames")):
        kept = tuple(
            item.model_copy(update={"figures": first})
            if item.name == "mae" and item.sample.protocol == "all-frames" and item.sample.scenario is None
            and item.sample.frame is None and (only_whole or item.sample.axes == report.axes)
            else item
            for item in report.metrics
        )  # fmt: skip
        with pytest.raises(ValidationError, match=why):
            rebuilt(report, metrics=kept)


def test_all_frames_without_their_parts_are_refused(honest):
    report = honest().report(sources=("robot",))
    bare = tuple(item for item in report.metrics if getattr(item.sample, "frame", None) is None)
    assert broken(rebuilt(report, metrics=bare)) == {"all-frames-count"}


@pytest.mark.parametrize("protocol", ["first-frame", "middle-frame", "random-frame"])
def test_comparison_on_one_frame_an_episode_beats_no_baseline(honest, protocol):
    report = honest().report(sources=("robot",))
    compared = tuple(
        item.model_copy(update={"sample": item.sample.model_copy(update={"protocol": protocol})})
        for item in report.comparisons
    )
    assert broken(rebuilt(report, comparisons=compared)) == {f"beats-{name}" for name in BASELINES}


def test_test_split_of_first_frames_alone_loses_to_repeating_the_previous_action(honest):
    """Whoever stands still is perfect on it, and so is the baseline."""
    still = honest(drivers={"ensemble": lambda episodes: [np.zeros_like(item.actions) for item in episodes]})
    still.episodes = [
        replace(item, frames=np.repeat(item.frames[:1], 18, 0), actions=np.tile(KEYS["space"], (18, 1)))
        for item in still.episodes
    ]
    report = still.report(sources=("robot",), inputs=still.inputs(members=()))
    assert report.find("mae").figures["ensemble"].value == 0
    assert "beats-repeat-previous" in broken(report)
    assert broken(report) >= SEES | LISTENS
