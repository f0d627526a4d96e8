"""The gate: every rule passes on good evidence and fails alone when its own figure is bad."""

from datetime import UTC, datetime
from typing import Any

import pytest

from components.contracts import (
    BASELINES,
    Ablation,
    Budget,
    ClosedLoopScore,
    Comparison,
    Estimate,
    EvaluationReport,
    Latency,
    Lineage,
    ObjectRef,
    OpenLoopScore,
    PolicyPackage,
    PromotionDecision,
    Release,
    RuleOutcome,
)
from components.promotion import decide

DIGEST = "a" * 64
REF = ObjectRef(uri="s3://models/blobs/x", sha256=DIGEST, size=1000)
INCUMBENT = Release(name="r0001", number=1, package=DIGEST, hardware=("simulated",), created_at=datetime.now(UTC))


def estimate(value: float, spread: float, method: str = "bootstrap-by-episode") -> Estimate:
    return Estimate(value=value, low=value - spread, high=value + spread, n=20, method=method)


def score(name: str, role: str, mae: float) -> OpenLoopScore:
    one = estimate(mae, 0.01)
    return OpenLoopScore(
        name=name, role=role, mae=one, mae_by_axis={"linear_x": one}, mae_by_scenario={}, key_accuracy=one,
        macro_f1=one, accuracy_within={}, r2=one, correlation=one,
    )  # fmt: skip


def drive(name: str, role: str, success: float) -> ClosedLoopScore:
    one = estimate(success, 0.08, "wilson")
    return ClosedLoopScore(name=name, role=role, success=one, collisions=one, spl=one, mean_steps=20)


def make_report(
    *, mae: float = 0.1, spread: float = 0.05, incumbent: float | None = None, success: float = 0.7, **changes: Any
) -> EvaluationReport:
    others = dict.fromkeys(BASELINES, 0.3) | ({"old": incumbent} if incumbent is not None else {})
    scores = [score("new", "ensemble", mae)]
    scores += [score(name, "baseline" if name in BASELINES else "incumbent", value) for name, value in others.items()]
    gains = {name: estimate(value - mae, spread, "paired-bootstrap-by-episode") for name, value in others.items()}
    facts: dict[str, Any] = {
        "subject": "new", "subject_digest": DIGEST, "dataset": DIGEST, "frames": 340, "episodes": 20,
        "axes": ("linear_x",), "constant_axes": ("linear_y", "angular_z"), "scores": tuple(scores),
        "comparisons": tuple(Comparison(subject="new", reference=name, mae_gain=gain) for name, gain in gains.items()),
        "ablations": tuple(
            Ablation(name=name, mae=estimate(0.4, 0.02), mae_loss=estimate(0.3, 0.02), expected="worse", held=True)
            for name in ("blank-images", "shuffled-images", "swapped-instruction")
        ),
        "closed_loop": (
            drive("new", "subject", success), drive("straight", "straight-ahead", 0.1), drive("expert", "expert", 0.9),
        ),
        "trials": None, "curves": {}, "html": None,
        "lineage": Lineage(code_revision="test", python="3.11", packages={}, machine="test"),
    }  # fmt: skip
    facts |= changes
    facts["trials"] = REF if facts["closed_loop"] else None
    return EvaluationReport.model_validate(facts)


def make_package(report: EvaluationReport, *, parity: float = 1e-6, p99: float = 10, size: int = 1000) -> PolicyPackage:
    latency = Latency(p50_ms=5, p95_ms=8, p99_ms=p99, n=60, hardware="test", provider="CPUExecutionProvider")
    manifest = REF.model_copy(update={"size": size})
    return PolicyPackage(
        manifest=manifest, files={}, parity_max=parity, latency=latency, evaluation=report.digest(), subject="new"
    )


def broken(decision: PromotionDecision) -> list[str]:
    assert decision.promote == all(rule.passed for rule in decision.rules)
    return [rule.rule for rule in decision.rules if not rule.passed]


def judge(report: EvaluationReport, incumbent: Release | None = None, **package: Any) -> list[str]:
    return broken(decide(report, make_package(report, **package), incumbent=incumbent))


def test_good_evidence_promotes_and_every_rule_says_why() -> None:
    report = make_report()
    decision = decide(report, make_package(report), incumbent=None)
    assert decision.promote
    assert {f"beats-{name}" for name in BASELINES} <= {rule.rule for rule in decision.rules}
    assert all(rule.evidence for rule in decision.rules)


def test_baseline_whose_interval_touches_zero_is_not_beaten() -> None:
    assert judge(make_report(mae=0.26)) == [f"beats-{name}" for name in BASELINES]


def test_evidence_of_another_package_is_refused() -> None:
    package = make_package(make_report(mae=0.05))
    assert broken(decide(make_report(), package, incumbent=None)) == ["evidence-is-its-own"]


def test_parity_latency_and_size_beyond_what_is_borne_are_refused() -> None:
    assert judge(make_report(), parity=2e-3) == ["parity"]
    assert judge(make_report(), p99=301) == ["latency"]
    assert judge(make_report(), size=3 * 2**30) == ["size"]
    report = make_report()
    tight = decide(report, make_package(report), incumbent=None, budget=Budget(p99_ms=9))
    assert broken(tight) == ["latency"]


def test_driving_no_better_than_straight_ahead_is_refused() -> None:
    assert judge(make_report(success=0.2)) == ["closed-loop-beats-straight-ahead"]


def test_robot_that_cannot_be_simulated_is_judged_without_closed_loop() -> None:
    assert judge(make_report(closed_loop=())) == []


@pytest.mark.parametrize(("name", "rule"), [("blank-images", "sees"), ("swapped-instruction", "listens")])
def test_policy_that_does_not_care_for_a_sense_is_refused(name: str, rule: str) -> None:
    kept = make_report().ablations
    numb = Ablation(name=name, mae=estimate(0.1, 0.02), mae_loss=estimate(0, 0.02), expected="worse", held=False)
    changed = tuple(numb if item.name == name else item for item in kept)
    assert judge(make_report(ablations=changed)) == [rule]
    assert judge(make_report(ablations=tuple(item for item in kept if item.name != name))) == [rule]


def test_surely_worse_than_the_incumbent_is_refused() -> None:
    assert judge(make_report(mae=0.1, incumbent=0.09), INCUMBENT) == []
    assert judge(make_report(mae=0.1, incumbent=0.01), INCUMBENT) == ["not-worse-than-incumbent"]


def test_incumbent_that_drives_surely_better_is_not_replaced() -> None:
    report = make_report(incumbent=0.12)
    driven = (*report.closed_loop, drive("old", "incumbent", 0.85))
    assert judge(make_report(incumbent=0.12, closed_loop=driven), INCUMBENT) == ["not-worse-than-incumbent"]


def test_incumbent_without_any_comparison_is_not_replaced() -> None:
    assert judge(make_report(), INCUMBENT) == ["not-worse-than-incumbent"]
    report = make_report()
    decision = decide(report, make_package(report), incumbent=INCUMBENT, incumbent_report=make_report(mae=0.11))
    (rule,) = [item for item in decision.rules if item.rule == "not-worse-than-incumbent"]
    assert isinstance(rule, RuleOutcome)
    assert rule.passed
    assert "not paired" in rule.evidence
