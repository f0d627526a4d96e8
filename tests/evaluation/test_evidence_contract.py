"""A figure without what carries it cannot be built, and neither can a report that breaks a rule of evidence."""

import math

import pytest
from pydantic import ValidationError

from components.contracts import (
    AXES,
    BASELINES,
    BLIND,
    DRIVERS,
    Estimate,
    EvaluationReport,
    FrameSample,
    Leak,
    Metric,
    PairedTrials,
    RoomSample,
    TrialPlan,
)

SHA = "b" * 64


@pytest.fixture
def fields(world, policies):
    report = world().report(outcomes=policies["trials"]())
    return {name: getattr(report, name) for name in type(report).model_fields}


def _refused(fields, match, **changes):
    with pytest.raises(ValidationError, match=match):
        EvaluationReport(**(fields | changes))


def _estimate(value=0.2, n=12, method="bootstrap-by-episode"):
    return Estimate(value=value, low=value - 0.1, high=value + 0.1, n=n, method=method)


def _frames(**changes):
    return FrameSample(**({"dataset": SHA, "simulated": False, "axes": ("linear_x",)} | changes))


def _without(metrics, name):
    """Everybody's figures but one's."""
    return tuple(
        item.model_copy(update={"figures": {who: figure for who, figure in item.figures.items() if who != name}})
        for item in metrics
    )


def _altered(metrics, chosen, **changes):
    return tuple(item.model_copy(update=changes) if item is chosen else item for item in metrics)


def test_complete_report_survives_its_own_json(fields):
    report = EvaluationReport(**fields)
    assert EvaluationReport.parse(report.canonical_json(), source="report") == report


@pytest.mark.parametrize("missing", BASELINES)
def test_metric_without_a_baseline_is_refused(missing):
    figures = {name: _estimate() for name in ("policy", *BASELINES) if name != missing}
    with pytest.raises(ValidationError, match=missing):
        Metric(name="mae", sample=_frames(), figures=figures)


@pytest.mark.parametrize("missing", DRIVERS)
def test_driven_metric_without_a_reference_driver_is_refused(missing):
    figures = {name: _estimate(n=8, method="wilson") for name in ("policy", *DRIVERS) if name != missing}
    with pytest.raises(ValidationError, match=missing):
        Metric(name="success", sample=RoomSample(simulator="s", seed=0, rooms=8), figures=figures)


def test_metric_of_baselines_alone_is_refused():
    with pytest.raises(ValidationError, match="no policy to read"):
        Metric(name="mae", sample=_frames(), figures={name: _estimate() for name in BASELINES})


@pytest.mark.parametrize("missing", ["dataset", "axes", "simulated"])
def test_sample_that_does_not_say_what_it_is_is_refused(missing):
    fields = {"dataset": SHA, "simulated": False, "axes": ("linear_x",)}
    del fields[missing]
    with pytest.raises(ValidationError, match=missing):
        FrameSample(**fields)


def test_metric_over_unequal_units_is_refused():
    figures = {name: _estimate() for name in BASELINES} | {"policy": _estimate(n=24)}
    with pytest.raises(ValidationError, match="same units"):
        Metric(name="mae", sample=_frames(), figures=figures)


def test_rooms_that_call_themselves_real_are_refused():
    with pytest.raises(ValidationError):
        RoomSample(simulator="s", seed=0, rooms=8, simulated=False)


def test_first_frame_figure_without_its_warning_is_refused():
    figures = {name: _estimate() for name in (*BASELINES, "policy")}
    with pytest.raises(ValidationError, match="warning"):
        Metric(name="mae", sample=_frames(protocol="first-frame"), figures=figures)


@pytest.mark.parametrize("protocol", ["all-frames", "middle-frame", "random-frame"])
def test_frame_zero_under_another_protocol_is_refused(protocol):
    with pytest.raises(ValidationError, match="frame 0"):
        _frames(protocol=protocol, frame=0)


def test_success_rate_of_recorded_frames_is_refused():
    figures = {name: _estimate() for name in (*BASELINES, "policy")}
    with pytest.raises(ValidationError, match="cannot be measured on frames"):
        Metric(name="success", sample=_frames(), figures=figures)


@pytest.mark.parametrize("missing", ["ensemble", "mlp"])
def test_report_without_figures_of_a_policy_is_refused(fields, missing):
    _refused(fields, f"without: {missing}|baselines alone", metrics=_without(fields["metrics"], missing))


@pytest.mark.parametrize("missing", [*BASELINES, "mlp"])
def test_report_without_a_comparison_is_refused(fields, missing):
    kept = tuple(item for item in fields["comparisons"] if item.reference != missing)
    _refused(fields, f"not compared with: {missing}", comparisons=kept)


@pytest.mark.parametrize("gain", ["mae_gain", "key_accuracy_gain"])
def test_comparison_that_contradicts_the_scores_is_refused(fields, gain):
    first, *rest = fields["comparisons"]
    better = Estimate(value=0.9, low=0.8, high=1.0, n=12, method="paired-bootstrap-by-episode")
    _refused(fields, "the scores say", comparisons=(first.model_copy(update={gain: better}), *rest))


