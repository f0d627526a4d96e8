"""The gate's rules about the policy. They read the report alone.

What is not covered: an incumbent that was trained on episodes which are this report's test episodes. It looks better
for it, so the rules about it are stricter than they need be, never softer.
"""

from collections.abc import Iterator

from components.contracts import (
    BASELINES,
    BLIND,
    INCUMBENT,
    STRAIGHT_AHEAD,
    AblationName,
    Comparison,
    Estimate,
    EvaluationReport,
    FrameSample,
    Incumbent,
    PairedTrials,
    RuleOutcome,
)

from ._gate_rules import GateRules, stated, surely_above, words

SEES: tuple[AblationName, ...] = ("blank-images", "shuffled-images", "frozen-images")
LISTENS: tuple[AblationName, ...] = ("swapped-instruction", "blank-instruction")
INFORMS: AblationName = "paraphrased-instruction"
"""Does not decide: to stay equal is shown by an interval that lies within a margin, and a dozen test episodes leave it
too wide even for a policy that understands. It is always told, and no rule passes because of it."""

_EPISODES = "collect more test episodes"
_DRIVE = "run with `trials` and more rooms (a smaller `margin`)"


def policy_rules(report: EvaluationReport, incumbent: Incumbent | None, rules: GateRules) -> Iterator[RuleOutcome]:
    """All of them, in the order in which they are told."""
    yield from _data(report)
    yield from _baselines(report, rules)
    yield from _senses(report, rules)
    yield from _closed_loop(report, rules)
    yield from _incumbent(report, incumbent, rules)


def notes(report: EvaluationReport) -> tuple[str, ...]:
    """What informs and does not decide."""
    return tuple(_notes(report))


def _data(report: EvaluationReport) -> Iterator[RuleOutcome]:
    """The figures are of frames that training never saw, of all of them, and of the axes that vary."""
    elsewhere = {report.inputs.ensemble.dataset, *(item.dataset for item in report.inputs.members)} - {report.dataset}
    yield stated(
        "trained-on-this-dataset",
        passed=not elsewhere,
        figure="inputs.members.dataset",
        needs="the report's dataset: leaks were looked for in no other",
        evidence=f"all of {report.dataset[:12]}" if not elsewhere else f"trained on {', '.join(sorted(elsewhere))}",
        helps="Train and evaluate on one version of one dataset.",
    )
    leaks = report.leaks
    whole = leaks.test_episodes == report.episodes and leaks.other_episodes > 0
    first = leaks.leaks[0] if leaks.leaks else None
    yield stated(
        "no-leak",
        passed=whole and first is None,
        figure="leaks",
        needs=f"no leak, after all {report.episodes} test episodes were compared with the others",
        evidence=f"{leaks.test_episodes} test episodes against {leaks.other_episodes} of training and validation: "
        + (f"{len(leaks.leaks)} leaks, {first.test[:12]} is {first.how} of {first.train[:12]}" if first else "no leak"),
        helps="Exclude the copies (`drover episodes`), and build the dataset anew."
        if first
        else "Look for leaks in the whole test split.",
    )
    yield stated(
        "frames-are-named",
        passed=bool(report.sources),
        figure="sources",
        needs="where every test episode comes from",
        evidence=f"test frames from: {', '.join(report.sources)}" + ("; they say nothing of reality" * report.simulated)
        if report.sources
        else "it is not known where the test frames come from",
        helps="Test on episodes whose records are in the store.",
    )
    yield from _coverage(report)


def _coverage(report: EvaluationReport) -> Iterator[RuleOutcome]:
    subject = next(score for score in report.scores if score.name == report.subject)
    counted = sorted(subject.mae_by_frame)
    yield stated(
        "all-frames-count",
        passed=counted == list(range(1, len(counted) + 1)) and len(counted) > 0,
        figure="metrics.mae[frame]",
        needs="figures of the frames 1, 2, ... one by one, none of frame 0",
        evidence=f"frames {counted[0]} to {counted[-1]}, {report.frames} in all" if counted else "no frame has its own",
        helps="Evaluate on all frames; frame 0 is right for free.",
    )
    # Whoever always does the same has no error on an axis that never moves: such an axis makes every mean smaller.
    free = [axis for axis in report.axes if (found := _of_constant(report, axis)) is None or found.value <= 1e-9]
    left_out = f", left out as constant: {', '.join(report.constant_axes)}" if report.constant_axes else ""
    yield stated(
        "only-varying-axes",
        passed=not free,
        figure="metrics.mae[axes].constant",
        needs="the best constant errs on every scored axis",
        evidence=f"scored: {', '.join(report.axes)}{left_out}"
        + (f"; the constant is right for free on: {', '.join(free)}" if free else ""),
        helps="Leave constant axes out of the policy's; or collect test episodes in which they move.",
    )


def _of_constant(report: EvaluationReport, axis: str) -> Estimate | None:
    metric = report.find("mae", axes=(axis,))
    return metric.figures["constant"] if metric else None


def _is_whole(report: EvaluationReport, sample: FrameSample) -> bool:
    return (sample.protocol, sample.axes, sample.scenario, sample.frame) == ("all-frames", report.axes, None, None)


def _against(report: EvaluationReport, reference: str) -> Comparison | None:
    """On all frames and all varying axes: any other comparison counts for nothing here."""
    for item in report.comparisons:
        if (item.subject, item.reference) == (report.subject, reference) and _is_whole(report, item.sample):
            return item
    return None


