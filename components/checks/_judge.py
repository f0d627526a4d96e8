"""The checks over candidates of ingest: what the flow and a replay of the quarantine share."""

from collections import Counter
from collections.abc import Sequence

from components import ingest
from components.contracts import CheckReport, Settings
from components.storage import ObjectStore

from ._check import check
from ._colours import decide_colours
from ._rulebook import load_rulebook


def judge(
    store: ObjectStore, candidates: Sequence[ingest.Candidate], settings: Settings
) -> tuple[list[ingest.Candidate], CheckReport | None]:
    """Have the user's rulebook judge what ingest could read, against all admitted episodes.

    Returns:
        The candidates, their summaries with the colour order that was decided, and the report: its findings are for
        `ingest.settle`. None where there is nothing to judge: then nothing is read either.

    Raises:
        ConfigurationError: the rulebook is no rulebook.
        StorageError: the store failed.
    """
    summaries = [candidate.summary for candidate in candidates if candidate.summary is not None]
    if not summaries:
        return list(candidates), None
    rulebook = load_rulebook(settings)
    known = [record.summary for record in ingest.records(store)]
    decided = iter(decide_colours(summaries, known, rulebook.thresholds))
    judged = [item.model_copy(update={"summary": next(decided)}) if item.summary else item for item in candidates]
    refused = Counter(item.finding.rule for item in candidates if item.finding)
    return judged, check(store, summaries, known=known, rulebook=rulebook, refused=refused)
