"""The gate: every rule passes on good evidence and fails alone when its own figure is bad."""

from datetime import UTC, datetime
from typing import Any

import pytest

from components.contracts import (
    BASELINES,
    BLIND,
    INCUMBENT,
    STRAIGHT_AHEAD,
    Ablation,
    Budget,
    Ensemble,
    EvaluationReport,
    FrameSample,
    Incumbent,
    Latency,
    Leak,
    LeakCheck,
    PolicyPackage,
    PromotionDecision,
    Release,
    RuleOutcome,
    ShiftEffect,
    Tolerances,
    TrialPlan,
)
from components.promotion import GateRules, decide
from tests.reports import DIGEST, REF, estimate, make_ablations, make_ensemble, make_member, make_report, pair

OLD = make_ensemble(loss=2.0)
WHOLE = FrameSample(dataset=DIGEST, simulated=True, axes=("linear_x",))


def make_package(report: EvaluationReport, *, parity: float = 1e-6, p99: float = 10, size: int = 1000) -> PolicyPackage:
    latency = Latency(p50_ms=5, p95_ms=8, p99_ms=p99, n=60, hardware="test", provider="CPUExecutionProvider")
    return PolicyPackage(
        manifest=REF.model_copy(update={"size": size}), files={}, parity_max=parity, latency=latency,
        evaluation=report.digest(), subject=report.subject,
    )  # fmt: skip


def incumbent_of(ensemble: Ensemble = OLD) -> Incumbent:
    release = Release(name="r0001", number=1, package=DIGEST, hardware=("simulated",), created_at=datetime.now(UTC))
    return Incumbent(release=release, package=make_package(make_report()), ensemble=ensemble, report=None)


def broken(decision: PromotionDecision) -> list[str]:
    return [rule.rule for rule in decision.rules if not rule.passed]


def judge(report: EvaluationReport, incumbent: Incumbent | None = None, **package: Any) -> list[str]:
    return broken(decide(report, make_package(report, **package), incumbent=incumbent))


def rule_of(decision: PromotionDecision, name: str) -> RuleOutcome:
    (found,) = [rule for rule in decision.rules if rule.rule == name]
    return found


def test_good_evidence_promotes_and_every_rule_says_what_it_looked_at() -> None:
    report = make_report()
    decision = decide(report, make_package(report), incumbent=None)
    assert decision.promote
    assert {f"beats-{name}" for name in BASELINES} <= {rule.rule for rule in decision.rules}
    assert all(rule.evidence and rule.figure and rule.needs for rule in decision.rules)
    gain = rule_of(decision, "beats-constant")
    assert (gain.figure, gain.needs) == ("comparisons.constant.mae_gain", "low > 0")
    assert gain.estimate == report.comparisons[1].mae_gain
    assert "simulated" in gain.evidence
    assert "simulated" in rule_of(decision, "drives-better-than-straight-ahead").evidence


def test_baseline_whose_interval_touches_zero_is_not_beaten() -> None:
    assert judge(make_report(mae=0.26)) == [f"beats-{name}" for name in BASELINES]


def test_margin_that_is_asked_for_has_to_be_passed() -> None:
    report = make_report(mae=0.1, spread=0.05)  # the gain is 0.2, surely above 0.15
    wanted = {margin: decide(report, make_package(report), incumbent=None, rules=GateRules(baseline_gain=margin))
              for margin in (0.14, 0.16)}  # fmt: skip
    assert wanted[0.14].promote
    assert broken(wanted[0.16]) == [f"beats-{name}" for name in BASELINES]
    assert rule_of(wanted[0.16], "beats-constant").needs == "low > 0.16"


def test_evidence_of_another_package_is_refused() -> None:
    package = make_package(make_report(mae=0.05))
    assert broken(decide(make_report(), package, incumbent=None)) == ["evidence-is-its-own"]


def test_parity_latency_and_size_beyond_what_is_borne_are_refused() -> None:
    assert judge(make_report(), parity=2e-3) == ["parity"]
    assert judge(make_report(), p99=301) == ["latency"]
    assert judge(make_report(), size=3 * 2**30) == ["size"]
    report = make_report()
    tight = GateRules(budget=Budget(p99_ms=9), tolerances=Tolerances(scores=1e-7))
    assert broken(decide(report, make_package(report), incumbent=None, rules=tight)) == ["parity", "latency"]


