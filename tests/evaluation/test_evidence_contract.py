"""A report that breaks a rule of evidence cannot be built."""

import math

import pytest
from pydantic import ValidationError

from components.contracts import AXES, BASELINES, Estimate, EvaluationReport


@pytest.fixture
def fields(world, policies):
    report = world().report(outcomes=policies["trials"]())
    return {name: getattr(report, name) for name in type(report).model_fields}


def _refused(fields, match, **changes):
    with pytest.raises(ValidationError, match=match):
        EvaluationReport(**(fields | changes))


def test_complete_report_survives_its_own_json(fields):
    report = EvaluationReport(**fields)
    assert EvaluationReport.parse(report.canonical_json(), source="report") == report


@pytest.mark.parametrize("missing", BASELINES)
def test_report_without_a_baseline_is_refused(fields, missing):
    _refused(fields, missing, scores=tuple(item for item in fields["scores"] if item.name != missing))


@pytest.mark.parametrize("missing", [*BASELINES, "mlp"])
def test_report_without_a_comparison_is_refused(fields, missing):
    kept = tuple(item for item in fields["comparisons"] if item.reference != missing)
    _refused(fields, f"not compared with: {missing}", comparisons=kept)


def test_comparison_that_contradicts_the_scores_is_refused(fields):
    first, *rest = fields["comparisons"]
    better = Estimate(value=0.9, low=0.8, high=1.0, n=12, method="paired-bootstrap-by-episode")
    _refused(fields, "the scores say", comparisons=(first.model_copy(update={"mae_gain": better}), *rest))


def test_constant_axis_among_the_axes_is_refused(fields):
    _refused(fields, "either scored or constant", axes=AXES)
    _refused(fields, "is scored on", axes=AXES, constant_axes=())


def test_axis_that_is_not_mentioned_is_refused(fields):
    _refused(fields, "either scored or constant", constant_axes=())


def test_mean_that_is_not_over_its_axes_is_refused(fields):
    score = fields["scores"][1]
    flattered = score.model_dump() | {"mae_by_axis": score.model_dump()["mae_by_axis"] | {"angular_z": _exact(0.0)}}
    with pytest.raises(ValidationError, match="the mean over"):
        type(score)(**flattered)


def _exact(value):
    return Estimate(value=value, low=value, high=value, n=12, method="bootstrap-by-episode").model_dump()


@pytest.mark.parametrize("figure", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["value", "low", "high"])
def test_figure_that_is_no_number_is_refused(where, figure):
    fields = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3, "method": "wilson"} | {where: figure}
    with pytest.raises(ValidationError):
        Estimate(**fields)


def test_bare_figure_is_refused(fields):
    score = fields["scores"][0].model_dump()
    for bare in (0.2, {"value": 0.2}, {"value": 0.2, "low": 0.1, "high": 0.15, "n": 3, "method": "wilson"}):
        with pytest.raises(ValidationError):
            type(fields["scores"][0])(**(score | {"mae": bare}))


def test_closed_loop_without_its_references_is_refused(fields):
    for role in ("subject", "expert", "straight-ahead"):
        kept = tuple(item for item in fields["closed_loop"] if item.role != role)
        _refused(fields, role, closed_loop=kept)


def test_closed_loop_without_its_trials_is_refused(fields):
    _refused(fields, "trials", trials=None)


def test_closed_loop_in_unequal_rooms_is_refused(fields, world, policies):
    other = world().closed_loop(policies["trials"](rooms=8))
    _refused(fields, "same rooms", closed_loop=(*fields["closed_loop"][:2], other[2]))


def test_closed_loop_that_calls_itself_real_is_refused(fields):
    score = fields["closed_loop"][0]
    with pytest.raises(ValidationError):
        type(score)(**(score.model_dump() | {"simulated": False}))


def test_ablation_that_claims_what_its_interval_denies_is_refused(fields):
    item = fields["ablations"][0]
    with pytest.raises(ValidationError, match="held is False"):
        type(item)(**(item.model_dump() | {"held": False}))


def test_subject_without_a_score_is_refused(fields):
    _refused(fields, "has no score", subject="somebody")


def test_two_scores_of_one_name_are_refused(fields):
    _refused(fields, "one score a name", scores=(*fields["scores"], fields["scores"][0]))
