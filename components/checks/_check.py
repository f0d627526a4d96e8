"""Summaries -> report: one batch through the suite."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from components.contracts import CheckReport, EpisodeSummary
from components.storage import ObjectStore, put_document

from ._colours import decide_colours
from ._rulebook import Rulebook, load_rulebook
from ._table import rows, utc_now
from ._trend import keep_figures


def check(
    store: ObjectStore,
    summaries: Sequence[EpisodeSummary],
    *,
    known: Sequence[EpisodeSummary] = (),
    rulebook: Rulebook | None = None,
    refused: Mapping[str, int] | None = None,
) -> CheckReport:
    """Judge a batch of episodes by the suite, and keep its Data Docs as `reports/checks/<batch>/index.html`.

    Several summaries of one file are judged once, those of files that are known not at all. Of several files with the
    same frames and actions the first by robot and name is kept: the others are `duplicate`.

    Args:
        summaries: the batch.
        known: the episodes that were admitted before: what duplicates are looked for in.
        rulebook: thresholds and severities; None takes the user's file (`load_rulebook`).
        refused: for the trend alone: how many uploads of this batch could not be read at all, by rule.

    Raises:
        ConfigurationError: the user's file of rules makes no sense.
        DroverError: the suite could not be evaluated; nothing is taken as passed.
        StorageError: the Data Docs could not be kept.
    """
    admitted = {summary.sha256 for summary in known}
    fresh = {summary.sha256: summary for summary in reversed(summaries) if summary.sha256 not in admitted}
    rulebook = rulebook or load_rulebook()
    judged = decide_colours(list(fresh.values()), known, rulebook.thresholds)
    batch = sorted(judged, key=lambda summary: (summary.robot, summary.name, summary.sha256))
    digest = hashlib.sha256(json.dumps(sorted(fresh)).encode()).hexdigest()
    rules = rulebook.digest()
    if not batch:
        return CheckReport(batch=digest, episodes=0, findings=(), data_docs=None, rules=rules)
    from ._docs import keep_docs
    from ._suite import judge

    with tempfile.TemporaryDirectory(prefix="drover-checks-") as site:
        findings = judge(rows(batch, known, now := utc_now()), rulebook.rules(), Path(site))
        data_docs = keep_docs(store, digest, Path(site), batch, findings, rules=rules)
    report = CheckReport(
        batch=digest, episodes=len(batch), findings=tuple(findings), data_docs=data_docs, rules=rules
    )  # fmt: skip
    put_document(store, "reports", "checks/rules", rulebook)
    keep_figures(store, batch, report, now, refused or {})
    return report