def _baselines(report: EvaluationReport, rules: GateRules) -> Iterator[RuleOutcome]:
    for name in BASELINES:
        found = _against(report, name)
        yield surely_above(
            f"beats-{name}",
            f"comparisons.{name}.mae_gain",
            found.mae_gain if found else None,
            rules.baseline_gain,
            told=f"MAE lower than that of {name} by {{}}, paired by episode{_simulated(report)}",
            data=_EPISODES,
        )


def _senses(report: EvaluationReport, rules: GateRules) -> Iterator[RuleOutcome]:
    """A policy that does not care whether it sees does not see."""
    found = {item.name: item for item in report.ablations if _is_whole(report, item.sample)}
    for sense, names in (("sees", SEES), ("listens", LISTENS)):
        for name in names:
            item = found.get(name)
            yield surely_above(
                f"{sense}-{name}",
                f"ablations.{name}.mae_loss",
                item.mae_loss if item else None,
                rules.sense_loss,
                told=f"MAE rises by {{}} with {name}, paired by episode{_simulated(report)}",
                data=_EPISODES if item else "instructions that name a side, and images, are needed to measure it",
            )


def _closed_loop(report: EvaluationReport, rules: GateRules) -> Iterator[RuleOutcome]:
    """MAE filters, closed loop decides. Simulated data without it lacks evidence; other data has none, and says so."""
    if not report.simulated and not report.closed_loop:
        robot = ", ".join(report.sources)
        yield stated(
            "closed-loop",
            passed=bool(robot),
            figure="sources",
            needs="a closed loop, or a robot that cannot be simulated",
            evidence=f"nothing was driven: the robot ({robot or 'of unknown origin'}) is not simulated",
            helps="Test on episodes whose records are in the store.",
        )
        return
    for name, whom in ((STRAIGHT_AHEAD, "driving straight ahead"), (BLIND, "the baseline that drives blind")):
        yield surely_above(
            f"drives-better-than-{name}",
            f"paired_trials.{name}.difference",
            _driven(report, name),
            rules.driving_gain,
            told=f"success rate higher than that of {whom} by {{}}, in the same rooms, simulated",
            data=_DRIVE,
        )


def _driven(report: EvaluationReport, reference: str) -> Estimate | None:
    """The paired difference of success; None where it is missing, or does not hold for a run that may stop early."""
    pair: PairedTrials | None = next((item for item in report.paired_trials if item.reference == reference), None)
    if pair is None:
        return None
    early = report.inputs.trials is None or report.inputs.trials.stop_early
    return None if early and pair.difference.method != "anytime-paired" else pair.difference


def _incumbent(report: EvaluationReport, incumbent: Incumbent | None, rules: GateRules) -> Iterator[RuleOutcome]:
    """Not surely worse by MAE; in closed loop surely not worse by more than the margin."""
    names = ("mae-not-worse-than-incumbent", "drives-not-worse-than-incumbent")
    if incumbent is None:
        yield stated(
            names[0], passed=True, figure="comparisons.incumbent.mae_gain", needs="an incumbent to be compared with",
            evidence="nothing was promoted yet", helps="",
        )  # fmt: skip
        return
    measured, release = report.inputs.incumbent, incumbent.release.name
    own = measured is not None and measured.digest() == incumbent.ensemble.digest()
    found = _against(report, INCUMBENT)
    gain = found.mae_gain if found and own else None
    passed = gain is not None and gain.high >= -rules.incumbent_mae
    again = f"Evaluate with the incumbent, {release}, on frames of the size that it sees."
    yield RuleOutcome(
        rule=names[0],
        passed=passed,
        figure="comparisons.incumbent.mae_gain",
        estimate=gain,
        needs=f"high >= {0 - rules.incumbent_mae:g}",
        evidence=f"MAE lower than that of {release} by {words(gain)}, paired by episode{_simulated(report)}"
        if gain
        else f"{release} was not measured in this report"
        + ("" if measured is None else f"; another policy, {measured.digest()[:12]}, was"),
        helps="" if passed else again if gain is None else "It is surely worse: keep the incumbent.",
    )
    if report.simulated or report.closed_loop:
        yield surely_above(
            names[1],
            f"paired_trials.{INCUMBENT}.difference",
            _driven(report, INCUMBENT) if own else None,
            -rules.incumbent_success,
            told=f"success rate higher than that of {release} by {{}}, in the same rooms, simulated",
            data=f"{_DRIVE}, with the incumbent {release}",
        )


def _notes(report: EvaluationReport) -> Iterator[str]:
    for item in report.ablations:
        if item.name == INFORMS:
            kept = "as was expected" if item.held else "not shown to stay as it is"
            yield f"{item.name}: MAE rises by {words(item.mae_loss)}{_simulated(report)}, {kept}"
    if report.shifts:
        worst = max(report.shifts, key=lambda shift: shift.loss.value)
        yield (
            f"worst of {len(report.shifts)} shift suites: {worst.shift} ({worst.what}), success falls by "
            f"{words(worst.loss)}, simulated"
        )
    if calibration := report.find("ece"):
        mine = calibration.figures[report.subject]
        yield f"calibration: ECE {words(mine)}{_simulated(report)}"


def _simulated(report: EvaluationReport) -> str:
    return ", simulated frames" if report.simulated else ""
