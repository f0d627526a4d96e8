"""The gate: one rule after the other, each with the figures that decided. Missing evidence is a broken rule."""

from collections.abc import Iterator

from components.contracts import (
    BASELINES,
    Budget,
    ClosedLoopScore,
    Estimate,
    EvaluationReport,
    OpenLoopScore,
    PolicyPackage,
    PromotionDecision,
    Release,
    RuleOutcome,
    Tolerances,
)

SEES = ("blank-images", "shuffled-images")
LISTENS = "swapped-instruction"


def decide(
    report: EvaluationReport,
    package: PolicyPackage,
    *,
    incumbent: Release | None,
    incumbent_report: EvaluationReport | None = None,
    budget: Budget | None = None,
    tolerances: Tolerances | None = None,
) -> PromotionDecision:
    """Promote a package or not, and why. Pure.

    Args:
        report: of the packaged policy, with the incumbent among its scores where there is one.
        package: what would be released.
        incumbent: what it would replace; None: nothing was promoted yet.
        incumbent_report: the incumbent's own; used where `report` does not compare with it, on the same dataset.
        budget: latency and memory of the robots; None: the default.
        tolerances: parity that is borne; None: the default.

    Returns:
        Every rule with its evidence in words; `promote` if all passed.
    """
    rules = [
        *_identity(report, package),
        *_baselines(report),
        *_senses(report),
        *_closed_loop(report),
        *_machine(package, budget or Budget(), tolerances or Tolerances()),
        *_incumbent(report, incumbent, incumbent_report),
    ]
    return PromotionDecision(
        package=package.sha256,
        evaluation=report.digest(),
        incumbent=incumbent.name if incumbent else None,
        promote=all(rule.passed for rule in rules),
        rules=tuple(rules),
    )


def _identity(report: EvaluationReport, package: PolicyPackage) -> Iterator[RuleOutcome]:
    """The figures are this package's own."""
    found = report.digest()
    yield RuleOutcome(
        rule="evidence-is-its-own",
        passed=package.evaluation == found,
        evidence=f"the package names evaluation {package.evaluation[:12]}, this one is {found[:12]}",
    )


def _baselines(report: EvaluationReport) -> Iterator[RuleOutcome]:
    gains = {item.reference: item.mae_gain for item in report.comparisons if item.subject == report.subject}
    for name in BASELINES:
        gain = gains.get(name)
        yield RuleOutcome(
            rule=f"beats-{name}",
            passed=gain is not None and gain.surely_positive,
            evidence=f"MAE lower by {words(gain)}, paired by episode" if gain else "no paired comparison",
        )


def _senses(report: EvaluationReport) -> Iterator[RuleOutcome]:
    """A policy that does not care whether it sees does not see."""
    ablations = {item.name: item for item in report.ablations}
    for rule, names in (("sees", SEES), ("listens", (LISTENS,))):
        found = [ablations.get(name) for name in names]  # type: ignore[call-overload]
        told = [
            f"{name}: MAE rises by {words(item.mae_loss)}" if item else f"{name}: not measured"
            for name, item in zip(names, found, strict=True)
        ]
        yield RuleOutcome(rule=rule, passed=all(item and item.held for item in found), evidence="; ".join(told))


def _closed_loop(report: EvaluationReport) -> Iterator[RuleOutcome]:
    """MAE filters, closed loop decides. Data whose robot cannot be simulated has none."""
    if not report.closed_loop:
        return
    subject, straight = _driver(report, "subject"), _driver(report, "straight-ahead")
    yield RuleOutcome(
        rule="closed-loop-beats-straight-ahead",
        passed=subject is not None and straight is not None and subject.success.low > straight.success.high,
        evidence=(
            f"simulated success {words(subject.success)} against straight ahead's {words(straight.success)}"
            if subject and straight
            else "the subject or straight ahead was not driven"
        ),
    )


def _machine(package: PolicyPackage, budget: Budget, tolerances: Tolerances) -> Iterator[RuleOutcome]:
    yield RuleOutcome(
        rule="parity",
        passed=package.parity_max <= tolerances.scores,
        evidence=f"largest difference {package.parity_max:.2g}, at most {tolerances.scores:.2g} is borne",
    )
    latency = package.latency
    yield RuleOutcome(
        rule="latency",
        passed=latency.p99_ms <= budget.p99_ms,
        evidence=(
            f"p99 {latency.p99_ms:.1f} ms of {budget.p99_ms:g} ms, {latency.n} actions on {latency.hardware} "
            f"({latency.provider})"
        ),
    )
    size = package.size / 2**20
    yield RuleOutcome(
        rule="size",
        passed=size <= budget.memory_mib,
        evidence=f"{size:.1f} MiB of {budget.memory_mib:g} MiB",
    )


def _incumbent(
    report: EvaluationReport, incumbent: Release | None, other: EvaluationReport | None
) -> Iterator[RuleOutcome]:
    """Not surely worse: neither by paired MAE, nor by closed-loop success in the same rooms."""
    rule = "not-worse-than-incumbent"
    if incumbent is None:
        yield RuleOutcome(rule=rule, passed=True, evidence="nothing was promoted yet")
        return
    names = {score.name for score in report.scores if score.role == "incumbent"}
    gains = [c.mae_gain for c in report.comparisons if c.subject == report.subject and c.reference in names]
    if gains:
        passed = all(gain.high >= 0 for gain in gains)
        told = f"MAE lower than {incumbent.name}'s by {words(gains[0])}, paired by episode"
    elif other is not None and other.dataset == report.dataset:
        mine, theirs = _mae(report), _mae(other)
        passed = mine.low <= theirs.high
        told = f"MAE {words(mine)} against {incumbent.name}'s {words(theirs)} on the same episodes, not paired"
    else:
        passed, told = False, f"no comparison with {incumbent.name} on this dataset; evaluate with the incumbent"
    subject = _driver(report, "subject")
    rival = _driver(report, "incumbent") or (_driver(other, "subject") if other else None)
    if subject and rival:
        passed = passed and subject.success.high >= rival.success.value
        told += f"; simulated success {words(subject.success)} against {words(rival.success)}"
    yield RuleOutcome(rule=rule, passed=passed, evidence=told)


def _driver(report: EvaluationReport, role: str) -> ClosedLoopScore | None:
    return next((score for score in report.closed_loop if score.role == role), None)


def _mae(report: EvaluationReport) -> Estimate:
    scores: dict[str, OpenLoopScore] = {score.name: score for score in report.scores}
    return scores[report.subject].mae


def words(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}], n={estimate.n}"