def test_policy_of_another_dataset_is_refused_because_no_leak_was_looked_for_there() -> None:
    elsewhere = make_ensemble(make_member(dataset="b" * 64))
    assert judge(make_report(elsewhere)) == ["trained-on-this-dataset"]


@pytest.mark.parametrize(
    "leaks",
    [
        LeakCheck(test_episodes=20, other_episodes=80, leaks=(
            Leak(test="c" * 64, train="d" * 64, how="same-episode", observed="18 of 18 frames"),
        )),
        LeakCheck(test_episodes=0, other_episodes=80, leaks=()),
        LeakCheck(test_episodes=19, other_episodes=80, leaks=()),
        LeakCheck(test_episodes=20, other_episodes=0, leaks=()),
    ],
    ids=["a leak", "no test episode compared", "one was left out", "compared with nothing"],
)  # fmt: skip
def test_leak_or_a_search_for_leaks_that_is_not_whole_is_refused(leaks: LeakCheck) -> None:
    assert judge(make_report(leaks=leaks)) == ["no-leak"]


def test_frames_of_unknown_origin_are_refused() -> None:
    assert judge(make_report(success=None, sources=())) == ["frames-are-named", "closed-loop"]


def test_axis_on_which_the_constant_never_errs_is_refused() -> None:
    report = make_report(axes=("linear_x", "angular_z"), others=0.2)
    assert judge(report) == []
    free = tuple(_free(item) if getattr(item.sample, "axes", ()) else item for item in report.metrics)
    assert judge(report.model_copy(update={"metrics": free})) == ["only-varying-axes"]


def _free(metric: Any) -> Any:
    """The same with angular_z right for free, and the whole's mean as it follows: half of linear_x's."""
    if metric.name != "mae" or metric.sample.frame or metric.sample.protocol != "all-frames":
        return metric
    shares = {("angular_z",): 0.0, ("linear_x",): 1.0, ("linear_x", "angular_z"): 0.5}
    scaled = {name: estimate(item.value * shares[metric.sample.axes], 0.0) for name, item in metric.figures.items()}
    return metric.model_copy(update={"figures": scaled})


def test_report_without_figures_frame_by_frame_is_refused() -> None:
    report = make_report()
    whole = tuple(item for item in report.metrics if getattr(item.sample, "frame", None) is None)
    assert judge(report.model_copy(update={"metrics": whole})) == ["all-frames-count"]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("blank-images", "sees-blank-images"),
        ("shuffled-images", "sees-shuffled-images"),
        ("frozen-images", "sees-frozen-images"),
        ("swapped-instruction", "listens-swapped-instruction"),
        ("blank-instruction", "listens-blank-instruction"),
    ],
)
def test_policy_that_does_not_care_for_a_sense_is_refused(name: str, rule: str) -> None:
    numb = make_ablations(WHOLE, **{name.replace("-", "_"): 0.01})
    assert judge(make_report(ablations=numb)) == [rule]
    assert judge(make_report(ablations=tuple(item for item in numb if item.name != name))) == [rule]


def test_ablation_that_was_expected_to_change_nothing_does_not_count_as_seeing() -> None:
    stays = [
        Ablation.model_validate(item.model_dump() | {"expects": "stays", "margin": 0.1, "held": True})
        if item.name == "blank-images" else item
        for item in make_ablations(WHOLE, blank_images=0.0)
    ]  # fmt: skip
    assert judge(make_report(ablations=tuple(stays))) == ["sees-blank-images"]


def test_paraphrase_and_shifts_inform_and_do_not_decide() -> None:
    shifts = (
        ShiftEffect(shift="dim", family="light", what="half the light", loss=estimate(0.1, 0.1, 16, "newcombe-paired")),
        ShiftEffect(shift="slip", family="motor", what="30 % slip", loss=estimate(0.6, 0.2, 16, "newcombe-paired")),
    )
    report = make_report(ablations=make_ablations(WHOLE, paraphrased_instruction=0.4), shifts=shifts)
    decision = decide(report, make_package(report), incumbent=None)
    assert decision.promote
    assert "0.400 [0.380, 0.420], n=20" in decision.notes[0]
    assert "not shown to stay" in decision.notes[0]
    assert "worst of 2 shift suites: slip" in decision.notes[1]


