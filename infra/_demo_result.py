"""What `drover demo --json FILE` writes: the table of `make demo` for machines. docs/demo.schema.json is its schema."""

from typing import Literal

from components.contracts import Estimate, EvaluationReport, Frozen


class Figure(Frozen):
    """A figure with its 95 % interval over `n` episodes or trials."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, estimate: Estimate) -> "Figure":
        return cls(value=estimate.value, low=estimate.low, high=estimate.high, n=estimate.n)


class QuarantinedEpisode(Frozen):
    name: str
    rule: str


class EpisodeCounts(Frozen):
    uploaded: int
    accepted: int
    quarantined: tuple[QuarantinedEpisode, ...]


class DatasetCounts(Frozen):
    """Episodes a split, frames in all."""

    version: str
    train: int
    validation: int
    test: int
    frames: int


class PolicyRow(Frozen):
    """On the test split, frame 0 excluded, over the axes that vary."""

    name: str
    role: Literal["member", "ensemble", "baseline"]
    mae: Figure
    mae_by_axis: dict[str, Figure]
    key_accuracy: Figure


class ClosedLoopRow(Frozen):
    """Simulated."""

    name: str
    success: Figure
    spl: Figure
    collisions: Figure
    """Share of trials with a collision."""


class AblationRow(Frozen):
    name: str
    mae: Figure
    held: bool
    """What was expected beforehand came out."""


class LeakRow(Frozen):
    """Test episodes looked for among those of training and validation."""

    test_episodes: int
    other_episodes: int
    leaks: int


class ShiftRow(Frozen):
    """The suite that costs most success. Simulated."""

    name: str
    what: str
    loss: Figure
    suites: int
    """Of how many it is the worst."""


class PackageRow(Frozen):
    sha256: str
    bytes: int
    parity_max: float


class EndpointRow(Frozen):
    """Over HTTP, JPEG in, action out."""

    p50_ms: float
    p95_ms: float
    n: int


class PromotionRow(Frozen):
    decision: Literal["promoted", "refused", "nothing-new"]
    reasons: tuple[str, ...]


class RobotRow(Frozen):
    robot: str
    release: str | None
    state: str


class StageRow(Frozen):
    name: str
    seconds: float
    skipped: bool


class DemoResult(Frozen):
    """One demo run."""

    wall_s: float
    peak_rss_mib: float
    """Of all processes together: resident memory, shared pages counted once."""
    episodes: EpisodeCounts
    dataset: DatasetCounts
    policies: tuple[PolicyRow, ...]
    simulated: bool
    """Some of the frames that the policies are measured on are simulated; what is driven always is."""
    closed_loop: tuple[ClosedLoopRow, ...]
    ablations: tuple[AblationRow, ...]
    leaks: LeakRow
    worst_shift: ShiftRow | None
    ece: Figure | None
    """Calibration of the ensemble's probabilities over keys."""
    package: PackageRow | None
    endpoint: EndpointRow | None
    promotion: PromotionRow
    robots: tuple[RobotRow, ...]
    stages: tuple[StageRow, ...]
    links: dict[str, str]


def policy_rows(report: EvaluationReport) -> tuple[PolicyRow, ...]:
    """The leaderboard, best first."""
    scores = [score for score in report.scores if score.role != "incumbent"]
    return tuple(
        PolicyRow(
            name=score.name,
            role=score.role,
            mae=Figure.of(score.mae),
            mae_by_axis={axis: Figure.of(estimate) for axis, estimate in score.mae_by_axis.items()},
            key_accuracy=Figure.of(score.key_accuracy),
        )
        for score in sorted(scores, key=lambda score: score.mae.value)
    )


def closed_loop_rows(report: EvaluationReport) -> tuple[ClosedLoopRow, ...]:
    """Subject, expert, straight ahead and the open-loop median, in the report's order."""
    return tuple(
        ClosedLoopRow(
            name=score.name,
            success=Figure.of(score.success),
            spl=Figure.of(score.spl),
            collisions=Figure.of(score.collisions),
        )
        for score in report.closed_loop
    )


def ablation_rows(report: EvaluationReport) -> tuple[AblationRow, ...]:
    """In the report's order."""
    return tuple(AblationRow(name=item.name, mae=Figure.of(item.mae), held=item.held) for item in report.ablations)


def leak_row(report: EvaluationReport) -> LeakRow:
    found = report.leaks
    return LeakRow(test_episodes=found.test_episodes, other_episodes=found.other_episodes, leaks=len(found.leaks))


def worst_shift(report: EvaluationReport) -> ShiftRow | None:
    """None where nothing was driven."""
    worst = max(report.shifts, key=lambda item: item.loss.value, default=None)
    if worst is None:
        return None
    return ShiftRow(name=worst.shift, what=worst.what, loss=Figure.of(worst.loss), suites=len(report.shifts))


def ece(report: EvaluationReport) -> Figure | None:
    """Of the report's subject; None where it has no probabilities."""
    metric = report.find("ece")
    return Figure.of(metric.figures[report.subject]) if metric and report.subject in metric.figures else None
