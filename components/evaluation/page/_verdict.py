"""What the figures say, in words: first on the page. Reads the report alone, and is never surer than its intervals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from components.contracts import BASELINES, INCUMBENT, Ablation, Comparison, Estimate, EvaluationReport, PairedTrials

FEW_EPISODES = 10
_SENSES = {
    "look": ("blank-images", "shuffled-images", "frozen-images"),
    "listen": ("swapped-instruction", "blank-instruction"),
}


@dataclass(frozen=True)
class Reason:
    """One finding. `good` is None where it informs and does not decide."""

    text: str
    good: bool | None = None
    simulated: bool = False
    """Says nothing of a real room."""


@dataclass(frozen=True)
class Verdict:
    """The headline and what carries it."""

    good: bool
    headline: str
    reasons: tuple[Reason, ...]


def words(estimate: Estimate, digits: int = 3, *, sign: bool = False) -> str:
    """`0.123 [0.100, 0.150]`."""
    form = f"{'+' if sign else ''}.{digits}f"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def judge(report: EvaluationReport) -> Verdict:
    """What is shown and what is not, in the order of what decides."""
    shown, doubts = _claims(report)
    parts = [f"{report.subject} {_listed(shown)}."] if shown else []
    parts += [f"Not shown: that {'it' if shown else report.subject} {_listed(doubts)}."] if doubts else []
    headline = " ".join(parts)
    leaks = report.leaks.leaks
    if leaks:
        seen = len({leak.test for leak in leaks})
        headline = f"Not to be trusted: {seen} of {report.leaks.test_episodes} test episodes were seen in training."
    found = [*_leaks(report), *_baselines(report), *_rivals(report), *_senses(report), *_driving(report)]
    found += [*_shifts(report), *_few(report)]
    return Verdict(not leaks and not doubts, headline, tuple(found))


def _claims(report: EvaluationReport) -> tuple[list[str], list[str]]:
    """What the headline may say, and what it may not, as ends of `it ...`."""
    shown, doubts = [], []
    against = _against(report)
    lost = [name for name in BASELINES if not against[name].better]
    if lost:
        doubts.append(f"beats {_listed(lost)}")
    else:
        shown.append("beats all four baselines")
    for sense, names in _SENSES.items():
        measured = [item for item in report.ablations if item.name in names]
        if measured:
            (shown if all(item.held for item in measured) else doubts).append(f"{sense}s")
    unmoved = [item for item in report.ablations if item.expects == "stays"]
    if any(not item.held for item in unmoved):
        doubts.append("does the same when told in other words")
    rivals = [pair for pair in report.paired_trials if pair.reference not in {INCUMBENT, "expert"}]
    for surely, told in ((True, shown), (False, doubts)):
        against_whom = [pair.reference for pair in rivals if pair.difference.surely_positive is surely]
        if against_whom:
            told.append(f"drives better than {_listed(against_whom)} in simulation")
    return shown, doubts


def _against(report: EvaluationReport) -> dict[str, Comparison]:
    return {item.reference: item for item in report.comparisons if item.subject == report.subject}


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _leaks(report: EvaluationReport) -> Iterator[Reason]:
    checked = report.leaks
    if not checked.leaks:
        yield Reason(
            f"None of {checked.test_episodes} test episodes was found among the {checked.other_episodes} that training "
            "saw.",
            good=True,
        )
    for leak in checked.leaks[:3]:
        yield Reason(f"Leak: test episode {leak.test[:12]} is in training ({leak.how}): {leak.observed}.", good=False)


def _baselines(report: EvaluationReport) -> Iterator[Reason]:
    against = _against(report)
    beaten = [against[name] for name in BASELINES if against[name].better]
    if beaten:
        nearest = min(beaten, key=lambda item: item.mae_gain.value)
        yield Reason(
            f"Beats {_listed([item.reference for item in beaten])}. The nearest is {nearest.reference}: the mean "
            f"absolute error is lower by {words(nearest.mae_gain)}, paired by episode, n={nearest.mae_gain.n}.",
            good=True,
            simulated=report.simulated,
        )
    for item in (against[name] for name in BASELINES if not against[name].better):
        yield Reason(
            f"{_standing(item.mae_gain)} {item.reference}: {_gained(item.mae_gain)}, paired by episode, "
            f"n={item.mae_gain.n}.",
            good=False,
            simulated=report.simulated,
        )


def _standing(gain: Estimate) -> str:
    return "Better than" if gain.surely_positive else "Worse than" if gain.high < 0 else "Not told apart from"


def _gained(gain: Estimate) -> str:
    """Of an MAE. What is surely worse is said the other way round, without double negatives."""
    if gain.high < 0:
        return f"MAE higher by {-gain.value:.3f} [{-gain.high:.3f}, {-gain.low:.3f}]"
    return f"MAE lower by {words(gain, sign=True)}"


def _rivals(report: EvaluationReport) -> Iterator[Reason]:
    """The best member and the incumbent, on the same frames."""
    against = _against(report)
    members = [item for item in report.scores if item.role in {"member", "ensemble"} and item.name != report.subject]
    if members:
        best = min(members, key=lambda score: score.mae.value)
        gain = against[best.name].mae_gain
        yield Reason(
            f"{_standing(gain)} {best.name}, the best of the other policies here: {_gained(gain)}.",
            simulated=report.simulated,
        )
    if INCUMBENT in against:
        gain = against[INCUMBENT].mae_gain
        yield Reason(
            f"{_standing(gain)} the incumbent on the same frames: {_gained(gain)}.",
            good=not gain.high < 0,
            simulated=report.simulated,
        )


def _senses(report: EvaluationReport) -> Iterator[Reason]:
    for sense, names in _SENSES.items():
        measured = [item for item in report.ablations if item.name in names]
        if not measured:
            yield Reason(f"Whether it {sense}s is not known: nothing to take away in this data.")
            continue
        least = min(measured, key=lambda item: item.mae_loss.low)
        yield Reason(_sense(sense, least, len(measured)), least.held, report.simulated)
    for item in report.ablations:
        if item.expects == "stays":
            said = "Does the same when told in other words" if item.held else "Not shown to do the same in other words"
            yield Reason(
                f"{said}: the error changes by {words(item.mae_loss, sign=True)}; {item.margin:.3f} either way was "
                "allowed.",
                item.held,
                report.simulated,
            )


def _sense(sense: str, least: Ablation, measured: int) -> str:
    change = f"{least.name} changes the error by {words(least.mae_loss, sign=True)}"
    if least.held:
        return f"It {sense}s: all {measured} ablations hurt; the least, {change}."
    return f"Not shown to {sense}: {change}, and a rise was expected."


def _driving(report: EvaluationReport) -> Iterator[Reason]:
    driven = {score.role: score for score in report.closed_loop}
    if not driven:
        yield Reason("Not driven: this data's robot was not simulated. Error alone does not show that a policy drives.")
        return
    mine = driven["subject"].success
    yield Reason(
        f"Succeeds in {words(mine, 2)} of {mine.n} rooms, the expert in {words(driven['expert'].success, 2)}.",
        simulated=True,
    )
    for pair in report.paired_trials:
        if pair.reference != "expert":
            yield Reason(_pair(pair), _good(pair), simulated=True)


def _good(pair: PairedTrials) -> bool | None:
    if pair.reference == INCUMBENT:
        return not pair.difference.high < 0
    return pair.difference.surely_positive


def _pair(pair: PairedTrials) -> str:
    gain = pair.difference
    return (
        f"Drives {_standing(gain).lower()} {pair.reference}: succeeds in {pair.subject_only} rooms where "
        f"it fails and fails in {pair.reference_only} where it succeeds, of {pair.rooms}; difference "
        f"{words(gain, 2, sign=True)}."
    )


def _shifts(report: EvaluationReport) -> Iterator[Reason]:
    if not report.shifts:
        return
    surely = [item for item in report.shifts if item.loss.surely_positive]
    if surely:
        worst = max(surely, key=lambda item: item.loss.value)
        rooms = worst.loss.n
        yield Reason(
            f"Loses success under {len(surely)} of {len(report.shifts)} changes of room or robot, most under "
            f"{worst.shift}: success is lower by {words(worst.loss, 2)}, n={rooms} rooms.",
            simulated=True,
        )
    else:
        rooms = report.shifts[0].loss.n
        yield Reason(
            f"No loss of success shown under {len(report.shifts)} changes of room or robot; {rooms} rooms each, so "
            "only a large one would show.",
            simulated=True,
        )


def _few(report: EvaluationReport) -> Iterator[Reason]:
    if report.episodes < FEW_EPISODES:
        yield Reason(f"Only {report.episodes} test episodes: intervals are wide, and trust them less.")
