"""Two reports side by side, figure by figure: every estimate under its path, and what is not equal.

What is not covered: pictures and the page. They are drawn from the figures.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from components.contracts import (
    Ablation,
    Comparison,
    DatasetEpisode,
    EpochMetrics,
    Estimate,
    EvaluationReport,
    FrameSample,
    Frozen,
    Leak,
    Lineage,
    Metric,
    Novelty,
    PairedTrials,
    Reliability,
    ReliabilityBin,
    RiskPoint,
    RoomSample,
    ShiftEffect,
    TrainedPolicy,
    TrialOutcome,
)

Leaf = Estimate | bool | float | str | None
ROUNDING = 1e-6
"""Relative, from 1 on; absolute below. Policies answer in float32; another processor may add in another order."""
_TOLD_ELSEWHERE = {"lineage", "html", "format", "frames_per_s", "subject_digest", "uri", "size"}
"""Fields that may well differ, or whose content is compared by itself."""


class Difference(Frozen):
    """One thing that is not what it was."""

    path: str
    before: Leaf
    """None: it was not there."""
    after: Leaf
    """None: it is not there any more."""

    @property
    def inside(self) -> bool | None:
        """Whether the new value lies in the old interval; None where one of the two is no estimate."""
        if not isinstance(self.before, Estimate) or not isinstance(self.after, Estimate):
            return None
        return self.before.low - ROUNDING <= self.after.value <= self.before.high + ROUNDING


def figures(report: EvaluationReport) -> dict[str, Leaf]:
    """Path -> estimate, count or word, for all that a report claims."""
    apart = {"inputs", "trials", *_TOLD_ELSEWHERE}
    return dict(_leaves("", {name: getattr(report, name) for name in type(report).model_fields if name not in apart}))


def made(report: EvaluationReport) -> dict[str, Leaf]:
    """What the figures are of: the members' weights (by their SHA-256) and curves, and the ensemble's weights."""
    fitted = report.inputs.ensemble
    weights = {item.name: weight for item, weight in zip(fitted.members, fitted.weights, strict=True)}
    losses = {name: getattr(fitted, name) for name in ("validation_loss", "validation_loss_held_out")}
    members = {member.name: member for member in report.inputs.members}
    return dict(_leaves("", members | {fitted.name: {"weights": weights} | losses}))


def document(item: BaseModel) -> dict[str, Leaf]:
    """The same for any document."""
    return dict(_leaves("", item))


def trials(outcomes: list[TrialOutcome]) -> dict[str, dict[str, Leaf]]:
    """Who drove which room under which shift -> all that came of it, the path too."""
    return {f"{item.policy} in {item.scenario} {item.seed} ({item.shift})": document(item) for item in outcomes}


def lineage(report: EvaluationReport) -> dict[str, Leaf]:
    """Where the report and each of its members come from."""
    sources: dict[str, Lineage] = {"evaluation": report.lineage}
    sources |= {member.name: member.lineage for member in report.inputs.members}
    return dict(_leaves("", sources))


def differences(before: Mapping[str, Leaf], after: Mapping[str, Leaf]) -> tuple[Difference, ...]:
    """What is not equal up to rounding, in the order of `before`; then what is new."""
    paths = [*before, *(path for path in after if path not in before)]
    return tuple(
        Difference(path=path, before=before.get(path), after=after.get(path))
        for path in paths
        if path not in before or path not in after or not _equal(before[path], after[path])
    )


def _equal(one: Leaf, other: Leaf) -> bool:
    if isinstance(one, Estimate) and isinstance(other, Estimate):
        pairs = zip((one.value, one.low, one.high), (other.value, other.low, other.high), strict=True)
        return one.n == other.n and one.method == other.method and all(_equal(a, b) for a, b in pairs)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= ROUNDING * max(1.0, abs(one), abs(other))
    return one == other


def _leaves(path: str, item: Any) -> Iterator[tuple[str, Leaf]]:
    """Depth first. Members of a list are named by what they are of, not by their place."""
    if isinstance(item, Estimate):
        yield path, item
    elif isinstance(item, BaseModel):
        for name in type(item).model_fields:
            if name not in _TOLD_ELSEWHERE and not (name == "dataset" and isinstance(item, FrameSample)):
                yield from _leaves(_below(path, name), getattr(item, name))
    elif isinstance(item, Mapping):
        for name, value in item.items():
            yield from _leaves(_below(path, name), value)
    elif isinstance(item, tuple | list):
        taken: dict[str, int] = {}
        for index, value in enumerate(item):
            label = _label(value, index)
            taken[label] = taken.get(label, 0) + 1
            yield from _leaves(_below(path, label if taken[label] == 1 else f"{label} #{taken[label]}"), value)
    elif item is None or isinstance(item, bool | str):
        yield path, item
    else:
        yield path, float(item)


def _below(path: str, name: object) -> str:
    """`figures` and `metrics` say nothing that what is below them does not."""
    if name in {"metrics", "figures"}:
        return path
    return f"{path}/{name}" if path else str(name)


def _label(item: Any, index: int) -> str:
    """What a member of a list is of; its place where it is of nothing."""
    for kinds, name in _LABELS:
        if isinstance(item, kinds):
            return name(item)
    return str(index)


def _of(sample: FrameSample | RoomSample) -> str:
    if isinstance(sample, RoomSample):
        said = [f"{sample.rooms} rooms of seed {sample.seed}", None if sample.shift == "none" else sample.shift]
    else:
        said = [sample.protocol, "+".join(sample.axes), None if sample.frame is None else f"frame {sample.frame}"]
    return ", ".join(part for part in [*said, sample.scenario] if part)


_LABELS: tuple[tuple[tuple[type, ...], Callable[[Any], str]], ...] = (
    ((Metric,), lambda item: f"{item.name} ({_of(item.sample)})"),
    ((Comparison, PairedTrials), lambda item: f"{item.subject} against {item.reference}"),
    ((Ablation, TrainedPolicy, DatasetEpisode), lambda item: str(item.name)),
    ((Reliability,), lambda item: str(item.policy)),
    ((ReliabilityBin,), lambda item: f"from {item.low:g}"),
    ((RiskPoint,), lambda item: f"coverage {item.coverage:g}"),
    ((Novelty, ShiftEffect), lambda item: str(item.shift)),
    ((Leak,), lambda item: f"{item.test[:12]} in {item.train[:12]} ({item.how})"),
    ((EpochMetrics,), lambda item: f"epoch {item.epoch}"),
)