def test_driving_no_better_than_straight_ahead_or_blind_is_refused() -> None:
    assert judge(make_report(success=0.275)) == [f"drives-better-than-{BLIND}"]
    assert judge(make_report(success=0.15)) == [f"drives-better-than-{STRAIGHT_AHEAD}", f"drives-better-than-{BLIND}"]


def test_simulated_data_without_a_closed_loop_is_refused() -> None:
    driven = make_report()
    nothing = {"metrics": tuple(item for item in driven.metrics if item.sample.kind == "frames"), "trials": None}
    report = make_report(**nothing, paired_trials=())
    decision = decide(report, make_package(report), incumbent=None)
    assert broken(decision) == [f"drives-better-than-{STRAIGHT_AHEAD}", f"drives-better-than-{BLIND}"]
    assert "run with `trials`" in rule_of(decision, f"drives-better-than-{BLIND}").helps


def test_robot_that_cannot_be_simulated_is_judged_without_closed_loop_and_told() -> None:
    report = make_report(success=None)
    decision = decide(report, make_package(report), incumbent=None)
    assert decision.promote
    assert "nothing was driven" in rule_of(decision, "closed-loop").evidence
    assert not any("simulated frames" in rule.evidence for rule in decision.rules)


def test_run_that_may_stop_early_is_judged_by_intervals_that_hold_then() -> None:
    plan = TrialPlan(stop_early=True)
    report = make_report(plan=plan)
    assert judge(report) == []
    rates = {score.name: score.success.value for score in report.closed_loop}
    usual = pair("ensemble", BLIND, rates, TrialPlan()).model_copy(update={"p_value": None})
    mixed = tuple(usual if item.reference == BLIND else item for item in report.paired_trials)
    assert judge(make_report(plan=plan, paired_trials=mixed)) == [f"drives-better-than-{BLIND}"]


def test_surely_worse_than_the_incumbent_by_mae_is_refused() -> None:
    assert judge(make_report(mae=0.1, incumbent=(OLD, 0.09)), incumbent_of()) == []
    worse = make_report(mae=0.1, incumbent=(OLD, 0.01))
    assert judge(worse, incumbent_of()) == ["mae-not-worse-than-incumbent"]
    assert (
        "surely worse"
        in rule_of(decide(worse, make_package(worse), incumbent=incumbent_of()), "mae-not-worse-than-incumbent").helps
    )


@pytest.mark.parametrize(("rate", "refused"), [(0.75, []), (0.775, ["drives-not-worse-than-incumbent"])])
def test_incumbent_is_replaced_by_who_surely_loses_less_than_the_margin(rate: float, refused: list[str]) -> None:
    """0.7 against 0.75 leaves [-0.14, 0.04], against 0.775 [-0.165, 0.015]; the margin is 0.15."""
    report = make_report(success=0.7, incumbent=(OLD, 0.12), incumbent_success=rate)
    assert judge(report, incumbent_of()) == refused


def test_incumbent_that_was_not_measured_is_not_replaced() -> None:
    both = ["mae-not-worse-than-incumbent", "drives-not-worse-than-incumbent"]
    report = make_report()
    decision = decide(report, make_package(report), incumbent=incumbent_of())
    assert broken(decision) == both
    assert "Evaluate with the incumbent, r0001" in rule_of(decision, both[0]).helps
    assert judge(make_report(success=None), incumbent_of()) == both[:1]


def test_another_policy_measured_as_the_incumbent_does_not_count() -> None:
    weak = make_report(incumbent=(make_ensemble(loss=3.0), 0.5), incumbent_success=0.1)
    assert judge(weak, incumbent_of()) == ["mae-not-worse-than-incumbent", "drives-not-worse-than-incumbent"]


def test_incumbents_own_report_is_never_looked_at() -> None:
    """Its figures are those that this report measured beside the subject's."""
    report = make_report(incumbent=(OLD, 0.12))
    flattered = incumbent_of().model_copy(update={"report": make_report(mae=0.9, success=0.0)})
    package = make_package(report)
    assert decide(report, package, incumbent=flattered) == decide(report, package, incumbent=incumbent_of())
    assert INCUMBENT in {score.name for score in report.scores}


def test_decision_that_contradicts_its_rules_cannot_be_built() -> None:
    report = make_report(mae=0.26)
    decision = decide(report, make_package(report), incumbent=None)
    with pytest.raises(ValueError, match="if and only if every rule passed"):
        PromotionDecision.model_validate(decision.model_dump() | {"promote": True})
