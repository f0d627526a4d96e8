"""The gate's margins, all in one place, and how one rule is told."""

from typing import Annotated

from pydantic import Field

from components.contracts import Budget, Estimate, Frozen, RuleOutcome, Tolerances

_ROUNDING = 1e-9
_Error = Annotated[float, Field(ge=0)]
_Rate = Annotated[float, Field(ge=0, le=1)]


class GateRules(Frozen):
    """What a policy has to show. An interval decides, never a value: what is not sure is not shown."""

    baseline_gain: _Error = 0.0
    """MAE, m/s and rad/s: the gain over each baseline lies above it, paired by episode."""
    sense_loss: _Error = 0.0
    """MAE: what it costs to take a sense away lies above it, paired by episode."""
    driving_gain: _Rate = 0.0
    """Success rate: the gain over straight ahead, and over the baseline that drives blind, lies above it, paired by
    room."""
    incumbent_mae: _Error = 0.0
    """MAE: by which the incumbent may be shown to be better; more is surely worse."""
    incumbent_success: _Rate = 0.15
    """Success rate: whoever replaces the incumbent has surely lost less than this, paired by room. In 40 rooms, with
    pairs that differ in 15 to 25 % of them, that lets through 3 to 5 % of the policies that are worse by 0.15, 10 to
    15 % of those worse by 0.10, 46 to 65 % of equal ones and 89 to 99 % of those better by 0.10; more rooms are fairer
    to equal ones. `Not surely worse` would let through 70 to 76 % of those worse by 0.10: the fleet would sink night by
    night, each step unproven."""
    budget: Budget = Budget()
    """Latency and memory of the robots."""
    tolerances: Tolerances = Tolerances()
    """Parity that is borne."""


def surely_above(
    rule: str, figure: str, estimate: Estimate | None, margin: float, *, told: str, data: str
) -> RuleOutcome:
    """The whole interval lies above the margin. No estimate is a broken rule.

    Args:
        margin: that the interval's low end has to exceed.
        told: what the estimate says, with `{}` in its place.
        data: what to collect or to run where the interval is too wide, or missing.
    """
    passed = estimate is not None and estimate.low > margin + _ROUNDING
    if estimate is None:
        helps = f"It is missing: {data}."
    elif estimate.value > margin:
        helps = f"The interval is too wide to be sure: {data}."
    else:
        helps = "The policy itself has to get better: more or other training data, another recipe."
    return RuleOutcome(
        rule=rule,
        passed=passed,
        figure=figure,
        estimate=estimate,
        needs=f"low > {margin:g}",
        evidence=told.format(words(estimate)) if estimate else "not measured",
        helps="" if passed else helps,
    )


def stated(rule: str, *, passed: bool, figure: str, needs: str, evidence: str, helps: str) -> RuleOutcome:
    """A rule on what is no estimate."""
    return RuleOutcome(
        rule=rule, passed=passed, figure=figure, needs=needs, evidence=evidence, helps="" if passed else helps
    )


def words(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}], n={estimate.n}"
