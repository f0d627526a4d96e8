"""Summaries -> report: one batch through the suite."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from components.contracts import CheckReport, EpisodeSummary
from components.storage import ObjectStore

from ._rules import Thresholds, rules
from ._table import rows, utc_now


def check(
    store: ObjectStore,
    summaries: Sequence[EpisodeSummary],
    *,
    known: Sequence[EpisodeSummary] = (),
    thresholds: Thresholds | None = None,
) -> CheckReport:
    """Judge a batch of episodes by the suite, and keep its Data Docs as `reports/checks/<batch>/index.html`.

    Several summaries of one file are judged once, those of files that are known not at all. Of several files with the
    same frames and actions the first by robot and name is kept: the others are `duplicate`.

    Args:
        summaries: the batch.
        known: the episodes that were admitted before: what duplicates are looked for in.
        thresholds: the figures in the rules; None takes the defaults.

    Raises:
        DroverError: the suite could not be evaluated; nothing is taken as passed.
        StorageError: the Data Docs could not be kept.
    """
    admitted = {summary.sha256 for summary in known}
    fresh = {summary.sha256: summary for summary in reversed(summaries) if summary.sha256 not in admitted}
    batch = sorted(fresh.values(), key=lambda summary: (summary.robot, summary.name, summary.sha256))
    digest = hashlib.sha256(json.dumps(sorted(fresh)).encode()).hexdigest()
    if not batch:
        return CheckReport(batch=digest, episodes=0, findings=(), data_docs=None)
    from ._docs import keep_docs
    from ._suite import judge

    table = rules(thresholds or Thresholds())
    with tempfile.TemporaryDirectory(prefix="drover-checks-") as site:
        findings = judge(rows(batch, known, utc_now()), table, Path(site))
        data_docs = keep_docs(store, digest, Path(site), batch, findings)
    return CheckReport(batch=digest, episodes=len(batch), findings=tuple(findings), data_docs=data_docs)
