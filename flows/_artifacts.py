"""Reports -> Prefect artifacts: what a run shows in the Prefect UI, and the one summary it leaves in the store."""

import re
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from components import storage
from components.contracts import (
    CheckReport,
    Estimate,
    EvaluationReport,
    IngestSummary,
    PromotionDecision,
    RolloutState,
    RunSummary,
    Settings,
    printable,
)

from ._store import open_store

_MARKDOWN = re.compile(
    r"[\\`*\[\]<>&|~#!@]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # inside a word it is a letter
    r"|:(?=//)|(?<=www)\."  # addresses become links by themselves
    r"|^\s*[-+=]|^\s*\d+(?=[.)])",
    re.IGNORECASE,
)


def show_report(report: EvaluationReport) -> None:
    """The leaderboard, and a link to the whole page."""
    rows = [
        {
            "policy": _plain(score.name),
            "role": score.role,
            "MAE": _words(score.mae),
            "key accuracy": _words(score.key_accuracy),
        }
        for score in sorted(report.scores, key=lambda score: score.mae.value)
    ]
    simulated = ", simulated frames" if report.simulated else ""
    create_table_artifact(
        table=rows, key="leaderboard", description=f"Test split of dataset {report.dataset[:12]}{simulated}"
    )
    create_link_artifact(link=_url(report.page_key), key="evaluation-report", link_text="Evaluation report")


def show_checks(report: CheckReport) -> None:
    """The findings, a link to the Data Docs, and one to the trend over all batches."""
    from components import checks

    rows = [_plain_row(finding.model_dump()) for finding in report.findings] or [{"rule": "none was broken"}]
    judged_by = f", judged by rules {report.rules[:12]}" if report.rules else ""
    create_table_artifact(table=rows, key="check-findings", description=f"{report.episodes} episodes{judged_by}")
    page = checks.keep_trend(open_store())
    create_link_artifact(link=_url(page.key), key="check-trend", link_text="Checks: all batches")
    if report.data_docs:
        create_link_artifact(link=_url(report.data_docs.key), key="data-docs", link_text="Data Docs")


def show_name_conflicts(summary: IngestSummary) -> None:
    """An alarm: recordings that bear the name of another episode of their robot."""
    rows = [
        _plain_row({"robot": receipt.robot, "name": receipt.name, "in quarantine": receipt.sha256})
        for receipt in summary.receipts
        if receipt.rule == "name-conflict"
    ]
    if rows:
        create_table_artifact(
            table=rows, key="name-conflicts", description="Same name, other bytes: both are kept. Look at the clocks."
        )


def show_decision(decision: PromotionDecision) -> None:
    """The gate's rules, one a row; what was broken comes first."""
    rows = [
        _plain_row({"rule": rule.rule, "passed": rule.passed, "figure": rule.figure, "needs": rule.needs,
                    "evidence": rule.evidence, "helps": rule.helps})
        for rule in sorted(decision.rules, key=lambda rule: rule.passed)
    ]  # fmt: skip
    verdict = "promote" if decision.promote else "refuse"
    told = "".join(f"\n- {_plain(note)}" for note in decision.notes)
    create_table_artifact(table=rows, key="gate", description=f"{verdict} package {decision.package[:12]}{told}")


def show_rollouts(states: list[RolloutState]) -> None:
    """Where every open rollout stands."""
    lines = [f"- **{_plain(state.plan.deployment)}**: {state.status}, {_plain(state.reason)}" for state in states]
    create_markdown_artifact("\n".join(lines) or "No rollout is open.", key="rollouts")


def keep_summary(summary: RunSummary) -> None:
    """Leave the run's summary where `drover` finds it: `models/runs/latest.json`."""
    open_store().put("models", "runs/latest.json", summary.canonical_json())


def keep_ingest(summary: IngestSummary) -> None:
    """The same for the last ingest run that found something: `models/runs/latest-ingest.json`."""
    open_store().put("models", "runs/latest-ingest.json", summary.canonical_json())


def _url(key: str) -> str:
    settings = Settings()
    return storage.page_url(settings, open_store(), key)


def _words(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}], n={estimate.n}"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is. Prefect's UI reads Markdown, and HTML in it, in tables' cells too."""
    return _MARKDOWN.sub(lambda found: _escaped(found[0]), printable(text).lstrip())


def _escaped(found: str) -> str:
    return f"{found}\\" if found[-1].isdigit() else f"{found[:-1]}\\{found[-1]}"


def _plain_row(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) if isinstance(value, str) else value for name, value in row.items()}
