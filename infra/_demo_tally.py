"""From what the demo left in the store to its result: nothing here is measured, everything is looked up."""

from collections.abc import Sequence
from dataclasses import dataclass

from components.contracts import IngestSummary, PolicyPackage, RolloutState, RunSummary, Settings
from components.storage import ObjectStore, page_url

from ._demo_result import (
    DatasetCounts,
    DemoResult,
    EndpointRow,
    EpisodeCounts,
    PackageRow,
    PromotionRow,
    QuarantinedEpisode,
    RobotRow,
    StageRow,
    ablation_rows,
    closed_loop_rows,
    ece,
    leak_row,
    policy_rows,
    worst_shift,
)

_STORY = "train and promote"


@dataclass(frozen=True)
class Findings:
    """What the demo's stages left behind."""

    run: RunSummary
    ingest: IngestSummary | None
    rollout: RolloutState | None
    endpoint: tuple[float, float, int] | None
    """p50 and p95 in ms, requests."""
    fleet: tuple[str, ...]


def tally(
    settings: Settings,
    store: ObjectStore,
    findings: Findings,
    *,
    timings: Sequence[tuple[str, float]],
    wall_s: float,
    peak_mib: float,
) -> DemoResult:
    """The table's contents."""
    run = findings.run
    return DemoResult(
        wall_s=round(wall_s, 1),
        peak_rss_mib=round(peak_mib, 1),
        episodes=_episodes(store),
        dataset=DatasetCounts(
            version=run.dataset.version,
            train=len(run.dataset.of("train")),
            validation=len(run.dataset.of("validation")),
            test=len(run.dataset.of("test")),
            frames=sum(episode.frames for episode in run.dataset.episodes),
        ),
        policies=policy_rows(run.report),
        simulated=run.report.simulated,
        closed_loop=closed_loop_rows(run.report),
        ablations=ablation_rows(run.report),
        leaks=leak_row(run.report),
        worst_shift=worst_shift(run.report),
        ece=ece(run.report),
        package=_package(run.package),
        endpoint=_endpoint(findings.endpoint),
        promotion=PromotionRow(decision=run.status, reasons=_reasons(findings)),
        robots=_robots(store, findings.fleet),
        stages=_stages(run, timings),
        links=_links(settings, store, findings),
    )


def _episodes(store: ObjectStore) -> EpisodeCounts:
    from components import ingest

    accepted, quarantined = ingest.records(store), ingest.quarantined(store)
    return EpisodeCounts(
        uploaded=len(accepted) + len(quarantined),
        accepted=len(accepted),
        quarantined=tuple(
            QuarantinedEpisode(name=item.name, rule=item.finding.rule)
            for item in sorted(quarantined, key=lambda item: item.name)
        ),
    )


def _package(package: PolicyPackage) -> PackageRow:
    return PackageRow(sha256=package.sha256, bytes=package.size, parity_max=package.parity_max)


def _endpoint(measured: tuple[float, float, int] | None) -> EndpointRow | None:
    if measured is None:
        return None
    p50, p95, n = measured
    return EndpointRow(p50_ms=round(p50, 2), p95_ms=round(p95, 2), n=n)


def _reasons(findings: Findings) -> tuple[str, ...]:
    run, rollout = findings.run, findings.rollout
    reasons = [run.reason]
    if run.decision:
        reasons += [f"{'+' if rule.passed else '-'} {rule.rule}: {rule.evidence}" for rule in run.decision.rules]
    if rollout:
        reasons.append(f"rollout {rollout.plan.deployment}: {rollout.status}, {rollout.reason}")
    return tuple(reasons)


def _robots(store: ObjectStore, fleet: tuple[str, ...]) -> tuple[RobotRow, ...]:
    from components import promotion

    heard = promotion.hear(store, [robot for robot in promotion.fleet(store) if robot.robot in fleet]).latest
    return tuple(
        RobotRow(robot=robot, release=heard[robot].release, state=heard[robot].state)
        if robot in heard
        else RobotRow(robot=robot, release=None, state="silent")
        for robot in fleet
    )


def _stages(run: RunSummary, timings: Sequence[tuple[str, float]]) -> tuple[StageRow, ...]:
    rows = []
    for name, seconds in timings:
        rows.append(StageRow(name=name, seconds=seconds, skipped=False))
        if name == _STORY:
            rows += [
                StageRow(name=f"  {stage.name}", seconds=stage.seconds, skipped=stage.skipped) for stage in run.stages
            ]
    return tuple(rows)


def _links(settings: Settings, store: ObjectStore, findings: Findings) -> dict[str, str]:
    links = {"report": page_url(settings, store, findings.run.report.page_key)}
    checks = findings.ingest.checks if findings.ingest else None
    if checks and checks.data_docs:
        links["data docs"] = page_url(settings, store, checks.data_docs.key)
    if settings.prefect_api_url:
        links["prefect"] = settings.prefect_api_url.removesuffix("/api")
    if settings.ray_page_url:
        links["ray"] = settings.ray_page_url
    if settings.serving_url:
        links["bento"] = settings.serving_url
    return links
