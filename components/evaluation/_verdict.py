"""What the figures say, in words: first on the page."""

from dataclasses import dataclass

from components.contracts import BASELINES, Comparison, Estimate, EvaluationReport, OpenLoopScore

FEW_EPISODES = 10


@dataclass(frozen=True)
class Reason:
    """One finding. `good` is None where it informs and does not decide."""

    text: str
    good: bool | None = None


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
    """Open loop against the four baselines is the headline; the rest follows as reasons."""
    against = {item.reference: item for item in report.comparisons if item.subject == report.subject}
    lost = [name for name in BASELINES if not against[name].better]
    headline = (
        f"{report.subject} beats all four baselines"
        if not lost
        else f"{report.subject} is not shown to beat {_listed(lost)}"
    )
    reasons = [Reason(_against_baseline(against[name]), against[name].better) for name in BASELINES]
    reasons += [_apart(report), *_against_members(report, against), *_against_incumbent(against)]
    reasons += [
        Reason(
            f"Ablation {item.name}: MAE changes by {words(item.mae_loss, sign=True)}; "
            + ("as expected." if item.held else "the expected rise is not there."),
            item.held,
        )
        for item in report.ablations
    ]
    reasons += _closed_loop(report)
    if report.episodes < FEW_EPISODES:
        reasons.append(Reason(f"Only {report.episodes} test episodes: intervals are wide, and trust them less."))
    return Verdict(not lost, headline, tuple(reasons))


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _against_baseline(item: Comparison) -> str:
    if item.better:
        return f"Beats {item.reference}: MAE is lower by {words(item.mae_gain)}, paired by episode."
    return f"Not shown to beat {item.reference}: MAE gain {words(item.mae_gain, sign=True)}, paired by episode."


def _score(report: EvaluationReport, name: str) -> OpenLoopScore:
    return next(score for score in report.scores if score.name == name)


def _apart(report: EvaluationReport) -> Reason:
    best = min((_score(report, name) for name in BASELINES), key=lambda score: score.mae.value)
    lowest = min(_score(report, name).mae.low for name in BASELINES)
    mine = _score(report, report.subject).mae
    touch = "do not touch" if mine.high < lowest else "touch"
    return Reason(f"Its own MAE interval {words(mine)} and the baselines' {touch}; best of them: {best.name}, "
                        f"{words(best.mae)}.")  # fmt: skip


def _against_members(report: EvaluationReport, against: dict[str, Comparison]) -> list[Reason]:
    members = [score for score in report.scores if score.role == "member" and score.name != report.subject]
    if not members:
        return []
    best = min(members, key=lambda score: score.mae.value)
    gain = against[best.name].mae_gain
    real = "real" if gain.surely_positive else "not shown"
    return [Reason(f"Gain over the best member, {best.name}, is {real}: {words(gain, sign=True)}.")]


def _against_incumbent(against: dict[str, Comparison]) -> list[Reason]:
    if "incumbent" not in against:
        return []
    gain = against["incumbent"].mae_gain
    if gain.high < 0:
        return [Reason(f"Worse than the incumbent: MAE gain {words(gain, sign=True)}.", good=False)]
    better = "Better than" if gain.surely_positive else "Not told apart from"
    return [Reason(f"{better} the incumbent: MAE gain {words(gain, sign=True)}.", good=True)]


def _closed_loop(report: EvaluationReport) -> list[Reason]:
    if not report.closed_loop:
        return [Reason("No closed loop: this data's robot was not simulated.")]
    by_role = {score.role: score for score in report.closed_loop}
    subject, straight = by_role["subject"].success, by_role["straight-ahead"].success
    text = (
        f"Closed loop, simulated: success {words(subject, 2)} in {subject.n} rooms; straight ahead {words(straight, 2)}"
    )
    if blind := by_role.get("baseline"):
        text += f", {blind.name} {words(blind.success, 2)}"
    return [Reason(text + f", expert {words(by_role['expert'].success, 2)}.")]
