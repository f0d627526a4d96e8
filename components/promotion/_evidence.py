"""Evidence that was kept: what each release stands on, and what the last run found. Figures are judged again, never
copied."""

import json
from dataclasses import dataclass

from components.contracts import EvaluationReport, Incumbent, PolicyPackage, RolloutState, RunSummary
from components.contracts.errors import InvalidDocumentError, ObjectNotFoundError, PromotionError
from components.storage import ObjectStore

PROMOTED = "promoted.json"
LATEST = "latest"
_RELEASES, _RUN = "releases/", "runs/latest.json"
_LIMIT = 64 * 2**20


@dataclass(frozen=True)
class Evidence:
    """One report and what the gate asks beside it."""

    source: str
    """Where it was found, in words."""
    report: EvaluationReport
    package: PolicyPackage | None
    """None: nothing was packaged with this report."""
    incumbent: Incumbent | None
    """What it would replace, or replaced."""


def release_key(name: str) -> str:
    """In the bucket `models`: an Incumbent."""
    return f"{_RELEASES}{name}.json"


def read_evidence(store: ObjectStore, key: str) -> Incumbent | None:
    """What a release stands on; None: no such. A report of an older Drover is left out.

    Raises:
        InvalidDocumentError: release, package or policy cannot be read.
    """
    try:
        document = store.get("models", key, limit=_LIMIT)
    except ObjectNotFoundError:
        return None
    try:
        return Incumbent.parse(document, source=f"models/{key}")
    except InvalidDocumentError as error:
        return _without_report(document, key, error)


def _without_report(document: bytes, key: str, fault: InvalidDocumentError) -> Incumbent:
    try:
        fields = json.loads(document)
    except ValueError:
        raise fault from None
    if not isinstance(fields, dict) or not fields.get("report"):
        raise fault
    return Incumbent.parse(json.dumps(fields | {"report": None}), source=f"models/{key}, its report left out")


def read_rollout(store: ObjectStore, deployment: str) -> RolloutState | None:
    """One rollout; None: no such."""
    try:
        document = store.get("models", f"rollouts/{deployment}.json", limit=_LIMIT)
    except ObjectNotFoundError:
        return None
    return RolloutState.parse(document, source=f"models/rollouts/{deployment}.json")


def find_evidence(store: ObjectStore, wanted: str) -> list[Evidence]:
    """What was kept under a name: `latest` (the last run), a release's name, or how a package's or a report's digest
    begins. One for each report, a release before the last run.

    Raises:
        PromotionError: it stands on a report of an older Drover.
    """
    run = _last_run(store, strict=wanted == LATEST)
    if wanted == LATEST:
        return [_of_run(store, run)] if run else []
    found = [_of_run(store, run)] if run and _means(wanted, run.package) else []
    for info in store.list("models", _RELEASES):
        item = read_evidence(store, info.key)
        if item and (wanted == item.release.name or _means(wanted, item.package)):
            found.append(_of_release(store, item))
    return list({item.report.digest(): item for item in found}.values())


def evidence_of_report(store: ObjectStore, report: EvaluationReport) -> Evidence:
    """A report that was kept by itself: no package is known, and the incumbent is today's."""
    return Evidence(f"report {report.digest()[:12]}", report, None, read_evidence(store, PROMOTED))


def _means(wanted: str, package: PolicyPackage) -> bool:
    return len(wanted) >= 4 and any(digest.startswith(wanted) for digest in (package.sha256, package.evaluation))


def _last_run(store: ObjectStore, *, strict: bool) -> RunSummary | None:
    try:
        return RunSummary.parse(store.get("models", _RUN, limit=_LIMIT), source=f"models/{_RUN}")
    except ObjectNotFoundError:
        return None
    except InvalidDocumentError:
        if strict:
            raise PromotionError(f"models/{_RUN} is of an older Drover: run `train-and-promote` again") from None
        return None


def _of_run(store: ObjectStore, run: RunSummary) -> Evidence:
    source = f"the last run, {run.status}"
    if run.decision is None:  # nothing was new: what it tells is the promoted release
        promoted = read_evidence(store, PROMOTED)
        if promoted and promoted.package == run.package:
            return _of_release(store, promoted)
        return Evidence(source, run.report, run.package, None)
    replaced = run.decision.incumbent
    return Evidence(source, run.report, run.package, _named(store, replaced) if replaced else None)


def _of_release(store: ObjectStore, item: Incumbent) -> Evidence:
    name = item.release.name
    if item.report is None:
        raise PromotionError(
            f"release {name} stands on a report of an older Drover, whose figures count no more by today's rules; "
            "`train-and-promote` measures it anew as the incumbent"
        )
    return Evidence(f"release {name}", item.report, item.package, _before(store, name))


def _before(store: ObjectStore, name: str) -> Incumbent | None:
    """What the release replaced: its rollout would go back to it."""
    rollout = read_rollout(store, name)
    return _named(store, rollout.plan.previous) if rollout and rollout.plan.previous else None


def _named(store: ObjectStore, name: str) -> Incumbent:
    found = read_evidence(store, release_key(name))
    if found is None:
        raise PromotionError(f"expected the evidence of release {name} at models/{release_key(name)}, found none")
    return found
