"""The checks over candidates of ingest: what the flow and a replay of the quarantine share."""

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from components import ingest
from components.contracts import CheckReport, EpisodeSummary, Finding, Settings
from components.contracts.errors import ConfigurationError, StorageError
from components.storage import ObjectStore, OverlayStore

from ._check import check
from ._colours import decide_colours
from ._rulebook import load_rulebook

_LOG = logging.getLogger(__name__)


def judge(
    store: ObjectStore, candidates: Sequence[ingest.Candidate], settings: Settings
) -> tuple[list[ingest.Candidate], CheckReport | None]:
    """Have the user's rulebook judge what ingest could read, against all admitted episodes.

    An episode whose summary breaks a rule's computation gets the finding `unjudged`, and the others are judged without
    it.

    Returns:
        The candidates, their summaries with the colour order that was decided, and the report: its findings are for
        `ingest.settle`. None where there is nothing to judge: then nothing is read either.

    Raises:
        ConfigurationError: the rulebook is no rulebook.
        DroverError: the suite cannot be evaluated at all; nothing is taken as passed.
        StorageError: the store failed.
    """
    summaries = [candidate.summary for candidate in candidates if candidate.summary is not None]
    if not summaries:
        return list(candidates), None
    rulebook = load_rulebook(settings)
    known = [record.summary for record in ingest.records(store, leave_out_damaged=True)]

    def evaluate(
        candidates: Sequence[ingest.Candidate], store: ObjectStore = store
    ) -> tuple[list[ingest.Candidate], CheckReport | None]:
        summaries = [candidate.summary for candidate in candidates if candidate.summary is not None]
        if not summaries:
            return list(candidates), None
        decided = iter(decide_colours(summaries, known, rulebook.thresholds))
        judged = [item.model_copy(update={"summary": next(decided)}) if item.summary else item for item in candidates]
        refused = Counter(item.finding.rule for item in candidates if item.finding)
        return judged, check(store, summaries, known=known, rulebook=rulebook, refused=refused)

    try:
        return evaluate(candidates)
    except (ConfigurationError, StorageError):
        raise
    except Exception as error:  # noqa: BLE001 - one episode's figures must not end the batch
        _LOG.error("ALARM checks: the batch could not be evaluated, each episode is tried alone: %a", error)
        with tempfile.TemporaryDirectory(prefix="drover-checks-") as folder:
            trial = OverlayStore(store, Path(folder))  # pages and trends of trials are nobody's
            rest = _without_breaking(candidates, lambda some: evaluate(some, trial))
        return evaluate(rest)


def _without_breaking(
    candidates: Sequence[ingest.Candidate], evaluate: Callable[[Sequence[ingest.Candidate]], object]
) -> list[ingest.Candidate]:
    """The candidates; those that break the evaluation with a finding in place of their summary.

    Raises:
        Exception: a plain episode breaks it, too: then it is not the episodes' fault.
    """
    with_summary = [index for index, candidate in enumerate(candidates) if candidate.summary is not None]
    breaking = _breaking([candidates[index] for index in with_summary], evaluate)
    if len(breaking) == len({candidates[index].sha256 for index in with_summary}):
        evaluate([_plain(candidates[with_summary[0]])])
    return [_unjudged(item, breaking[item.sha256]) if item.sha256 in breaking else item for item in candidates]


def _breaking(
    some: Sequence[ingest.Candidate], evaluate: Callable[[Sequence[ingest.Candidate]], object]
) -> dict[str, str]:
    """SHA-256 -> the error, of those that break the evaluation alone. Found by halves."""
    try:
        evaluate(some)
    except (ConfigurationError, StorageError):
        raise
    except Exception as error:  # noqa: BLE001 - see above
        if len(some) == 1:
            return {some[0].sha256: f"{error!a}"[:500]}
        middle = len(some) // 2
        return _breaking(some[:middle], evaluate) | _breaking(some[middle:], evaluate)
    return {}


def _unjudged(candidate: ingest.Candidate, error: str) -> ingest.Candidate:
    _LOG.error("ALARM checks: %s of %s breaks the checks, it stands in quarantine: %s", candidate.name, candidate.robot,
               error)  # fmt: skip
    finding = Finding(
        sha256=candidate.sha256, rule="unjudged", severity="error", expected="figures that every rule can judge",
        observed=error,
    )  # fmt: skip
    return candidate.model_copy(update={"summary": None, "finding": finding})


def _plain(candidate: ingest.Candidate) -> ingest.Candidate:
    """An episode with nothing out of the ordinary, in place of this one."""
    summary = EpisodeSummary(
        sha256="0" * 64, content_sha256="0" * 64, name="plain", robot="plain", session="plain", scenario=None,
        pattern=None, distance=None, instruction="", source="robot", collected_at=None, frames=10, width=640,
        height=360, stated_frames=None, stated_duration_s=None, frame_zero_is_start=True, non_finite_actions=0,
        action_min=(0.0, 0.0, 0.0), action_max=(1.0, 0.0, 0.0), unknown_key_fraction=0.0, brightness_mean=100.0,
        blank_frames=0, frozen_frames=0, perceptual_hash="",
    )  # fmt: skip
    return candidate.model_copy(update={"summary": summary, "sha256": summary.sha256})
