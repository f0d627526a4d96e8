"""What to collect or label next: where the ensemble's members are apart (see `_doubt` for why).

What is not covered: whether it helps (docs/active-learning.md measured it), errors on which the members agree, and what
a recording costs. What is measured is no evidence about a policy: the choice is made by these very figures.
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from components.contracts import (
    DatasetVersion,
    Ensemble,
    EpisodeRecord,
    Estimate,
    Frozen,
    Sha256,
    Split,
    TrainedPolicy,
)
from components.contracts.errors import EvidenceError
from components.datasets import Entry, EpisodeFrames, group, load_episodes, load_split
from components.storage import ObjectStore

from ._doubt import Doubt, Doubter, open_doubter, take_turns
from ._intervals import Array, Bootstrap, Bounds

_BATCH = 32
_LARGEST = Bounds(0.0, float(np.log(11)))
"""Nats over eleven keys; a spread within +-1.15 is smaller."""


class ScenarioSuggestion(Frozen):
    """One scenario, by the doubt on its episodes outside the training and test splits."""

    scenario: str
    doubt: Estimate
    """Mean a frame, by `Suggestions.measure`; `n` episodes."""
    training: int
    """Episodes of it in the training split."""
    reason: str


class EpisodeSuggestion(Frozen):
    """One recorded episode that training has not seen."""

    sha256: Sha256
    title: str
    """`robot/name`."""
    scenario: str | None
    session: str
    excluded: bool
    """Deleted from datasets to come: restore it first."""
    doubt: float
    """Mean over its frames."""
    entropy: float | None
    """Nats a frame of the mixture over keys; None where actions are continuous."""
    reason: str


class Suggestions(Frozen):
    """Scenarios to record and episodes to take into training, the most promising first."""

    subject: str
    dataset: Sha256
    measure: str
    """What doubt is."""
    scenarios: tuple[ScenarioSuggestion, ...]
    episodes: tuple[EpisodeSuggestion, ...]
    left_out: dict[str, int]
    """Why -> episodes that were not ranked."""


def suggest(
    store: ObjectStore,
    dataset: DatasetVersion,
    subject: Ensemble | TrainedPolicy,
    entries: Sequence[Entry],
    *,
    episodes: int = 20,
    most: int = 200,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Suggestions:
    """Rank scenarios and recorded episodes by what the policy does not know.

    Candidates were admitted and are in no split of the dataset: younger than it, or deleted from it. Episodes of the
    validation and test splits are never suggested, nor whatever shares a session or near-equal frames with them: in
    training they would tell its answers. The test split is not even looked at. Of one robot's session and scenario, one
    episode is ranked before any other has its second: they were recorded in the same room minutes apart.

    Args:
        store: Episodes, shards and weights.
        dataset: The one that the subject was trained on.
        subject: An ensemble; or one policy, which is ranked by entropy.
        entries: Of `datasets.catalogue`.
        episodes: How many to suggest.
        most: Candidates that are decoded, the youngest; half a second each.
        seed: Of the bootstrap.
        workers: Decoding processes.
        progress: Told after each candidate.

    Raises:
        EvidenceError: a subject of another dataset, or of one member with continuous actions.
        DatasetError, IntegrityError, PolicyError: episodes, shards or weights that cannot be read.
    """
    if subject.dataset != dataset.version:
        raise EvidenceError(
            f"{subject.name} was trained on dataset {subject.dataset[:12]}, expected {dataset.version[:12]}: what it "
            "has not seen is told by its own dataset"
        )
    doubter = open_doubter(store, subject, dataset.axes)
    candidates, left_out = _candidates(dataset, entries)
    if len(candidates) > most:
        left_out[f"older than the {most} youngest candidates"] = len(candidates) - most
        candidates = candidates[-most:]
    validation = load_split(store, dataset, "validation")
    known = doubter.ask(validation)
    usual = float(np.mean([item.mean for item in known]))
    records = [entry.curated for entry in candidates]
    doubts = _ask_recorded(store, doubter, dataset, records, workers=workers, progress=progress)
    order = take_turns([item.mean for item in doubts], [_kin(entry) for entry in candidates])
    seen = [(item.scenario, doubt) for item, doubt in zip(validation, known, strict=True)]
    seen += [(entry.summary.scenario, doubt) for entry, doubt in zip(candidates, doubts, strict=True)]
    return Suggestions(
        subject=subject.name,
        dataset=dataset.version,
        measure=doubter.measure,
        scenarios=_scenarios(dataset, seen, seed=seed),
        episodes=tuple(_suggestion(candidates[index], doubts[index], usual) for index in order[:episodes]),
        left_out=left_out,
    )


def _candidates(dataset: DatasetVersion, entries: Sequence[Entry]) -> tuple[list[Entry], dict[str, int]]:
    """In recording order; and why the others are none."""
    splits: dict[str, Split] = {item.sha256: item.split for item in dataset.episodes}
    kin = {
        member.file.sha256
        for members in group([entry.curated for entry in entries])
        if any(splits.get(item.file.sha256) in {"validation", "test"} for item in members)
        for member in members
    }
    found, left_out = [], dict[str, int]()
    for entry in entries:
        split, source = splits.get(entry.sha256), dataset.spec.source
        if split == "train":
            why = "in the training split"
        elif split:
            why = "in the validation or test split: they judge, and must stay unseen"
        elif entry.sha256 in kin:
            why = "of a session of the validation or test split, or nearly equal to an episode there"
        elif source and entry.summary.source != source:
            why = f"not of the dataset's source, {source}"
        else:
            found.append(entry)
            continue
        left_out[why] = left_out.get(why, 0) + 1
    return found, left_out


def _ask_recorded(
    store: ObjectStore,
    doubter: Doubter,
    dataset: DatasetVersion,
    records: Sequence[EpisodeRecord],
    *,
    workers: int,
    progress: Callable[[int, int], None],
) -> list[Doubt]:
    doubts: list[Doubt] = []
    waiting: list[EpisodeFrames] = []
    for done, episode in enumerate(load_episodes(store, records, dataset.spec.frame, workers=workers), 1):
        waiting.append(episode)
        if len(waiting) == _BATCH or done == len(records):
            doubts += doubter.ask(waiting)
            waiting = []
        progress(done, len(records))
    return doubts


def _kin(entry: Entry) -> Hashable:
    return entry.summary.robot, entry.summary.session, entry.summary.scenario


def _scenarios(
    dataset: DatasetVersion, seen: Sequence[tuple[str | None, Doubt]], *, seed: int
) -> tuple[ScenarioSuggestion, ...]:
    trained = [item.scenario for item in dataset.of("train")]
    found = []
    for scenario in sorted({name for name, _ in seen if name is not None}):
        means: Array = np.array([[doubt.mean] for name, doubt in seen if name == scenario])
        doubt = Bootstrap(len(means), seed=seed).estimate(
            {"doubt": means, "episodes": np.ones_like(means)},
            lambda sums: (sums["doubt"] / sums["episodes"])[..., 0],
            _LARGEST,
            "bootstrap-by-episode",
        )
        assert doubt is not None  # bounded
        number = trained.count(scenario)
        reason = f"{number} of {len(trained)} training episodes are of it ({number / len(trained):.0%})"
        found.append(ScenarioSuggestion(scenario=scenario, doubt=doubt, training=number, reason=reason))
    return tuple(sorted(found, key=lambda item: (-item.doubt.value, item.scenario)))


def _suggestion(entry: Entry, doubt: Doubt, usual: float) -> EpisodeSuggestion:
    times = f", {doubt.mean / usual:.1f} times the validation split's" if usual > 0 else ""
    reason = f"{doubt.mean:.3f} a frame{times}; most at frame {doubt.frame}"
    if doubt.said:
        reason += f": {', '.join(doubt.said)}"
    return EpisodeSuggestion(
        sha256=entry.sha256,
        title=entry.title,
        scenario=entry.summary.scenario,
        session=entry.summary.session,
        excluded=entry.excluded,
        doubt=doubt.mean,
        entropy=doubt.entropy,
        reason=reason,
    )
