"""What the checks found over time: figures of each batch, kept as it is judged, and read back in order.

`reports/checks/batches/<moment>-<batch>.json` is one batch. Reading the newest few hundred is all that a page costs,
however many there are.
"""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from components.contracts import CheckReport, EpisodeSummary, Frozen, ObjectRef, Sha256
from components.contracts.errors import InvalidDocumentError, ObjectNotFoundError
from components.storage import ObjectStore, keep_page

_LOG = logging.getLogger(__name__)

_FOLDER = "checks/batches/"
_NAME = re.compile(r"checks/batches/[0-9]{8}T[0-9]{12}-[0-9a-f]{16}\.json")
_LIMIT = 16 * 2**20
LAST = 400
"""Batches that a trend reads."""


class Range(Frozen):
    """A figure over several episodes."""

    count: Annotated[int, Field(ge=1)]
    mean: float
    least: float
    most: float


class BatchFigures(Frozen):
    """One batch, or several that were put together."""

    batches: tuple[Sha256, ...]
    rules: tuple[Sha256, ...]
    """Digests of the rulebooks that they were judged by."""
    judged_at: datetime
    """The last one."""
    episodes: int
    """That could be read, and were judged."""
    with_errors: int
    """Of those: quarantined."""
    with_warnings: int
    """Of those: admitted with a note."""
    refused: dict[str, int]
    """Uploads beside them that could not be read, by rule."""
    by_rule: dict[str, int]
    """Episodes that break a rule; errors and warnings alike."""
    by_robot: dict[str, int]
    drift: dict[str, Range]
    """`brightness` (0..255), `sharpness` (0..1), `seconds` (of an episode), over the episodes that have them."""


def keep_figures(
    store: ObjectStore,
    summaries: Sequence[EpisodeSummary],
    report: CheckReport,
    judged_at: datetime,
    refused: Mapping[str, int],
) -> None:
    """Keep a batch's figures, beside those of every time that it was judged before."""
    errors = {item.sha256 for item in report.findings if item.severity == "error"}
    drift = {
        "brightness": [item.brightness_mean for item in summaries],
        "sharpness": [item.sharpness[2] for item in summaries if item.sharpness],
        "seconds": [item.stated_duration_s for item in summaries if item.stated_duration_s is not None],
    }
    figures = BatchFigures(
        batches=(report.batch,),
        rules=(report.rules,) if report.rules else (),
        judged_at=judged_at,
        episodes=len(summaries),
        with_errors=len(errors),
        with_warnings=len({item.sha256 for item in report.findings} - errors),
        refused=dict(sorted(refused.items())),
        by_rule=dict(sorted(Counter(rule for rule, _ in {(i.rule, i.sha256) for i in report.findings}).items())),
        by_robot=dict(sorted(Counter(item.robot for item in summaries).items())),
        drift={
            name: Range(count=len(values), mean=sum(values) / len(values), least=min(values), most=max(values))
            for name, values in drift.items()
            if values
        },
    )
    key = f"{_FOLDER}{judged_at:%Y%m%dT%H%M%S%f}-{report.batch[:16]}.json"
    store.put("reports", key, figures.canonical_json())


def trend(store: ObjectStore, *, last: int = LAST) -> list[BatchFigures]:
    """The newest verdicts on batches, oldest first. A batch that was judged again keeps its first verdict and has the
    later one beside it; one that was judged again with the same outcome, such as after a kill, counts once. What is no
    verdict is left out.

    Raises:
        StorageError: the store failed.
    """
    keys = [info.key for info in store.list("reports", _FOLDER) if info.size <= _LIMIT and _NAME.fullmatch(info.key)]
    keys = sorted(keys)[-last:]
    found: dict[str, BatchFigures] = {}
    for key in keys:
        try:
            figures = BatchFigures.parse(store.get("reports", key, limit=_LIMIT), source=f"s3://reports/{key}")
        except (InvalidDocumentError, ObjectNotFoundError) as error:
            _LOG.error("ALARM figures of a batch are left out: %s", error)
            continue
        outcome = figures.model_copy(update={"judged_at": datetime.min.replace(tzinfo=UTC)}).digest()
        found.setdefault(outcome, figures)
    return list(found.values())


def condensed(batches: Sequence[BatchFigures], points: int) -> list[BatchFigures]:
    """At most as many points, of neighbours put together: robots that upload one by one make batches of one."""
    size = -(-len(batches) // points) if batches else 1
    return [_together(batches[start : start + size]) for start in range(0, len(batches), size)]


def _together(batches: Sequence[BatchFigures]) -> BatchFigures:
    if len(batches) == 1:
        return batches[0]
    names = sorted({name for item in batches for name in item.drift})
    return BatchFigures(
        batches=tuple(digest for item in batches for digest in item.batches),
        rules=tuple(sorted({digest for item in batches for digest in item.rules})),
        judged_at=batches[-1].judged_at,
        episodes=sum(item.episodes for item in batches),
        with_errors=sum(item.with_errors for item in batches),
        with_warnings=sum(item.with_warnings for item in batches),
        refused=_summed([item.refused for item in batches]),
        by_rule=_summed([item.by_rule for item in batches]),
        by_robot=_summed([item.by_robot for item in batches]),
        drift={name: _range([item.drift[name] for item in batches if name in item.drift]) for name in names},
    )


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for item in counts:
        total.update(item)
    return dict(sorted(total.items()))


def _range(ranges: Sequence[Range]) -> Range:
    count = sum(item.count for item in ranges)
    return Range(
        count=count,
        mean=sum(item.mean * item.count for item in ranges) / count,
        least=min(item.least for item in ranges),
        most=max(item.most for item in ranges),
    )


def keep_trend(store: ObjectStore) -> ObjectRef:
    """Write the page over all batches, `reports/checks/trend.html`, which links to each batch's Data Docs.

    Raises:
        StorageError: the store failed.
    """
    from ._pages import trend_page

    return keep_page(store, "checks/trend.html", trend_page(trend(store)))
