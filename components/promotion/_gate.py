"""The gate: one rule after the other, each with the figure that decided. Missing evidence is a broken rule."""

from collections.abc import Iterator

from components.contracts import EvaluationReport, Incumbent, PolicyPackage, PromotionDecision, RuleOutcome

from ._gate_policy import notes, policy_rules
from ._gate_rules import GateRules, stated


def decide(
    report: EvaluationReport,
    package: PolicyPackage,
    *,
    incumbent: Incumbent | None,
    rules: GateRules = GateRules(),  # noqa: B008  frozen
) -> PromotionDecision:
    """Promote a package or not, and why. Pure.

    Everything about the policy, the incumbent's figures among it, is read from `report` alone; from `incumbent` only
    which policy it is. What the report cannot know is read from the package, which names the report: parity, latency,
    size.

    Args:
        report: of the packaged policy, with the incumbent measured in it where there is one.
        package: what would be released.
        incumbent: what it would replace; None: nothing was promoted yet.
        rules: the margins.

    Returns:
        Every rule with its figure, what that had to be and what it was; `promote` if all passed.
    """
    found = judge(report, package, incumbent=incumbent, rules=rules)
    return PromotionDecision(
        package=package.sha256,
        evaluation=report.digest(),
        incumbent=incumbent.release.name if incumbent else None,
        promote=all(rule.passed for rule in found),
        rules=found,
        notes=notes(report),
    )


def judge(
    report: EvaluationReport, package: PolicyPackage | None, *, incumbent: Incumbent | None, rules: GateRules
) -> tuple[RuleOutcome, ...]:
    """The rules alone, in the order in which they are told; without a package its own are broken."""
    return (*_package(report, package, rules), *policy_rules(report, incumbent, rules))


def _package(report: EvaluationReport, package: PolicyPackage | None, rules: GateRules) -> Iterator[RuleOutcome]:
    names = ("evidence-is-its-own", "parity", "latency", "size")
    if package is None:
        for name in names:
            yield stated(
                name, passed=False, figure="package", needs="a package that names this report",
                evidence="there is none", helps="Package the policy: `train-and-promote` does.",
            )  # fmt: skip
        return
    found, latency, size = report.digest(), package.latency, package.size / 2**20
    budget, tolerances = rules.budget, rules.tolerances
    yield stated(
        "evidence-is-its-own",
        passed=(package.evaluation, package.subject) == (found, report.subject),
        figure="package.evaluation, package.subject",
        needs="the digest and the subject of this report",
        evidence=(
            f"the package of {package.subject} names evaluation {package.evaluation[:12]}; "
            f"this one is {found[:12]}, of {report.subject}"
        ),
        helps="Evaluate what is packaged, and package it with that report.",
    )
    yield stated(
        "parity",
        passed=package.parity_max <= tolerances.scores,
        figure="package.parity_max",
        needs=f"<= {tolerances.scores:.2g}",
        evidence=f"largest difference of scores between training and robot {package.parity_max:.2g}",
        helps="Look for what the export changes; a wider tolerance hides it.",
    )
    yield stated(
        "latency",
        passed=latency.p99_ms <= budget.p99_ms,
        figure="package.latency.p99_ms",
        needs=f"<= {budget.p99_ms:g} ms",
        evidence=f"p99 {latency.p99_ms:.1f} ms of {latency.n} actions on {latency.hardware} ({latency.provider})",
        helps="A smaller policy, smaller frames, or a busy packaging machine left alone.",
    )
    yield stated(
        "size",
        passed=size <= budget.memory_mib,
        figure="package.size",
        needs=f"<= {budget.memory_mib:g} MiB",
        evidence=f"{size:.1f} MiB",
        helps="A smaller policy, or fewer members.",
    )
