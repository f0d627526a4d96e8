"""A figure ends where mathematics ends it: a probability at 1, an error nowhere."""

import math
from typing import Any

import numpy as np
import pytest

from components.contracts import BASELINES, EvaluationReport, FrameSample, Frozen
from components.evaluation._intervals import RATE, Bootstrap, Bounds
from components.evaluation._metrics import _figures, compare, measure
from components.evaluation._room_metrics import MEANS
from components.evaluation._truth import Truth
from components.promotion import GateRules

AXES = ("linear_x", "angular_z")


def truth_of(speed: float, *, episodes: int = 4, frames: int = 6) -> Truth:
    """A robot that drives far faster than those that are driven by keys, and turns now and then."""
    actions = np.zeros((episodes, frames, 3), dtype=np.float32)
    actions[:, 1:, 0] = speed + np.arange(episodes)[:, None]
    actions[:, 1:, 2] = -speed * (np.arange(frames - 1) % 2)
    return Truth(episodes=tuple(actions), scenarios=(None,) * episodes, axes=AXES, keys=False)


@pytest.mark.parametrize("speed", [1.0, 3.0, 40.0])
def test_an_error_above_every_key_press_is_measured_and_has_its_interval(speed: float) -> None:
    truth = truth_of(speed)
    sample = FrameSample(dataset="a" * 64, simulated=False, axes=AXES)
    wrong = [np.full_like(item, -1.15) for item in truth.episodes]
    predicted = dict.fromkeys((*BASELINES, "policy"), wrong)

    found = {item.name: item for item in measure(truth, sample, predicted, seed=0) if item.sample == sample}
    mae = found["mae"].figures["policy"]
    gain = compare(truth, sample, ("policy", list(truth.episodes)), ("constant", wrong), seed=0).mae_gain

    assert mae.low <= mae.value <= mae.high < math.inf
    assert mae.value > 2.3 or speed == 1.0
    assert gain.low <= gain.value <= gain.high


def test_only_probabilities_rates_and_scores_with_an_end_of_their_own_have_a_maximum() -> None:
    ends = {name: bounds.high for name, (_, bounds) in _figures(truth_of(1.0)).items()}
    ends |= {name: bounds.high for name, (_, bounds) in MEANS.items()}
    ends = {name: high for name, high in ends.items() if high != math.inf}
    rates = {"key-accuracy", "within-0.3", "within-0.2", "within-0.15", "within-0.1", "r2", "correlation", "spl"}
    assert ends == dict.fromkeys(rates, 1.0)


def test_the_largest_value_of_a_reports_field_is_a_probabilitys() -> None:
    found: dict[str, float] = {}

    def visit(kind: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, Frozen) and kind not in seen:
            seen.add(kind)
            for name, field in kind.model_fields.items():
                limits = [getattr(item, "le", getattr(item, "lt", None)) for item in field.metadata]
                floats = field.annotation in {float, float | None}
                found.update({f"{kind.__name__}.{name}": limit for limit in limits if limit is not None and floats})
                visit(field.annotation)
        for part in getattr(kind, "__args__", ()):
            visit(part)

    seen: set[type] = set()
    visit(EvaluationReport)
    chosen_beforehand = {"TrialPlan.margin", "TrainingSpec.warmup_fraction", "PolicySpec.dropout"}
    assert {name: limit for name, limit in found.items() if limit != 1 and name not in chosen_beforehand} == {}
    assert len(found) > 5


def test_margins_of_errors_have_no_maximum_and_those_of_rates_have() -> None:
    assert GateRules(baseline_gain=5.0, sense_loss=5.0, incumbent_mae=5.0).baseline_gain == 5.0
    with pytest.raises(ValueError, match="less than or equal to 1"):
        GateRules(driving_gain=1.5)


def test_one_unit_of_a_figure_without_an_end_has_no_interval_and_a_rates_is_all_there_is() -> None:
    table = {"error": np.array([[0.3]])}

    def figure(sums: Any) -> Any:
        return sums["error"][..., 0]

    assert Bootstrap(1, seed=0).estimate(table, figure, Bounds(0.0), "bootstrap-by-episode") is None
    rate = Bootstrap(1, seed=0).estimate(table, figure, RATE, "bootstrap-by-episode")
    assert rate is not None
    assert (rate.low, rate.high) == (0.0, 1.0)
