"""Reports in the store: `reports/evaluations/<digest>/report.json`, found by how the digest begins, and their pages."""

import json
import re

from components.contracts import EvaluationReport, ObjectRef, canonical_json
from components.contracts.errors import EvidenceError, InvalidDocumentError, ObjectNotFoundError
from components.storage import ObjectStore, keep_page, put_once

_BUCKET = "reports"
_KEY = re.compile(r"^evaluations/(?P<digest>[0-9a-f]{64})/report\.json$")
_LATEST_KEY = "evaluations/latest.json"
_LIMIT = 64 * 2**20
_MOST_CANDIDATES = 8
LATEST = "latest"


def keep_report(store: ObjectStore, report: EvaluationReport, page: bytes) -> ObjectRef:
    """Keep a report and its page; the same again changes nothing, a page that is drawn otherwise replaces the old."""
    digest = report.digest()
    keep_page(store, report.page_key, page)
    kept = put_once(store, _BUCKET, f"evaluations/{digest}/report.json", report.canonical_json())
    store.put(_BUCKET, _LATEST_KEY, canonical_json({"digest": digest}))  # times of writing are too coarse to tell
    return kept


def report_digests(store: ObjectStore) -> list[str]:
    """The digests of all kept reports, the newest first."""
    listed = ((info.modified_at, _KEY.match(info.key)) for info in store.list(_BUCKET, "evaluations/"))
    return [digest for _, digest in sorted(((at, match["digest"]) for at, match in listed if match), reverse=True)]


def reports(store: ObjectStore) -> list[EvaluationReport]:
    """All kept reports, the newest first. Those of an older format are left out."""
    found = []
    for digest in report_digests(store):
        try:
            found.append(_read(store, digest))
        except InvalidDocumentError:
            continue
    return found


def open_report(store: ObjectStore, wanted: str = LATEST) -> EvaluationReport:
    """A report by how its digest begins (four digits or more), or `latest`.

    Raises:
        EvidenceError: none, or several; the message lists them.
        InvalidDocumentError: its document was altered, or is of another format.
    """
    if wanted == LATEST:
        return _read(store, _latest(store))
    if not re.fullmatch(r"[0-9a-f]{4,64}", wanted):
        raise EvidenceError(
            f"expected {LATEST}, or a report's digest or its first digits (four or more), got {wanted!r}"
        )
    found = [digest for digest in report_digests(store) if digest.startswith(wanted)]
    if len(found) != 1:
        some = ", ".join(digest[:16] for digest in found[:_MOST_CANDIDATES])
        said = f"{len(found)} reports: {some}" if found else "no report"
        raise EvidenceError(f"{wanted!r} means {said}; `drover leaderboard` lists them")
    return _read(store, found[0])


def _latest(store: ObjectStore) -> str:
    try:
        digest = str(json.loads(store.get(_BUCKET, _LATEST_KEY, limit=_LIMIT))["digest"])
    except ObjectNotFoundError:
        raise EvidenceError("there is no evaluation yet; `train-and-promote` makes one") from None
    except (ValueError, TypeError, KeyError):
        digest = ""
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise EvidenceError(
            f"s3://{_BUCKET}/{_LATEST_KEY} names no report; it was altered. Give a digest: `drover leaderboard` "
            "lists them"
        )
    return digest


def _read(store: ObjectStore, digest: str) -> EvaluationReport:
    key = f"evaluations/{digest}/report.json"
    report = EvaluationReport.parse(store.get(_BUCKET, key, limit=_LIMIT), source=f"s3://{_BUCKET}/{key}")
    if report.digest() != digest:
        raise InvalidDocumentError(f"s3://{_BUCKET}/{key} holds report {report.digest()}: it was altered")
    return report
