"""A report read policy by policy: views of its metrics, never built by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ._episodes import Axis
from ._figures import UNSHIFTED, Estimate, FrameSample, Metric, RoomSample

Role = Literal["member", "ensemble", "baseline", "incumbent"]
DriverRole = Literal["subject", "expert", "straight-ahead", "baseline", "incumbent"]
WITHIN = ("0.3", "0.2", "0.15", "0.1")


@dataclass(frozen=True)
class OpenLoopScore:
    """One policy's or baseline's figures on all frames but frame 0, over the axes that vary."""

    name: str
    role: Role
    mae: Estimate
    mae_by_axis: dict[Axis, Estimate]
    mae_by_scenario: dict[str, Estimate]
    mae_by_frame: dict[int, Estimate]
    key_accuracy: Estimate
    """Share of frames in which every varying axis, rounded to the nearest press, is the pressed key's; for continuous
    actions, within 0.15."""
    macro_f1: Estimate | None
    """Mean F1 over the keys that occur in the test split; None for continuous actions, which have no keys."""
    accuracy_within: dict[str, Estimate]
    """Keys "0.3", "0.2", "0.15", "0.1": share of frames with every axis that near."""
    r2: Estimate | None
    correlation: Estimate | None
    """Means over the axes that vary in the test split too; None where none does. A prediction that is constant on such
    an axis follows nothing and counts as correlation 0."""


@dataclass(frozen=True)
class ClosedLoopScore:
    """One driver's figures in the unshifted rooms. Simulated, and always says so."""

    name: str
    role: DriverRole
    success: Estimate
    reached: Estimate
    right_side: Estimate
    collisions: Estimate
    spl: Estimate
    steps: Estimate
    duration_s: Estimate
    """Simulated seconds."""
    distance_m: Estimate
    simulated: Literal[True] = True


def open_loop_scores(metrics: Sequence[Metric], axes: tuple[Axis, ...], roles: dict[str, Role]) -> list[OpenLoopScore]:
    """In the order of `roles`."""
    on_frames = [(item, item.sample) for item in metrics if isinstance(item.sample, FrameSample)]
    all_frames = [(item, sample) for item, sample in on_frames if sample.protocol == "all-frames"]
    whole = {
        item.name: item.figures
        for item, sample in all_frames
        if sample.axes == axes and sample.scenario is None and sample.frame is None
    }
    errors = [(item.figures, sample) for item, sample in all_frames if item.name == "mae"]
    found = []
    for name, role in roles.items():
        mine = {metric: figures[name] for metric, figures in whole.items() if name in figures}
        own = [(figures[name], sample) for figures, sample in errors if name in figures]
        over_axes = [(item, sample) for item, sample in own if sample.axes == axes]
        found.append(
            OpenLoopScore(
                name=name,
                role=role,
                mae=mine["mae"],
                mae_by_axis={
                    sample.axes[0]: item
                    for item, sample in own
                    if len(sample.axes) == 1 and sample.scenario is None and sample.frame is None
                },
                mae_by_scenario={s.scenario: item for item, s in over_axes if s.scenario is not None},
                mae_by_frame={s.frame: item for item, s in over_axes if s.frame is not None},
                key_accuracy=mine["key-accuracy"],
                macro_f1=mine.get("macro-f1"),
                accuracy_within={limit: mine[f"within-{limit}"] for limit in WITHIN},  # type: ignore[index]
                r2=mine.get("r2"),
                correlation=mine.get("correlation"),
            )
        )
    return found


def closed_loop_scores(metrics: Sequence[Metric], roles: dict[str, DriverRole]) -> list[ClosedLoopScore]:
    """In the order of `roles`; empty where nothing was driven."""
    driven = {
        item.name: item.figures
        for item in metrics
        if isinstance(item.sample, RoomSample) and item.sample.shift == UNSHIFTED and item.sample.scenario is None
    }
    if not driven:
        return []
    return [
        ClosedLoopScore(
            name=name,
            role=role,
            success=driven["success"][name],
            reached=driven["reached"][name],
            right_side=driven["right-side"][name],
            collisions=driven["collisions"][name],
            spl=driven["spl"][name],
            steps=driven["steps"][name],
            duration_s=driven["duration-s"][name],
            distance_m=driven["distance-m"][name],
        )
        for name, role in roles.items()
        if name in driven["success"]
    ]