def test_figures_of_another_dataset_are_refused(fields):
    first = fields["metrics"][0]
    other = first.sample.model_copy(update={"dataset": SHA})
    _refused(fields, "a figure of dataset", metrics=_altered(fields["metrics"], first, sample=other))
    comparison, *rest = fields["comparisons"]
    _refused(fields, "a figure of dataset", comparisons=(comparison.model_copy(update={"sample": other}), *rest))


def test_simulated_frames_in_a_report_that_does_not_say_so_are_refused(fields):
    _refused(fields, "simulated: False", sources=("simulated",))


def test_constant_axis_among_the_axes_is_refused(fields):
    _refused(fields, "either scored or constant", axes=AXES)
    _refused(fields, "without", axes=AXES, constant_axes=())


def test_axis_that_is_not_mentioned_is_refused(fields):
    _refused(fields, "either scored or constant", constant_axes=())


def test_figure_over_a_constant_axis_is_refused(fields):
    axis = next(item for item in fields["metrics"] if item.sample.axes == ("linear_x",))
    extra = axis.model_copy(update={"sample": axis.sample.model_copy(update={"axes": ("angular_z",)})})
    _refused(fields, "constant axes enter no mean", metrics=(*fields["metrics"], extra))


def test_mean_that_is_not_over_its_axes_is_refused(fields):
    whole = fields["metrics"][0]
    flattered = whole.figures | {"ensemble": _estimate(0.01)}
    _refused(fields, "the mean over", metrics=_altered(fields["metrics"], whole, figures=flattered))


@pytest.mark.parametrize("figure", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["value", "low", "high"])
def test_figure_that_is_no_number_is_refused(where, figure):
    fields = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3, "method": "wilson"} | {where: figure}
    with pytest.raises(ValidationError):
        Estimate(**fields)


@pytest.mark.parametrize(
    "bare", [0.2, {"value": 0.2}, {"value": 0.2, "low": 0.1, "high": 0.15, "n": 3, "method": "wilson"}]
)
def test_bare_figure_is_refused(bare):
    figures = {name: _estimate() for name in BASELINES} | {"policy": bare}
    with pytest.raises(ValidationError):
        Metric(name="mae", sample=_frames(), figures=figures)


def test_closed_loop_without_its_trials_or_its_plan_is_refused(fields):
    _refused(fields, "their trials", trials=None)
    _refused(fields, "their plan", inputs=fields["inputs"].model_copy(update={"trials": None}))


def test_trials_without_figures_are_refused(fields):
    frames = tuple(item for item in fields["metrics"] if item.sample.kind == "frames")
    _refused(fields, "nothing was driven", metrics=frames)


def test_closed_loop_in_other_rooms_is_refused(fields):
    driven = next(item for item in fields["metrics"] if item.sample.kind == "rooms")
    other = driven.sample.model_copy(update={"seed": 99})
    _refused(fields, "same rooms", metrics=_altered(fields["metrics"], driven, sample=other))


def test_closed_loop_that_is_not_paired_with_everybody_is_refused(fields):
    kept = tuple(item for item in fields["paired_trials"] if item.reference != BLIND)
    _refused(fields, "not paired", paired_trials=kept)


def test_pairs_that_contradict_the_success_rates_are_refused(fields):
    first, *rest = fields["paired_trials"]
    more = first.model_dump() | {"subject_only": first.subject_only + 1, "neither": first.neither - 1}
    with pytest.raises(ValidationError, match="the counts say"):
        PairedTrials(**more)
    value = first.difference.value + 1 / first.rooms
    shifted = first.difference.model_copy(update={"value": value, "high": 1.0})
    _refused(fields, "contradict", paired_trials=(PairedTrials(**(more | {"difference": shifted})), *rest))


def test_run_that_may_stop_early_with_intervals_that_do_not_allow_it_is_refused(fields):
    plan = TrialPlan(margin=0.49, stop_early=True, shift_rooms=0)
    _refused(fields, "whenever it stops", inputs=fields["inputs"].model_copy(update={"trials": plan}))


def test_ablation_that_claims_what_its_interval_denies_is_refused(fields):
    item = fields["ablations"][0]
    with pytest.raises(ValidationError, match=f"held is {not item.held}"):
        type(item)(**(item.model_dump() | {"held": not item.held}))


def test_subject_that_is_none_of_the_inputs_is_refused(fields):
    _refused(fields, "none of the inputs", subject="somebody")
    _refused(fields, "none of the inputs", subject_digest=SHA)


def test_leak_is_a_figure_of_the_report_that_no_reader_can_miss(fields):
    leak = Leak(test=SHA, train="c" * 64, how="same-episode", observed="equal frames")
    report = EvaluationReport(**(fields | {"leaks": fields["leaks"].model_copy(update={"leaks": (leak,)})}))
    assert report.leaks.leaks == (leak,)
